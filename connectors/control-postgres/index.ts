import type { ControlConnector } from '#core/connector.ts';
import { databaseAt, resolveConnection } from '../lib/postgres/connection.ts';
import { configSchema, type Config } from './config.ts';
import { PostgresControlStore } from './store.ts';

/** A control store for daemons on several machines: one table of a Postgres that nothing is captured from or applied to. */
export const connector: ControlConnector<Config> = {
  kind: 'postgres',
  configSchema,
  databaseOf: databaseAt,
  create: ({ config, leaseTtlMs, context }) =>
    new PostgresControlStore({
      connection: resolveConnection(config),
      schema: config.schema,
      provision: config.provision,
      leaseTtlMs,
      runtime: context.runtime,
    }),
};
