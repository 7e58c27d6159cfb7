import type { SinkConnector } from '#core/connector.ts';
import { configSchema, type SinkConfig } from './config.ts';
import { DynamoSink } from './sink.ts';

/** Rows as registers in tables of DynamoDB: DESIGN's section 7. */
export const connector: SinkConnector<SinkConfig> = {
  kind: 'dynamodb',
  configSchema,
  create: (input) => new DynamoSink(input),
};
