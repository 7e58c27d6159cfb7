import type { SinkConnector } from '#core/connector.ts';
import { configSchema, type SinkConfig } from './config.ts';
import { SpannerSink } from './sink.ts';

/** Rows of Spanner with their register in a sidecar table: DESIGN's section 7. */
export const connector: SinkConnector<SinkConfig> = {
  kind: 'spanner',
  configSchema,
  create: (input) => new SpannerSink(input),
};
