import * as z from 'zod';
import { checkRegion, endpointField, regionField, regionOfEndpoint } from '../lib/dynamodb/region.ts';

/** https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html */
const TABLE_NAME = /^[a-zA-Z0-9_.-]{3,255}$/;
const TABLE_PATTERN = /^(?:[a-zA-Z0-9_.-]|\{(?:pipeline|sink|schema|table)\})+$/;
const IN_FLIGHT_ROWS_DEFAULT = 4_000;
const IN_FLIGHT_ROWS_MAX = 10_000;
const SCAN_SEGMENTS_DEFAULT = 4;
const SCAN_SEGMENTS_MAX = 100;
const SCAN_READ_UNITS_DEFAULT = 1_000;
const BATCH_ROWS_DEFAULT = 1_000;
const BATCH_ROWS_MAX = 10_000;

const keyParts = z.strictObject({
  partition: z.array(z.string().min(1)).min(1).describe('Columns of the primary key that make the partition key.'),
  sort: z.array(z.string().min(1)).min(1).optional().describe('Columns of the primary key that make the sort key: all the others.'),
});

export const configSchema = z
  .strictObject({
    kind: z.literal('dynamodb'),
    region: regionField.describe('Region of the tables, such as `eu-west-1`.'),
    endpoint: endpointField,
    provision: z
      .enum(['create', 'check'])
      .default('check')
      .describe('`create` makes tables that are missing; `check` refuses and prints the commands that make them.'),
    tables: z
      .string()
      .regex(TABLE_PATTERN, { message: 'is no pattern for names of tables: letters, digits, dots, underscores, dashes and placeholders' })
      .refine((pattern) => pattern.includes('{table}'), { message: 'has no {table}: all tables would be one' })
      .default('{schema}.{table}')
      .describe('Names of the tables. {pipeline}, {sink}, {schema} and {table} are replaced; the last two are those of the target.'),
    progressTable: z
      .string()
      .regex(TABLE_NAME, { message: 'is no name for a table: 3 to 255 letters, digits, dots, underscores and dashes' })
      .default('causeway_progress')
      .describe('Table in which progress is kept, of any number of pipelines and sinks.'),
    keys: z
      .record(z.string(), keyParts)
      .default({})
      .describe(
        'By source table, how its primary key makes the partition key and the sort key. Otherwise the first column makes the partition key ' +
          'and the others the sort key. A key of one column that compares by its text or number is the attribute of that column; ' +
          'any other is the attribute cw_pk or cw_sk.',
      ),
    numbers: z
      .enum(['native', 'text'])
      .default('native')
      .describe(
        'How decimals and floats are kept. `native`: as numbers; what has more than 38 digits, or is not a number, parks its key. `text`: as texts.',
      ),
    json: z.enum(['text', 'native']).default('text').describe('How json is kept: as its text, or as maps, lists and scalars.'),
    arrays: z.enum(['text', 'list']).default('text').describe('How arrays are kept: as the text of a JSON array, or as lists.'),
    scanSegments: z
      .int()
      .min(1)
      .max(SCAN_SEGMENTS_MAX)
      .default(SCAN_SEGMENTS_DEFAULT)
      .describe('Parts of a table that a scan reads side by side.'),
    scanReadUnits: z
      .int()
      .min(1)
      .default(SCAN_READ_UNITS_DEFAULT)
      .describe('Most read units a second that a scan of a table consumes, one for each 4 KB, and that reads of rows by their keys do.'),
    assumeRole: z
      .strictObject({
        arn: z
          .string()
          .regex(/^arn:[\w-]+:iam::\d{12}:role\/.+$/, { message: 'is no ARN of a role, such as arn:aws:iam::123456789012:role/causeway' }),
        externalId: z.string().min(1).optional().describe('What the role asks for besides.'),
      })
      .optional()
      .describe("A role to take on for the tables, with the credentials of the SDK's default chain."),
    batchRows: z.int().min(1).max(BATCH_ROWS_MAX).default(BATCH_ROWS_DEFAULT).describe('Most rows between two writes of progress.'),
    writes: z
      .enum(['batches', 'single'])
      .default('batches')
      .describe(
        'How items are written. `batches`: 25 statements of PartiQL in a request. `single`: each item by a request of its own, which needs no ' +
          'right to run statements, and some ten times the processor time.',
      ),
    inFlightRows: z
      .int()
      .min(1)
      .max(IN_FLIGHT_ROWS_MAX)
      .default(IN_FLIGHT_ROWS_DEFAULT)
      .describe('Most rows of a table that are on their way at once. Fewer are, while the service throttles.'),
  })
  .superRefine(checkRegion);

export type SinkConfig = z.output<typeof configSchema>;

/** AWS's endpoints of a region are doors to the same tables. The account shows where a role is taken on. */
export function databaseOf({ region, endpoint, assumeRole }: SinkConfig): string {
  const at = endpoint === undefined || regionOfEndpoint(endpoint) !== null ? 'aws' : new URL(endpoint).host;
  const [, , , , account = ''] = assumeRole?.arn.split(':') ?? [];
  return `dynamodb ${at} ${region} ${account}`;
}
