import * as z from 'zod';
import { checkConnection, connectionFields } from '../lib/postgres/connection.ts';

/** Identifiers longer than this are cut by Postgres (NAMEDATALEN). */
const NAME_BYTES_MAX = 63;

export const configSchema = z
  .strictObject({
    kind: z.literal('postgres'),
    ...connectionFields,
    schema: z
      .string()
      .min(1)
      .refine((name) => Buffer.byteLength(name) <= NAME_BYTES_MAX && !name.startsWith('pg_'), {
        message: 'is no name for a schema',
        params: { mend: `Take a name of at most ${NAME_BYTES_MAX} bytes that does not begin with pg_.` },
      })
      .default('causeway_control')
      .describe('Schema of the only table that is kept there. Deployments that share a schema share their leases.'),
    provision: z
      .enum(['create', 'check'])
      .default('check')
      .describe('`create` makes the schema and the table where they are missing; `check` refuses and prints the DDL.'),
  })
  .superRefine(checkConnection);

export type Config = z.output<typeof configSchema>;
