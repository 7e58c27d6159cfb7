import type { SinkConnector } from '#core/connector.ts';
import { databaseAt } from '../lib/postgres/connection.ts';
import { configSchema, type SinkConfig } from './config.ts';
import { PostgresSink } from './sink.ts';

/** Rows as registers in a Postgres database: DESIGN's section 7, the Postgres family. */
export const connector: SinkConnector<SinkConfig> = {
  kind: 'postgres',
  configSchema,
  databaseOf: databaseAt,
  create: (input) => new PostgresSink(input),
};
