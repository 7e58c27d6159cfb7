// One broker of its own, and the topics in it.
import { type Admin, Kafka, logLevel } from 'kafkajs';
import { KafkaCluster } from '../test/support/kafka-cluster.ts';
import type { Watched } from './usage.ts';

export const PARTITIONS = 4;

/** As Kafka's own scripts start a broker and its tools, with less memory: compiled in full, since it is to be as quick as it gets. */
const brokerJava = ['-Xms512m', '-Xmx512m', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20'];

/** What a test broker does often so that tests see it is done as seldom as Kafka does it by itself. */
const brokerSettings = { 'log.retention.check.interval.ms': '300000', 'log.cleaner.backoff.ms': '15000' };

/** With the 64 KiB around it, the largest batch that the topic of a log takes. */
const MESSAGE_BYTES_MAX = 8 * 1024 ** 2 + 64 * 1024;

export class BenchKafka implements AsyncDisposable {
  readonly cluster: KafkaCluster;
  readonly #admin: Admin;

  private constructor(cluster: KafkaCluster, admin: Admin) {
    this.cluster = cluster;
    this.#admin = admin;
  }

  static async create(): Promise<BenchKafka> {
    const cluster = await KafkaCluster.create({ java: brokerJava, settings: brokerSettings });
    const admin = new Kafka({ brokers: cluster.addresses, logLevel: logLevel.ERROR }).admin();
    await admin.connect();
    return new BenchKafka(cluster, admin);
  }

  get watched(): Watched {
    const pid = this.cluster.brokers[0]?.pid;
    if (pid === undefined) throw new Error('the broker does not run');
    return { name: 'broker', pid };
  }

  /** The `log` of a pipeline's configuration. */
  logIn(topic: string, compression: string): Readonly<Record<string, unknown>> {
    return {
      kind: 'kafka',
      brokers: this.cluster.addresses,
      topic,
      partitions: PARTITIONS,
      replicationFactor: 1,
      minInsyncReplicas: 1,
      compression,
    };
  }

  async makeTopic(topic: string): Promise<void> {
    const configEntries = [{ name: 'max.message.bytes', value: String(MESSAGE_BYTES_MAX) }];
    await this.#admin.createTopics({
      waitForLeaders: true,
      topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1, configEntries }],
    });
  }

  /** Durable, as the broker counts it: in memory of the kernel, unless a topic says otherwise. */
  async recordsIn(topic: string): Promise<number> {
    const offsets = await this.#admin.fetchTopicOffsets(topic);
    return offsets.reduce((sum, { high }) => sum + Number(high), 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#admin.disconnect();
    await this.cluster.dispose();
  }
}
