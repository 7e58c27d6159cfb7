// What a log in Kafka has to notice when it is read: what is missing, what others wrote, and leaders that come and go.
import { type Admin, ConfigResourceTypes, Kafka, logLevel, type Producer } from 'kafkajs';
import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { codeOf } from '#core/errors.ts';
import type { Log } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import { codeRejected, collect, never, readAll, record } from '../contract/log-support.ts';
import { KafkaCluster } from '../support/kafka-cluster.ts';
import { Follower } from '../support/kafka-follower.ts';
import { kafkaLog, newTopic } from '../support/kafka-log.ts';
import { describeOwn, describeShared, sharedService } from '../support/services.ts';

async function append(log: Log, ...texts: readonly string[]): Promise<void> {
  await using writer = await log.writer(never);
  await writer.append(
    texts.map((text) => record(0, text)),
    never,
  );
}

async function removeUpTo(brokers: readonly string[], topic: string, offset: number): Promise<void> {
  await asAdmin(brokers, async (admin) => {
    // The client looks for the leader in metadata that it has not asked for.
    await admin.fetchTopicMetadata({ topics: [topic] });
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: `${offset}` }] });
  });
}

async function asAdmin<T>(brokers: readonly string[], work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
}

/** Another program that writes to the topic. */
async function asOther<T>(brokers: readonly string[], options: object, work: (producer: Producer) => Promise<T>): Promise<T> {
  const producer = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).producer(options);
  await producer.connect();
  try {
    return await work(producer);
  } finally {
    await producer.disconnect();
  }
}

/** A log of one partition with the records `a` to `e`. */
async function five(): Promise<{ readonly log: Log; readonly topic: string; readonly brokers: readonly string[] }> {
  const { brokers } = await sharedService('kafka');
  const topic = newTopic();
  const log = kafkaLog({ brokers: [...brokers], topic, partitions: 1 });
  await log.provision(never);
  await append(log, 'a', 'b', 'c', 'd', 'e');
  return { log, topic, brokers };
}

describeShared('kafka', 'reading a log in Kafka', () => {
  test('what retention has removed is told as gone, to who reads on there and to who begins there', async () => {
    const { log, topic, brokers } = await five();
    await removeUpTo(brokers, topic, 3);
    expect(await log.ends(never)).toEqual([{ start: 3, end: 5 }]);
    expect(await codeRejected(readAll(log, 0, 2))).toBe('log_offset_gone');
    expect(await readAll(log, 0, 3)).toHaveLength(2);
    const late = await Follower.start(log, { from: 2 });
    await late.until(() => late.errors.length > 0);
    expect(late.errors.map(codeOf)).toEqual(['log_offset_gone']);
    expect(late.seen).toEqual([]);
    await late[Symbol.asyncDispose]();
    // All of it is gone, and nothing of it is missed.
    await removeUpTo(brokers, topic, 5);
    const on = await Follower.start(log, { from: 5 });
    await on.until(() => on.held.size === 1);
    await append(log, 'f');
    await on.until(() => on.seen.length > 0);
    expect(on.seen).toEqual([{ partition: 0, offset: 5, text: 'f' }]);
    expect(await readAll(log, 0, 5)).toHaveLength(1);
    await on[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  });

  test('a topic that was made again is noticed by who reads it: its end lies before what was read', async () => {
    const { log, topic, brokers } = await five();
    const follower = await Follower.start(log);
    await follower.until(() => follower.seen.length === 5);
    await asAdmin(brokers, (admin) => admin.deleteTopics({ topics: [topic] }));
    await log.provision(never);
    await append(log, 'other');
    await follower.until(() => follower.errors.length > 0);
    expect(follower.errors.map(codeOf)).toEqual(['log_offset_gone']);
    expect(follower.seen).toHaveLength(5);
    await follower[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  });

  test('a topic that is gone is told, but only when it stays away', async () => {
    const { log, topic, brokers } = await five();
    const follower = await Follower.start(log);
    await follower.until(() => follower.seen.length === 5);
    await asAdmin(brokers, (admin) => admin.deleteTopics({ topics: [topic] }));
    await follower.until(() => follower.errors.length > 0);
    expect(follower.errors.map(codeOf)).toEqual(['log_topic_missing']);
    await follower[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  });

  test('records of another program come as they are, in their place', async () => {
    const { log, topic, brokers } = await five();
    await asOther(brokers, {}, (producer) =>
      producer.send({
        topic,
        messages: [
          { key: 'k', value: null },
          { value: 'theirs', headers: { h: 'x' } },
        ],
      }),
    );
    await append(log, 'f');
    const found = await readAll(log, 0, 5);
    expect(found.map(({ offset, key, value }) => [offset, key, Buffer.from(value).toString()])).toEqual([
      [5, 'k', ''],
      [6, null, 'theirs'],
      [7, '["t","f"]', 'f'],
    ]);
    await log[Symbol.asyncDispose]();
  });

  test('a transaction that another program left open holds nothing up, and its end leaves no hole', async () => {
    const { log, topic, brokers } = await five();
    const follower = await Follower.start(log);
    await follower.until(() => follower.seen.length === 5);
    const texts = (): readonly string[] => follower.texts(0).slice(5);
    await asOther(brokers, { transactionalId: topic, idempotent: true, maxInFlightRequests: 1 }, async (producer) => {
      const transaction = await producer.transaction();
      await transaction.send({ topic, messages: [{ value: 'theirs' }] });
      await append(log, 'f');
      await follower.until(() => texts().length === 2);
      expect(texts()).toEqual(['theirs', 'f']);
      expect(await readAll(log, 0, 5)).toHaveLength(2);
      await transaction.abort();
      await append(log, 'g');
      await follower.until(() => texts().length === 3);
      const second = await producer.transaction();
      await second.send({ topic, messages: [{ value: 'more' }] });
      await second.commit();
    });
    await append(log, 'h');
    // Each end of a transaction takes an offset, some time after it was answered.
    while ((await log.ends(never))[0]?.end !== 12);
    await append(log, 'i');
    await follower.until(() => texts().length === 6);
    expect(texts()).toEqual(['theirs', 'f', 'g', 'more', 'h', 'i']);
    expect(follower.seen.at(-1)?.offset).toBe(12);
    expect((await readAll(log, 0, 7)).map(({ offset }) => offset)).toEqual(follower.seen.slice(7).map(({ offset }) => offset));
    expect(follower.errors).toEqual([]);
    await follower[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  });

  test('holes that compaction made where it must not be are losses', async () => {
    const { log, topic, brokers } = await five();
    const configEntries = [
      { name: 'cleanup.policy', value: 'compact' },
      { name: 'segment.ms', value: '1' },
      { name: 'min.cleanable.dirty.ratio', value: '0.001' },
      { name: 'max.compaction.lag.ms', value: '1' },
    ];
    await asAdmin(brokers, (admin) =>
      admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }] }),
    );
    let code = '';
    while (code !== 'log_offset_gone') {
      await append(log, 'c');
      code = await codeRejected(readAll(log, 0));
    }
    const follower = await Follower.start(log);
    await follower.until(() => follower.errors.length > 0);
    expect(follower.errors.map(codeOf)).toEqual(['log_offset_gone']);
    // The hole is inside of the one batch.
    expect(follower.texts(0)).toEqual([]);
    await follower[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  });

  test('pages of every size come whole and in order, for all partitions at once', async () => {
    const { brokers } = await sharedService('kafka');
    const log = kafkaLog({ brokers: [...brokers], topic: newTopic(), partitions: 6 });
    await log.provision(never);
    await using writer = await log.writer(never);
    const count = 2_000;
    for (let from = 0; from < count; from += 500) {
      const values = Array.from({ length: 500 }, (_none, index) => from + index);
      const records = values.flatMap((value) =>
        [0, 1, 2, 3, 4, 5].map((partition) => ({
          partition,
          key: null,
          value: Buffer.from(`${value} ${'x'.repeat((value * 37) % 3_000)}`),
        })),
      );
      await writer.append(records, never);
    }
    const follower = await Follower.start(log);
    await follower.until(() => follower.seen.length === 6 * count || follower.errors.length > 0);
    for (let partition = 0; partition < 6; partition += 1) {
      const seen = follower.seen.filter((one) => one.partition === partition);
      expect(seen.map(({ offset }) => offset)).toEqual(Array.from({ length: count }, (_none, index) => index));
      expect(seen.every(({ offset, text }) => text.startsWith(`${offset} `))).toBe(true);
    }
    await follower[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  });
});

describeOwn('kafka', 'brokers that come and go under a reader', () => {
  test.each(['killed', 'hanging'] as const)(
    'it reads on from the same offset, whoever leads, and keeps its partitions: %s',
    async (how) => {
      await using cluster = await KafkaCluster.create({ brokers: 3 });
      const topic = newTopic();
      const log = kafkaLog({
        brokers: cluster.addresses,
        topic,
        partitions: 3,
        replicationFactor: 3,
        minInsyncReplicas: 2,
        sessionTimeout: 30_000,
      });
      await log.provision(never);
      const follower = await Follower.start(log);
      await using writer = await log.writer(never);
      let appended = 0;
      const more = async (): Promise<void> => {
        const texts = Array.from({ length: 50 }, () => `${(appended += 1)}`);
        await writer.append(
          texts.flatMap((text) => [0, 1, 2].map((partition) => record(partition, text))),
          never,
        );
        await follower.until(() => [0, 1, 2].every((partition) => new Set(follower.texts(partition)).size >= appended));
      };
      await more();
      const broker = present(await cluster.leaderOf(topic, 0), 'a leader');
      if (how === 'killed') await broker.kill();
      else broker.pause();
      await more();
      if (how === 'killed') await broker.start();
      else broker.resume();
      await more();
      for (const partition of [0, 1, 2]) {
        // Each offset once, in order: what stands in the log twice, a producer sent twice.
        const seen = follower.seen.filter((one) => one.partition === partition);
        expect(seen.map(({ offset }) => offset)).toEqual(seen.map((_one, index) => index));
        expect(new Set(follower.texts(partition)).size).toBe(appended);
      }
      expect([follower.errors, follower.lost]).toEqual([[], []]);
      await follower[Symbol.asyncDispose]();
      await log[Symbol.asyncDispose]();
    },
  );

  test('a broker that all is on comes back, and what was read is not read again', async () => {
    await using cluster = await KafkaCluster.create();
    const [broker] = cluster.brokers;
    const log = kafkaLog({ brokers: cluster.addresses, topic: newTopic(), partitions: 1, sessionTimeout: 30_000 });
    await log.provision(never);
    await append(log, 'a');
    const follower = await Follower.start(log);
    await follower.until(() => follower.seen.length === 1);
    await present(broker, 'the broker').kill();
    await present(broker, 'the broker').start();
    await append(log, 'b');
    await follower.until(() => follower.seen.length === 2);
    expect(follower.seen.map(({ offset, text }) => `${offset} ${text}`)).toEqual(['0 a', '1 b']);
    expect([follower.errors, follower.lost]).toEqual([[], []]);
    expect(await collect(log.read(0, 2 as Offset, never))).toEqual([]);
    await follower[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  });
});
