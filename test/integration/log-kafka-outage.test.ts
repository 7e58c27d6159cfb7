// Writing while brokers come and go: a cluster of three, of which two copies have to hold a record.
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { LogWriter } from '#core/log.ts';
import type { KafkaLog } from '../../connectors/log-kafka/log.ts';
import { never, readAll } from '../contract/log-support.ts';
import { KafkaCluster } from '../support/kafka-cluster.ts';
import { kafkaLog, newTopic } from '../support/kafka-log.ts';
import { describeOwn } from '../support/services.ts';

/** Each value once, as it first stands there: what an outage made stand there again is for readers to skip. */
async function valuesOf(log: KafkaLog, partition: number): Promise<readonly string[]> {
  return [...new Set((await readAll(log, partition)).map(({ value }) => Buffer.from(value).toString()))];
}

describeOwn('kafka', 'writing to three brokers', () => {
  let cluster: KafkaCluster;
  beforeAll(async () => {
    cluster = await KafkaCluster.create({ brokers: 3 });
  });
  afterAll(() => cluster.dispose());

  async function provisioned(topic: string): Promise<KafkaLog> {
    const safe = { partitions: 1, replicationFactor: 3, minInsyncReplicas: 2, requestTimeout: 1_000, connectTimeout: 1_000 };
    const log = kafkaLog({ brokers: cluster.addresses, topic, ...safe });
    await log.provision(never);
    return log;
  }

  async function append(writer: LogWriter, from: number, to: number): Promise<void> {
    for (let value = from; value < to; value += 1)
      await writer.append([{ partition: 0, key: null, value: Buffer.from(`${value}`) }], never);
  }

  const upTo = (count: number): readonly string[] => Array.from({ length: count }, (_none, value) => `${value}`);

  it('what was appended at the leader and refused because the others did not follow stands before what is sent next', async () => {
    const topic = newTopic();
    await using log = await provisioned(topic);
    await using writer = await log.writer(never);
    await append(writer, 0, 5);
    const leader = await cluster.leaderOf(topic, 0);
    const others = cluster.brokers.filter((broker) => broker !== leader);
    for (const broker of others) broker.pause();
    const appended = append(writer, 5, 10);
    while (!(await log.usage(never)).stalled) await new Promise((resolve) => setImmediate(resolve));
    for (const broker of others) broker.resume();
    await appended;
    expect(await log.usage(never)).toMatchObject({ stalled: false });
    expect(await valuesOf(log, 0)).toEqual(upTo(10));
    expect(await readAll(log, 0)).not.toHaveLength(10);
  });

  it('a leader that dies in the middle loses nothing, and the writer goes on with the next one', async () => {
    const topic = newTopic();
    await using log = await provisioned(topic);
    await using writer = await log.writer(never);
    await append(writer, 0, 100);
    const leader = await cluster.leaderOf(topic, 0);
    const appended = append(writer, 100, 400);
    await leader?.kill();
    await appended;
    expect((await cluster.leaderOf(topic, 0))?.id).not.toBe(leader?.id);
    expect(await valuesOf(log, 0)).toEqual(upTo(400));
    await leader?.start();
  });
});
