import { describe, expect, it } from 'vitest';
import { codeOf } from '#core/errors.ts';
import type { EncodedRecord } from '#core/log.ts';
import { KafkaProducer, Outage, type Batch } from '../../../connectors/log-kafka/producer.ts';
import { batchesOf, KafkaLogWriter } from '../../../connectors/log-kafka/write.ts';
import { silentLogger } from '../../support/silent-logger.ts';
import { VirtualClock } from '../../support/test-runtime.ts';

const never = new AbortController().signal;
const limits = { partitions: 4, recordBytesMax: 3 * 1024 ** 2, pipeline: 'orders' };

function record(partition: number, bytes: number, key: string | null = null): EncodedRecord {
  return { partition, key, value: Buffer.alloc(bytes) };
}

describe('batches', () => {
  it('keep the order of each partition and stay below their limit', () => {
    const records = Array.from({ length: 40 }, (_none, index) => record(index % 4, 300_000, `${index}`));
    const batches = batchesOf(records, limits);
    expect(Math.max(...batches.map(({ messages }) => messages.length))).toBe(3);
    for (const partition of [0, 1, 2, 3]) {
      const keys = batches
        .filter((batch) => batch.partition === partition)
        .flatMap(({ messages }) => messages.map(({ key }) => Number(key)));
      expect(keys).toEqual(Array.from({ length: 10 }, (_none, index) => index * 4 + partition));
    }
  });

  it('stay below what a topic for small records takes', () => {
    const records = Array.from({ length: 40 }, () => record(0, 20_000));
    const batches = batchesOf(records, { ...limits, partitions: 1, recordBytesMax: 64 * 1024 });
    expect(batches.map(({ messages }) => messages.length)).toEqual([...Array<number>(13).fill(3), 1]);
  });

  it('of one record may be larger', () => {
    const batches = batchesOf([record(0, 10), record(0, 3 * 1024 ** 2), record(0, 10)], limits);
    expect(batches.map(({ messages }) => messages.length)).toEqual([1, 1, 1]);
  });

  it('hold bytes as they are, whatever kind of array they came in', () => {
    const whole = Uint8Array.of(9, 0, 255, 9);
    const [batch] = batchesOf([{ partition: 0, key: null, value: whole.subarray(1, 3) }], limits);
    expect(batch?.messages).toMatchObject([{ key: null, value: Buffer.from([0, 255]) }]);
  });

  it('name their pipeline once', () => {
    const batches = batchesOf([record(0, 1), record(0, 2_000_000), record(1, 1), record(1, 1)], limits);
    expect(batches.map(({ messages }) => messages.map(({ headers = null }) => headers))).toEqual([
      [{ causeway: 'orders' }],
      [{ causeway: 'orders' }],
      [{ causeway: 'orders' }, null],
    ]);
  });

  it('refuse a record that is too large before anything is sent', () => {
    expect(() => batchesOf([record(0, 3 * 1024 ** 2, 'k')], limits)).toThrow('recordBytesMax');
    expect(() => batchesOf([record(4, 1)], limits)).toThrow('partition');
  });
});

/** Producers that answer when they are told to. */
function scene(count: number) {
  const clock = new VirtualClock();
  const outage = new Outage(silentLogger);
  const waiting: {
    readonly producer: number;
    readonly batch: Batch;
    readonly answer: (base: number) => void;
    readonly refuse: (error: Error) => void;
  }[] = [];
  const producers = Array.from({ length: count }, (_none, producer) => {
    const send = (batch: Batch, signal: AbortSignal) =>
      new Promise<never>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
        const answer = (base: number): void =>
          resolve([{ topicName: 't', partition: batch.partition, errorCode: 0, baseOffset: `${base}` }] as never);
        waiting.push({ producer, batch, answer, refuse: reject });
      });
    return new KafkaProducer({
      topic: 't',
      open: () => Promise.resolve({ send, destroy: () => undefined }),
      outage,
      runtime: clock.runtime,
    });
  });
  return { writer: new KafkaLogWriter({ producers, outage, limits }), waiting, turn: () => clock.advance(0) };
}

describe('an append', () => {
  it('goes through as many producers at once as there are, each with partitions of its own', async () => {
    const { writer, waiting, turn } = scene(2);
    const appended = writer.append(
      [0, 1, 2, 3].map((partition) => record(partition, 1)),
      never,
    );
    await turn();
    expect(waiting.map(({ producer, batch }) => [producer, batch.partition])).toEqual([
      [0, 0],
      [1, 1],
    ]);
    waiting[0]?.answer(10);
    await turn();
    expect(waiting.map(({ producer, batch }) => [producer, batch.partition]).slice(2)).toEqual([[0, 2]]);
    waiting[1]?.answer(11);
    waiting[2]?.answer(12);
    await turn();
    waiting[3]?.answer(13);
    expect([...(await appended)].toSorted()).toEqual([
      [0, 10],
      [1, 11],
      [2, 12],
      [3, 13],
    ]);
  });

  it('that fails in one partition waits for no other, and nothing is taken behind it', async () => {
    const { writer, waiting, turn } = scene(2);
    const appended = writer.append([record(0, 1), record(1, 1), record(3, 1)], never);
    const next = writer.append([record(0, 1)], never);
    next.catch(() => undefined);
    await turn();
    waiting[0]?.refuse(Object.assign(new Error('x'), { type: 'TOPIC_AUTHORIZATION_FAILED' }));
    await expect(appended).rejects.toMatchObject({ code: 'log_permission' });
    await expect(next).rejects.toMatchObject({ code: 'log_unavailable' });
    expect(waiting).toHaveLength(2);
  });

  it('that is aborted rejects with the reason, and nothing is taken behind it', async () => {
    const { writer, turn } = scene(1);
    const stop = new AbortController();
    const appended = writer.append([record(0, 1)], stop.signal);
    await turn();
    stop.abort(new Error('stopped'));
    await expect(appended).rejects.toThrow('stopped');
    expect(await writer.append([record(0, 1)], never).catch(codeOf)).toBe('log_unavailable');
  });
});
