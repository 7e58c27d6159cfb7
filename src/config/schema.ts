import * as z from 'zod';
import { logFormatDefault, logFormats } from '#core/log-format.ts';
import { duration } from './quantity.ts';

/*
 * The part of the file that every pipeline has, whatever its connectors. What belongs to a connector is validated by that
 * connector's own schema (parts.ts); here such a part is an open object with a `kind`. The descriptions are the text of
 * docs/configuration.md and of the JSON Schema for editors.
 */

export const CONFIG_VERSION = 1;

/** Slot, publication and schema names are made of it: lower-case letters, digits and underscores are safe everywhere. */
const NAME = /^[a-z][a-z0-9_]{0,39}$/;
const nameSchema = z
  .string()
  .regex(NAME, { message: 'is not a usable name: lower-case letters, digits and underscores, a letter first, 40 at most' });

const part = z.looseObject({ kind: z.string() });

const TABLE = /^!?[^.\s!][^.]*\.[^\s].*$/;
const TARGET = /^[^.\s][^.]*\.[^\s].*$/;

const tableName = z
  .string()
  .regex(TABLE, { message: 'is not a table pattern' })
  .meta({ description: '`schema.table`, `schema.*` for all tables of a schema, or either with `!` before it to leave tables out.' });

const tableEntry = z
  .union([
    tableName,
    z.strictObject({
      name: tableName,
      snapshot: z
        .enum(['initial', 'never'])
        .default('initial')
        .describe(
          'What happens to rows that are there at the first start. `initial`: they are loaded beside the stream. ' +
            '`never`: only changes from then on are copied; say this where you copied the rows yourself, and for a table or sink that comes ' +
            'later, which `causeway snapshot start` loads.',
        ),
      target: z
        .string()
        .regex(TARGET, { message: 'is not a table name' })
        .optional()
        .describe('Where the rows go at the sinks: `schema.table`, or `schema.*` to keep the table name. The same name unless set.'),
    }),
  ])
  .describe('A table pattern, or an object with the pattern and what is particular about it.');

export const sourceOwnKeys = {
  tables: z
    .array(tableEntry)
    .min(1)
    .describe('What is captured. An exact name wins over `schema.*`; `!` leaves tables out. A table made later that matches is reported.'),
} as const;

export const logOwnKeys = {
  format: z
    .literal(logFormats)
    .default(logFormatDefault)
    .describe(
      'The format in which records are written: the older of those that this release knows unless set, so that a release can be taken back. ' +
        'A newer one needs the release that brings it, and is set once no daemon of an older release runs or is to come back: docs/upgrade.md.',
    ),
} as const;

export const sinkOwnKeys = {
  deadLetter: z
    .strictObject({
      parkedKeysMax: z
        .int()
        .min(1)
        .max(1_000_000)
        .default(1_000)
        .describe(
          'A sink that refuses the values of more keys than this stops, instead of parking more. Each daemon counts those of the partitions that it applies.',
        ),
    })
    .prefault({})
    .describe('What is kept of rows that the sink refuses for ever.'),
  slo: z
    .strictObject({
      freshness: duration({ min: '1s', max: '1d' })
        .optional()
        .describe(
          'How old what stands in the sink may be. Exported as `causeway_slo_objective_seconds`, for alert rules; nothing here acts on it.',
        ),
    })
    .prefault({})
    .describe('What is promised of this sink.'),
} as const;

const pipeline = z.strictObject({
  source: part.extend(sourceOwnKeys).describe('The database whose changes are captured.'),
  log: part.extend(logOwnKeys).describe('What stands between capture and the sinks.'),
  sinks: z
    .record(nameSchema, part.extend(sinkOwnKeys))
    .refine((sinks) => Object.keys(sinks).length > 0, { message: 'has no sink', params: { mend: 'Add at least one sink below `sinks`.' } })
    .describe('The stores that the changes are applied to, each under a name of its own.'),
  lease: z
    .strictObject({
      ttl: duration({ min: '1s', max: '5m' })
        .prefault('15s')
        .describe('How long the capture lease holds without a renewal: how soon a standby takes over. It is renewed every third of this.'),
    })
    .prefault({})
    .describe('The lease that lets one process at a time capture.'),
});

const listen = (port: number, what: string): z.ZodDefault<z.ZodString> =>
  z
    .string()
    .regex(/^(none|(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5})$/, { message: 'is not an address' })
    .default(`127.0.0.1:${port}`)
    .describe(`Address and port of ${what}, such as 0.0.0.0:${port}; port 0 takes a free one; \`none\` switches it off.`);

export const fileSchema = z.strictObject({
  version: z.literal(CONFIG_VERSION).default(CONFIG_VERSION).describe('Version of this file format.'),
  control: part.describe('Where leases, checkpoints and requests are kept. Never in a database that is failed over.'),
  http: z
    .strictObject({ listen: listen(8080, '/livez, /readyz, /status and /api/v1/status') })
    .prefault({})
    .describe('Endpoints for people and probes. They change nothing.'),
  metrics: z
    .strictObject({ listen: listen(9090, '/metrics') })
    .prefault({})
    .describe('The endpoint for Prometheus. It may share the address of `http`.'),
  logging: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info').describe('The least level that is written.'),
      format: z.enum(['auto', 'json', 'text']).default('auto').describe('`auto` writes text to a terminal and JSON otherwise.'),
    })
    .prefault({})
    .describe('Log lines on stderr.'),
  stop: z
    .strictObject({
      grace: duration({ min: '0s', max: '10m' })
        .prefault('25s')
        .describe('How long a stopping daemon may take to finish what is in hand, store the checkpoint and release its leases.'),
    })
    .prefault({})
    .describe('How the daemon ends on SIGTERM and SIGINT.'),
  pipelines: z
    .record(nameSchema, pipeline)
    .refine((pipelines) => Object.keys(pipelines).length > 0, {
      message: 'has no pipeline',
      params: { mend: 'Add at least one pipeline below `pipelines`.' },
    })
    .describe('Each pipeline captures from one source and applies to one or more sinks.'),
});

export type ConfigFile = z.output<typeof fileSchema>;
export type PipelineFile = ConfigFile['pipelines'][string];
