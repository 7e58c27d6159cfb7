import { randomUUID } from 'node:crypto';
import type { Config } from '../../connectors/log-kafka/config.ts';
import { KafkaLog } from '../../connectors/log-kafka/log.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import { silentLogger } from './silent-logger.ts';
import { realRuntime } from './test-runtime.ts';

/** A log in a topic of its own, as one broker can hold it, with what a test wants otherwise. */
export function kafkaLog(
  input: Pick<Config, 'brokers' | 'topic'> &
    Partial<Config> & { readonly pipeline?: string; readonly runtime?: Runtime; readonly logger?: Logger },
): KafkaLog {
  const { pipeline = 'orders', runtime = realRuntime(), logger = silentLogger, ...over } = input;
  const config: Config = {
    kind: 'kafka',
    group: over.topic,
    partitions: 3,
    replicationFactor: 1,
    minInsyncReplicas: 1,
    retention: 3_600_000,
    recordBytesMax: 1024 ** 2,
    compression: 'zstd',
    producers: 2,
    requestTimeout: 5_000,
    connectTimeout: 5_000,
    sessionTimeout: 2_000,
    ...over,
  };
  return new KafkaLog({ config, pipeline, runtime, logger });
}

/** No other test of the broker has it. */
export function newTopic(): string {
  return `t.${randomUUID()}`;
}
