import * as z from 'zod';
import { checkConnection, connectionFields } from '../lib/postgres/connection.ts';
import { ownSchema } from '../lib/postgres/own-schema.ts';

export const configSchema = z
  .strictObject({
    kind: z.literal('postgres'),
    ...connectionFields,
    schema: ownSchema
      .default('causeway_control')
      .describe('Schema of the only table that is kept there. Deployments that share a schema share their leases.'),
    provision: z
      .enum(['create', 'check'])
      .default('check')
      .describe('`create` makes the schema and the table where they are missing; `check` refuses and prints the DDL.'),
  })
  .superRefine(checkConnection);

export type Config = z.output<typeof configSchema>;
