// What Kafka says of writes, checked against a real broker: what is durable, what is refused, and what looks like success and is none.
import kafkajs, { Kafka, logLevel, type Admin } from 'kafkajs';
import { beforeAll, describe, expect, it } from 'vitest';
import { codeOf } from '#core/errors.ts';
import type { EncodedRecord } from '#core/log.ts';
import { openClient, producerOf } from '../../connectors/log-kafka/client.ts';
import type { Config } from '../../connectors/log-kafka/config.ts';
import { fetchFrom } from '../../connectors/log-kafka/kafkajs-internals.ts';
import { TopicBrokers } from '../../connectors/log-kafka/topic-brokers.ts';
import { never, readAll } from '../contract/log-support.ts';
import { kafkaLog, newTopic } from '../support/kafka-log.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { realRuntime } from '../support/test-runtime.ts';

const noise = (bytes: number): Buffer =>
  Buffer.from(Array.from({ length: bytes }, (_none, index) => (Math.imul(index, 0x9e3779b1) ^ (index * index)) >>> 13));

describeShared('kafka', 'writing to Kafka', () => {
  let brokers: string[] = [];
  beforeAll(async () => {
    brokers = [...(await sharedService('kafka')).brokers];
  });

  async function withAdmin<T>(work: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    try {
      return await work(admin);
    } finally {
      await admin.disconnect();
    }
  }

  function logIn(topic: string, over: Partial<Config> = {}) {
    return kafkaLog({ brokers, topic, ...over });
  }

  async function textsIn(topic: string, partition: number): Promise<readonly string[]> {
    await using log = logIn(topic);
    return (await readAll(log, partition)).map(({ value }) => Buffer.from(value).toString());
  }

  async function firstAttributes(topic: string, partition: number): Promise<number> {
    const config = { brokers, requestTimeout: 5_000, connectTimeout: 5_000 };
    const parts = { config, clientId: 'test', runtime: realRuntime(), logger: silentLogger };
    await using brokersOf = await TopicBrokers.open(parts, never);
    const leader = await brokersOf.leader(topic, partition);
    const wanted = [{ partition, from: 0, bytesMax: 1_000_000 }];
    const { partitions } = await fetchFrom(leader, { topic, partitions: wanted, waitMs: 100, bytesMax: 1_000_000 });
    return (partitions[0]?.bytes.readInt16BE(21) ?? -1) & 7;
  }

  const record = (partition: number, value: string | Buffer): EncodedRecord => ({
    partition,
    key: `["t","${partition}"]`,
    value: Buffer.from(value),
  });

  it.each(['none', 'gzip', 'lz4', 'zstd'] as const)('compressed with %s, the brokers take it and it comes back', async (compression) => {
    const topic = newTopic();
    await using log = logIn(topic, { compression });
    await log.provision(never);
    const bytes = [noise(600_000), Buffer.alloc(900_000, 'ab'), noise(1_000_000), Buffer.from('last')];
    await using writer = await log.writer(never);
    expect(
      await writer.append(
        bytes.map((value) => record(1, value)),
        never,
      ),
    ).toEqual(new Map([[1, 3]]));
    const back = await readAll(log, 1);
    expect(back.map(({ value }) => Buffer.from(value).equals(bytes[back.findIndex((one) => one.value === value)] as Buffer))).toEqual([
      true,
      true,
      true,
      true,
    ]);
  });

  it('small batches go as they are, whatever the compression, and larger ones packed', async () => {
    const topic = newTopic();
    await using log = logIn(topic, { compression: 'zstd' });
    await log.provision(never);
    await using writer = await log.writer(never);
    await writer.append([record(0, 'x'.repeat(900))], never);
    await writer.append([record(1, 'x'.repeat(1_100))], never);
    expect(await textsIn(topic, 1)).toEqual(['x'.repeat(1_100)]);
    // The lowest three bits of a batch's attributes ("Apache Kafka documentation, Record batch"): 0 is none, 4 zstd.
    expect(await Promise.all([0, 1].map((partition) => firstAttributes(topic, partition)))).toEqual([0, 4]);
  });

  it('the largest record that the log promises to take is taken, whatever the compression makes of it', async () => {
    for (const compression of ['none', 'lz4'] as const) {
      await using log = logIn(newTopic(), { compression, recordBytesMax: 2 * 1024 ** 2 });
      await log.provision(never);
      await using writer = await log.writer(never);
      expect(await writer.append([{ partition: 0, key: null, value: noise(log.recordBytesMax) }], never)).toEqual(new Map([[0, 0]]));
    }
  });

  it('many records go to a topic for small ones', async () => {
    await using log = logIn(newTopic(), { compression: 'none', recordBytesMax: 64 * 1024 });
    await log.provision(never);
    await using writer = await log.writer(never);
    const records = Array.from({ length: 20 }, () => ({ partition: 0, key: null, value: noise(60_000) }));
    expect(await writer.append(records, never)).toEqual(new Map([[0, 19]]));
  });

  it('what is too large for the topic is an error, and what comes behind a refused send through another producer stands in the log', async () => {
    const topic = newTopic();
    await using log = logIn(topic, { producers: 1 });
    await log.provision(never);
    await withAdmin((admin) =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [
          { type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'max.message.bytes', value: '1000' }] },
        ],
      }),
    );
    await using refused = await log.writer(never);
    const append = refused.append([record(0, 'a'), record(1, noise(50_000)), record(2, 'never sent')], never);
    expect(await append.catch(codeOf)).toBe('log_misconfigured');
    expect(await refused.append([record(0, 'b')], never).catch(codeOf)).toBe('log_unavailable');
    await using writer = await log.writer(never);
    expect(await writer.append([record(0, 'b'), record(1, 'c')], never)).toEqual(
      new Map([
        [0, 1],
        [1, 0],
      ]),
    );
    expect([await textsIn(topic, 0), await textsIn(topic, 1), await textsIn(topic, 2)]).toEqual([['a', 'b'], ['c'], []]);
  });

  it('a producer of kafkajs drops what is sent behind a refused send and calls it a success, which is why none is used again', async () => {
    const topic = newTopic();
    await using log = logIn(topic);
    await log.provision(never);
    const config = { brokers, requestTimeout: 5_000, connectTimeout: 5_000 };
    await using client = await openClient({ config, clientId: 'test', runtime: realRuntime(), logger: silentLogger }, never);
    const producer = producerOf(client);
    await producer.connect();
    const both = [
      { partition: 0, value: 'a' },
      { partition: 1, value: noise(3 * 1024 ** 2) },
    ];
    await expect(producer.send({ topic, messages: both })).rejects.toThrow();
    const [reply] = await producer.send({ topic, messages: [{ partition: 0, value: 'b' }] });
    expect(reply).toMatchObject({ partition: 0, errorCode: 0 });
    expect(await textsIn(topic, 0)).toEqual(['a']);
  });

  it('a topic that was deleted and made again under a writer is noticed, though the broker confirms what is sent', async () => {
    const topic = newTopic();
    await using log = logIn(topic);
    await log.provision(never);
    await using writer = await log.writer(never);
    await writer.append([record(0, 'a'), record(0, 'b'), record(1, 'c')], never);
    await log.remove(null, never);
    await log.provision(never);
    expect(await writer.append([record(0, 'd')], never).catch(codeOf)).toBe('log_unproved');
  });

  it('a topic that was deleted under a writer is missing', async () => {
    await using log = logIn(newTopic());
    await log.provision(never);
    await using writer = await log.writer(never);
    await writer.append([record(0, 'a')], never);
    await log.remove(null, never);
    expect(await writer.append([record(0, 'd')], never).catch(codeOf)).toBe('log_topic_missing');
  });

  describe('a topic that is there', () => {
    const settings = {
      'cleanup.policy': 'delete',
      'retention.ms': '3600000',
      'max.message.bytes': String(1024 ** 2 + 64 * 1024),
      'message.timestamp.type': 'LogAppendTime',
      'unclean.leader.election.enable': 'false',
    };

    async function outcome(
      over: Record<string, string>,
      log: Partial<Config> = {},
    ): Promise<{ readonly code: string; readonly message: string }> {
      const topic = newTopic();
      const configEntries = Object.entries({ ...settings, ...over }).map(([name, value]) => ({ name, value }));
      await withAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions: 3, replicationFactor: 1, configEntries }] }));
      await using made = logIn(topic, log);
      try {
        await made.provision(never);
        return { code: 'taken', message: '' };
      } catch (error) {
        return { code: codeOf(error), message: (error as Error).message.replaceAll(topic, 'T') };
      }
    }

    it('and right is taken, also with more than was asked for', async () => {
      expect(await outcome({})).toMatchObject({ code: 'taken' });
      expect(await outcome({ 'retention.ms': '-1', 'max.message.bytes': '9999999' })).toMatchObject({ code: 'taken' });
    });

    it.each([
      ['cleanup.policy', 'compact', 'delete'],
      ['cleanup.policy', 'compact,delete', 'delete'],
      ['retention.ms', '3599999', '3600000'],
      ['retention.bytes', '1000000', '-1'],
      ['max.message.bytes', '1048588', '1114112'],
      ['message.timestamp.type', 'CreateTime', 'LogAppendTime'],
      ['unclean.leader.election.enable', 'true', 'false'],
    ])('with %s %s is refused, with the command that mends it', async (name, value, needed) => {
      const { code, message } = await outcome({ [name]: value });
      expect(code).toBe('log_misconfigured');
      expect(message).toContain(`of the topic T ${name} is ${value} where ${needed} is needed`);
      expect(message).toContain(`--alter --entity-type topics --entity-name T --add-config ${name}=${needed}`);
    });

    it('with fewer copies, or fewer that have to be in step, is refused', async () => {
      expect(await outcome({}, { replicationFactor: 3 })).toMatchObject({
        code: 'log_misconfigured',
        message: expect.stringContaining('has 1 copies') as string,
      });
      expect(await outcome({}, { minInsyncReplicas: 2 })).toMatchObject({
        code: 'log_misconfigured',
        message: expect.stringContaining('min.insync.replicas=2') as string,
      });
    });

    it('with another number of partitions is refused', async () => {
      expect(await outcome({}, { partitions: 4 })).toMatchObject({
        code: 'log_partitions_changed',
        message: expect.stringContaining('Set log.partitions to 3') as string,
      });
    });
  });

  it('a topic that the brokers cannot make is refused with the command to make it', async () => {
    await using log = logIn(newTopic(), { replicationFactor: 3, minInsyncReplicas: 2 });
    const failed = log.provision(never);
    await expect(failed).rejects.toMatchObject({ code: 'log_misconfigured' });
    await expect(failed).rejects.toThrow('INVALID_REPLICATION_FACTOR');
    await expect(failed).rejects.toThrow(
      '--partitions 3 --replication-factor 3 --config cleanup.policy=delete --config min.insync.replicas=2',
    );
  });
});
