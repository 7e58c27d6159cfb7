import * as z from 'zod';

import { checkConnection } from '../lib/postgres/connection-config.ts';
import { connectionFields, resolveConnection, type Connection } from '../lib/postgres/connection.ts';
import { ownSchema } from '../lib/postgres/own-schema.ts';

const BATCH_ROWS_DEFAULT = 2_000;
const BATCH_ROWS_MAX = 20_000;
const CONNECTIONS_DEFAULT = 4;
const CONNECTIONS_MAX = 64;

export const configSchema = z
  .strictObject({
    kind: z.literal('postgres'),
    ...connectionFields,
    provision: z
      .enum(['create', 'check'])
      .default('check')
      .describe(
        '`create` makes schemas, enums, domains, tables, indexes and version tables that are missing; `check` refuses and prints the DDL.',
      ),
    register: z
      .enum(['sidecar', 'inline'])
      .default('sidecar')
      .describe(
        'Where the sequence of a row is kept. `sidecar`: in a version table beside the replicated one, which stays as the source has it. ' +
          '`inline`: in the columns cw_seq and cw_deleted of the replicated table; faster, but a deleted row stays with its other columns ' +
          'null, readers filter on cw_deleted, and no column but the key may be NOT NULL.',
      ),
    schema: ownSchema.default('causeway').describe('Schema of the tables that the sink keeps for itself.'),
    batchRows: z.int().min(1).max(BATCH_ROWS_MAX).default(BATCH_ROWS_DEFAULT).describe('Most rows in one transaction.'),
    connections: z.int().min(1).max(CONNECTIONS_MAX).default(CONNECTIONS_DEFAULT).describe('Most connections at once.'),
  })
  .superRefine(checkConnection);

export type SinkConfig = z.output<typeof configSchema>;

export type Register = SinkConfig['register'];

export function connectionOf(config: SinkConfig): Connection {
  return resolveConnection(config);
}
