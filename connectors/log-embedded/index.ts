import type { LogConnector } from '#core/connector.ts';
import { type Config, configSchema } from './config.ts';
import { EmbeddedLog } from './log.ts';

/** The log of one machine: a SQLite file, so that one process needs no broker. */
export const connector: LogConnector<Config> = {
  kind: 'embedded',
  configSchema,
  create: ({ config, pipeline, context }) =>
    new EmbeddedLog({
      path: config.path,
      pipeline,
      partitions: config.partitions,
      bytesMax: config.bytesMax,
      keepBytes: config.keepBytes,
      recordBytesMax: config.recordBytesMax,
      runtime: context.runtime,
      logger: context.logger.with({ pipeline }),
      thread: true,
    }),
};
