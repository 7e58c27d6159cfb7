import * as z from 'zod';
import { IDENTIFIER } from './names.ts';

const PROJECT = /^(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$/;
const INSTANCE = /^[a-z][a-z0-9-]{0,62}[a-z0-9]$/;
const DATABASE = /^[a-z][a-z0-9_-]{0,28}[a-z0-9]$/;
const TABLE_PATTERN = /^(?:[a-zA-Z0-9_]|\{(?:pipeline|sink|schema|table)\})+$/;
const CONCURRENCY_DEFAULT = 16;
const CONCURRENCY_MAX = 400;
const BATCH_ROWS_DEFAULT = 1_000;
const BATCH_ROWS_MAX = 10_000;

const named = (pattern: RegExp, what: string) => z.string().regex(pattern, { message: `is no ${what}` });

export const configSchema = z.strictObject({
  kind: z.literal('spanner'),
  project: named(PROJECT, 'id of a project').describe('Project of the instance.'),
  instance: named(INSTANCE, 'id of an instance').describe('Instance of the database.'),
  database: named(DATABASE, 'id of a database').describe('Database that holds the tables, of either dialect. It has to be there.'),
  endpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe(
      'Instead of `spanner.googleapis.com`: a regional or private endpoint, or with `http:` the emulator, which takes no credentials.',
    ),
  keyFile: z
    .string()
    .min(1)
    .optional()
    .describe(
      "File with the key of a service account, or with a workload identity's configuration. Otherwise Google's default credentials.",
    ),
  provision: z
    .enum(['create', 'check'])
    .default('check')
    .describe('`create` makes tables that are missing; `check` refuses and prints the statements that make them.'),
  tables: z
    .string()
    .regex(TABLE_PATTERN, { message: 'is no pattern for names of tables: letters, digits, underscores and placeholders' })
    .refine((pattern) => pattern.includes('{table}'), { message: 'has no {table}: all tables would be one' })
    .default('{table}')
    .describe('Names of the tables. {pipeline}, {sink}, {schema} and {table} are replaced; the last two are those of the target.'),
  json: z
    .enum(['text', 'native'])
    .default('text')
    .describe(
      'How json is kept: as its text, or as JSON (JSONB), where a number that a double cannot hold, or a name that stands twice, parks its key.',
    ),
  arrays: z
    .enum(['text', 'native'])
    .default('text')
    .describe(
      'How arrays are kept: as the text of a JSON array, or as ARRAY, where one of several dimensions or another lower bound parks its key.',
    ),
  commitTimestampColumn: named(IDENTIFIER, 'name of a column')
    .optional()
    .describe('Name of one more column in each table, which holds the time at which Spanner committed the row.'),
  batchRows: z.int().min(1).max(BATCH_ROWS_MAX).default(BATCH_ROWS_DEFAULT).describe('Most rows in one transaction.'),
  concurrency: z
    .int()
    .min(1)
    .max(CONCURRENCY_MAX)
    .default(CONCURRENCY_DEFAULT)
    .describe('Most transactions at once, each in a session of its own.'),
});

export type SinkConfig = z.output<typeof configSchema>;

/** Google's endpoints are doors to the same databases; what answers without encryption is an emulator, and a store by itself. */
export function databaseOf({ project, instance, database, endpoint }: SinkConfig): string {
  const at = endpoint?.startsWith('http:') === true ? new URL(endpoint).host : 'google';
  return `spanner ${at} ${project}/${instance}/${database}`;
}
