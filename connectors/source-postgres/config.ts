import * as z from 'zod';
import { checkConnection, connectionFields, resolveConnection, type Connection } from '../lib/postgres/connection.ts';

/** What Postgres allows in the name of a replication slot (ReplicationSlotValidateName). */
const SLOT_NAME = /^[a-z0-9_]{1,63}$/;

/** Names longer than this are cut by the server (NAMEDATALEN). */
const NAME_LENGTH_MAX = 63;

export const configSchema = z
  .strictObject({
    kind: z.literal('postgres'),
    ...connectionFields,
    slot: z
      .string()
      .regex(SLOT_NAME, { message: 'is not a usable slot name: lower-case letters, digits and underscores, 63 at most' })
      .optional()
      .describe('Name of the replication slot. `causeway_<pipeline>` unless set. Two pipelines never share one.'),
    publication: z
      .string()
      .min(1)
      .max(NAME_LENGTH_MAX)
      .optional()
      .describe('Name of the publication. `causeway_<pipeline>` unless set. It is made, or completed where it exists.'),
  })
  .superRefine(checkConnection);

export type SourceConfig = z.output<typeof configSchema>;

/** What every part of the connector needs. */
export type PostgresSource = {
  readonly connection: Connection;
  readonly pipeline: string;
  readonly slot: string;
  readonly publication: string;
};

export function sourceOf(config: SourceConfig, pipeline: string): PostgresSource {
  return {
    connection: resolveConnection(config),
    pipeline,
    slot: config.slot ?? `causeway_${pipeline}`,
    publication: config.publication ?? `causeway_${pipeline}`,
  };
}
