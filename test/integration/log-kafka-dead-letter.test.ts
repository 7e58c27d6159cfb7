// Dead letters in a compacted topic of Kafka: what compaction, late writers and concurrent readers must not change.
import { ConfigResourceTypes, Kafka, logLevel, type Admin } from 'kafkajs';
import { expect, test } from 'vitest';
import type { RowKey } from '#core/key.ts';
import type { HeldLetters, LetterRelease, ReleasedSince, Log } from '#core/log.ts';
import { offsetOf, type Offset } from '#core/position.ts';
import type { Sequence } from '#core/sequence.ts';
import { batchesUpTo, endsOf } from '../../connectors/log-kafka/read.ts';
import { recordsOf } from '../../connectors/log-kafka/record-batch.ts';
import { KeptBrokers } from '../../connectors/log-kafka/topic-brokers.ts';
import { codeRejected, collect, letter, never, record } from '../contract/log-support.ts';
import { kafkaLog, newTopic } from '../support/kafka-log.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { realRuntime } from '../support/test-runtime.ts';

const sequence = (commit: number): Sequence => `${commit}`.padStart(48, '0') as Sequence;
const key = (id: number): RowKey => `["t","${id}"]` as RowKey;
const since = (offset: number): ReleasedSince => ({ offset: offsetOf(offset), replays: 0 });
const release = (id: number, commit: number, at: number | null): LetterRelease => ({
  key: key(id),
  sequence: sequence(commit),
  at: at as Offset | null,
  replay: 0,
});

type Made = { readonly log: Log; readonly topic: string; readonly dead: string; readonly brokers: readonly string[] };

async function made(): Promise<Made> {
  const { brokers } = await sharedService('kafka');
  const topic = newTopic();
  const log = kafkaLog({ brokers: [...brokers], topic, partitions: 1 });
  await log.provision(never);
  await log.prepareConsumer('warm', { known: false }, never);
  return { log, topic, dead: `${topic}.warm.dead`, brokers };
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

/** What stands in the topic, to the last removed record. */
async function stored({ dead, brokers }: Made): Promise<readonly string[]> {
  const config = { brokers: [...brokers], requestTimeout: 5_000, connectTimeout: 5_000, tls: undefined, sasl: undefined };
  await using kept = new KeptBrokers({ config, clientId: 'test', runtime: realRuntime(), logger: silentLogger }, 5_000);
  const place = { topic: dead, partition: 0 };
  const { start, end } = await endsOf(kept, place, never);
  const texts: string[] = [];
  for await (const batches of batchesUpTo(kept, { ...place, from: start, end }, never)) {
    for (const batch of batches)
      for (const one of await recordsOf(batch)) texts.push(`${one.value === null ? '-' : '+'} ${one.key?.toString() ?? ''}`);
  }
  return texts;
}

async function keysOf(log: Log): Promise<readonly string[]> {
  return (await collect(log.deadLetters('warm').read(0, never))).map((one) => `${one.key} ${Number(one.sequence)}`).toSorted();
}

describeShared('kafka', 'dead letters in Kafka', () => {
  test('mean the same once they were compacted, and of what nobody needs nothing is left', async () => {
    const at = await made();
    const configEntries = [
      { name: 'cleanup.policy', value: 'compact' },
      { name: 'segment.ms', value: '50' },
      { name: 'min.cleanable.dirty.ratio', value: '0.001' },
      { name: 'max.compaction.lag.ms', value: '50' },
      { name: 'delete.retention.ms', value: '0' },
    ];
    await asAdmin(at.brokers, (admin) =>
      admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: at.dead, configEntries }] }),
    );
    const held = await at.log.deadLetters('warm').take(0, never);
    for (let round = 1; round <= 5; round += 1) {
      await held.park(
        [1, 2, 3, 4].map((id) => letter(key(id), { sequence: sequence(round) })),
        never,
      );
      await held.release([release(2, round, 10 * round), release(3, round, null)], never);
    }
    const expected = [`${key(1)} 5`, `${key(4)} 5`];
    expect(await keysOf(at.log)).toEqual(expected);
    // What moves the topic on, so that segments are rolled and cleaned.
    let texts = await stored(at);
    while (texts.some((text) => text.startsWith('-')) || texts.filter((text) => text.startsWith('+ ["p"')).length > 3) {
      await held.release([release(9, 1, null)], never);
      expect(await keysOf(at.log)).toEqual(expected);
      texts = await stored(at);
    }
    await using other = kafkaLog({ brokers: [...at.brokers], topic: at.topic, partitions: 1 });
    expect(await keysOf(other)).toEqual(expected);
    expect((await collect(other.deadLetters('warm').readReleased(0, since(50), never))).map((one) => one.key)).toEqual([key(2)]);
    expect(await collect(other.deadLetters('warm').readReleased(0, since(51), never))).toEqual([]);
    await at.log[Symbol.asyncDispose]();
  });

  test('are refused to an earlier holder by the broker itself, also what it writes without looking', async () => {
    const at = await made();
    await using other = kafkaLog({ brokers: [...at.brokers], topic: at.topic, partitions: 1 });
    const earlier = await at.log.deadLetters('warm').take(0, never);
    await earlier.park([letter(key(1), { sequence: sequence(1) })], never);
    const later = await other.deadLetters('warm').take(0, never);
    await later.release([release(1, 1, 3)], never);
    const before = await stored(at);
    const writes: ((held: HeldLetters) => Promise<void>)[] = [
      (held) => held.park([letter(key(1), { sequence: sequence(1) })], never),
      (held) => held.park([letter(key(2), { sequence: sequence(2) })], never),
      (held) => held.release([release(1, 9, null)], never),
    ];
    for (const write of writes) expect(await codeRejected(write(earlier))).toBe('partition_fenced');
    expect(await stored(at)).toEqual(before);
    await later.park([letter(key(2), { sequence: sequence(2) })], never);
    expect(await keysOf(at.log)).toEqual([`${key(2)} 2`]);
    await at.log[Symbol.asyncDispose]();
  });

  test('are read whole while they are parked anew under the reader', async () => {
    const at = await made();
    const held = await at.log.deadLetters('warm').take(0, never);
    const ids = Array.from({ length: 40 }, (_none, id) => id);
    const body = Buffer.alloc(60_000, 1);
    await held.park(
      ids.map((id) => letter(key(id), { sequence: sequence(1), record: body })),
      never,
    );
    await using other = kafkaLog({ brokers: [...at.brokers], topic: at.topic, partitions: 1 });
    const seen = new Set<string>();
    for await (const one of other.deadLetters('warm').read(0, never)) {
      if (seen.size === 0) {
        await held.park(
          ids.map((id) => letter(key(id), { sequence: sequence(2), record: body })),
          never,
        );
        await held.release([release(39, 2, 5)], never);
      }
      expect(one.record?.length).toBe(body.length);
      seen.add(one.key);
    }
    expect(ids.filter((id) => id !== 39 && !seen.has(key(id)))).toEqual([]);
    await at.log[Symbol.asyncDispose]();
  });

  test('that were released go with the part of the log from which a sink could ask for them, when the partition is taken', async () => {
    const at = await made();
    {
      await using writer = await at.log.writer(never);
      for (let id = 0; id < 8; id += 1) await writer.append([record(0, `${id}`)], never);
    }
    const held = await at.log.deadLetters('warm').take(0, never);
    await held.park(
      [1, 2, 3].map((id) => letter(key(id), { sequence: sequence(1) })),
      never,
    );
    await held.release([release(1, 1, 4), release(2, 1, 5)], never);
    await asAdmin(at.brokers, async (admin) => {
      await admin.fetchTopicMetadata({ topics: [at.topic] });
      await admin.deleteTopicRecords({ topic: at.topic, partitions: [{ partition: 0, offset: '5' }] });
    });
    await (await at.log.deadLetters('warm').take(0, never)).forget(0, never);
    const left = await collect(at.log.deadLetters('warm').readReleased(0, since(0), never));
    expect(left.map((one) => one.key)).toEqual([key(2)]);
    expect(await keysOf(at.log)).toEqual([`${key(3)} 1`]);
    expect((await stored(at)).slice(-2).map((text) => text.slice(0, 5))).toEqual(['- ["p', '- ["r']);
    await at.log[Symbol.asyncDispose]();
  });

  test('that went missing are an error for a sink that is known, and never made anew', async () => {
    const at = await made();
    await asAdmin(at.brokers, (admin) => admin.deleteTopics({ topics: [at.dead] }));
    // A broker hears of it a little later than the controller answers.
    await expect.poll(() => asAdmin(at.brokers, (admin) => admin.listTopics()), { timeout: 10_000 }).not.toContain(at.dead);
    expect(await codeRejected(at.log.prepareConsumer('warm', { known: true }, never))).toBe('log_offset_gone');
    expect(await asAdmin(at.brokers, (admin) => admin.listTopics())).not.toContain(at.dead);
    await at.log.prepareConsumer('warm', { known: false }, never);
    await at.log.prepareConsumer('warm', { known: true }, never);
    await at.log[Symbol.asyncDispose]();
  });
});
