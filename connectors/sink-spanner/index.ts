import type { SinkConnector } from '#core/connector.ts';
import { nameBy } from '../lib/sink/table-name.ts';
import { configSchema, databaseOf, type SinkConfig } from './config.ts';
import { SpannerSink } from './sink.ts';

/** Rows of Spanner with their register in a sidecar table: DESIGN's section 7. */
export const connector: SinkConnector<SinkConfig> = {
  kind: 'spanner',
  configSchema,
  databaseOf,
  // Names that differ in case alone are one.
  tableOf: (config, table) => nameBy(config.tables, table).toLowerCase(),
  create: (input) => new SpannerSink(input),
};
