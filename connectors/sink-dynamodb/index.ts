import type { SinkConnector } from '#core/connector.ts';
import { nameBy } from '../lib/sink/table-name.ts';
import { configSchema, databaseOf, type SinkConfig } from './config.ts';
import { DynamoSink } from './sink.ts';

/** Rows as registers in tables of DynamoDB: DESIGN's section 7. */
export const connector: SinkConnector<SinkConfig> = {
  kind: 'dynamodb',
  configSchema,
  databaseOf,
  tableOf: (config, table) => nameBy(config.tables, table),
  create: (input) => new DynamoSink(input),
};
