import type { LogConnector } from '#core/connector.ts';
import { type Config, configSchema } from './config.ts';
import { KafkaLog } from './log.ts';

/** The log for anything real: a topic of Apache Kafka, replicated, whose partitions several processes share. */
export const connector: LogConnector<Config> = {
  kind: 'kafka',
  configSchema,
  create: ({ config, pipeline, context }) =>
    new KafkaLog({ config, pipeline, runtime: context.runtime, logger: context.logger.with({ pipeline }) }),
};
