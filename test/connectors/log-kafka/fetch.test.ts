import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { codeOf } from '#core/errors.ts';
import type { LogBatch } from '#core/log.ts';
import type { MonoMs, Offset } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';
import { Fetcher } from '../../../connectors/log-kafka/fetch.ts';
import type { Fetched, FetchedPartition } from '../../../connectors/log-kafka/kafkajs-internals.ts';
import type { TopicBrokers } from '../../../connectors/log-kafka/topic-brokers.ts';
import { codeRejected } from '../../contract/log-support.ts';
import { batchAt } from '../../support/kafka-batch.ts';
import { keepingLogger } from '../../support/silent-logger.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const never = new AbortController().signal;
/** With its key 300 kB. */
const RECORD = 'x'.repeat(150_000);

type Asked = {
  readonly broker: number;
  readonly waitMs: number;
  readonly from: ReadonlyMap<number, number>;
  readonly epochs: readonly number[];
};

/** Offsets of a request ("Apache Kafka protocol guide", Fetch request, version 11). */
function askedIn(bytes: Buffer): Omit<Asked, 'broker'> {
  const at = 29 + 2 + bytes.readInt16BE(29);
  const from = new Map<number, number>();
  const epochs: number[] = [];
  for (let index = 0; index < bytes.readInt32BE(at); index += 1) {
    const partition = at + 4 + index * 28;
    from.set(bytes.readInt32BE(partition), Number(bytes.readBigInt64BE(partition + 8)));
    epochs.push(bytes.readInt32BE(partition + 4));
  }
  return { waitMs: bytes.readInt32BE(4), from, epochs };
}

/** Partition p is led by broker p % 2. Each answer has one record for each partition, or what `answer` says. */
class FakeBrokers {
  readonly asked: Asked[] = [];
  readonly onWay = new Map<number, number>();
  refreshed = 0;
  answer: (partition: number, from: number) => Promise<Partial<FetchedPartition>> = async (_partition, from) => ({
    bytes: await batchAt(from, [RECORD]),
  });
  readonly cluster = {
    findBroker: ({ nodeId }: { nodeId: number }) => Promise.resolve(this.#broker(nodeId)),
  };

  refresh(): Promise<void> {
    this.refreshed += 1;
    return Promise.resolve();
  }

  epoch(): number {
    return 7 + this.refreshed;
  }

  leaders(_topic: string, partitions: readonly number[]): ReadonlyMap<number, readonly number[]> {
    return Map.groupBy(partitions, (partition) => partition % 2);
  }

  ends(_topic: string, [partition]: readonly number[]) {
    return Promise.resolve(new Map([[partition, { start: 5, end: 9 }]]));
  }

  #broker(id: number) {
    const send = async ({ request }: { request: { encode(): Promise<{ buffer: Buffer }> } }): Promise<Fetched> => {
      const asked = { broker: id, ...askedIn((await request.encode()).buffer) };
      this.asked.push(asked);
      this.onWay.set(id, (this.onWay.get(id) ?? 0) + 1);
      expect(this.onWay.get(id)).toBe(1);
      const partitions = await Promise.all(
        [...asked.from].map(async ([partition, from]) => ({
          partition,
          errorCode: 0,
          end: 1_000,
          bytes: Buffer.alloc(0),
          ...(await this.answer(partition, from)),
        })),
      );
      // Like a network: nothing is answered in the same turn.
      await new Promise((resolve) => setImmediate(resolve));
      this.onWay.set(id, 0);
      return { clientSideThrottleTime: 0, errorCode: 0, partitions };
    };
    return { nodeId: id, connectionPool: { send }, disconnect: () => Promise.resolve() };
  }
}

function started(nowMs?: () => number) {
  const brokers = new FakeBrokers();
  const closed = new AbortController();
  const logger = keepingLogger();
  const real = realRuntime();
  const runtime: Runtime = nowMs === undefined ? real : { ...real, monotonicMs: () => nowMs() as MonoMs };
  const parts = { brokers: brokers as unknown as TopicBrokers, topic: 'orders', runtime, logger };
  const fetcher = new Fetcher(parts, closed.signal);
  const follow = (partition: number, from = 0): AsyncIterator<LogBatch> =>
    fetcher.follow(partition, from as Offset, never)[Symbol.asyncIterator]();
  return { brokers, closed, fetcher, follow, logger };
}

async function turns(count = 200): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turns(1);
}

/** The code that the next page is refused with, if that is soon. */
async function refusalOf(pages: AsyncIterator<LogBatch>): Promise<string> {
  const refused = pages.next().then(
    () => 'a page',
    (error: unknown) => codeOf(error),
  );
  return await Promise.race([refused, turns(2_000).then(() => 'nothing')]);
}

async function offsetsOf(next: Promise<IteratorResult<LogBatch, unknown>>): Promise<readonly number[]> {
  const { value } = await next;
  return (value as LogBatch).records.map(({ offset }) => offset);
}

test('a partition is not asked for while it has no room, and others are, without a long wait', async () => {
  const { brokers, closed, fetcher, follow } = started();
  const slow = follow(0);
  expect(await offsetsOf(slow.next())).toEqual([0]);
  await until(() => brokers.asked.length === 5);
  await turns();
  // A megabyte is four records and the one that went beyond it.
  expect(brokers.asked.map(({ from }) => from.get(0))).toEqual([0, 1, 2, 3, 4]);
  const quick = follow(2);
  for (let offset = 0; offset < 6; offset += 1) expect(await offsetsOf(quick.next())).toEqual([offset]);
  const both = brokers.asked.slice(5);
  expect(both.every(({ from }) => !from.has(0))).toBe(true);
  expect(new Set(both.map(({ waitMs }) => waitMs))).toEqual(new Set([20]));
  expect(await offsetsOf(slow.next())).toEqual([1]);
  await turns();
  expect(brokers.asked.some(({ from }) => from.get(0) === 5)).toBe(false);
  // Half of it was taken.
  expect(await offsetsOf(slow.next())).toEqual([2]);
  expect(await offsetsOf(slow.next())).toEqual([3]);
  await until(() => brokers.asked.some(({ from }) => from.get(0) === 5));
  closed.abort(new Error('closed'));
  await expect(Promise.all([slow.next(), slow.next(), slow.next(), slow.next(), slow.next()])).rejects.toThrow('closed');
  await fetcher.settled();
});

test('each broker has one request on its way, for what it leads', async () => {
  const { brokers, closed, fetcher, follow } = started();
  const all = [0, 1, 2, 3].map((partition) => follow(partition));
  for (const one of all) expect(await offsetsOf(one.next())).toEqual([0]);
  for (const { broker, from } of brokers.asked) for (const partition of from.keys()) expect(partition % 2).toBe(broker);
  expect(brokers.asked[0]?.waitMs).toBe(500);
  closed.abort(new Error('closed'));
  await fetcher.settled();
});

test('who leads a partition is asked for again when a broker says that it does not, and reading goes on where it stood', async () => {
  const { brokers, closed, fetcher, follow, logger } = started(() => 0);
  const one = follow(0, 3);
  expect(await offsetsOf(one.next())).toEqual([3]);
  let refusals = 3;
  const { answer } = brokers;
  brokers.answer = (partition, from) => {
    refusals -= 1;
    return refusals >= 0 ? Promise.resolve({ errorCode: 6 }) : answer(partition, from);
  };
  for (let offset = 4; offset < 10; offset += 1) expect(await offsetsOf(one.next())).toEqual([offset]);
  expect(brokers.refreshed).toBe(3);
  // Each time in the epoch that is known by then: who led before it refuses.
  expect([brokers.asked[0], brokers.asked.at(-1)].map((one) => one?.epochs)).toEqual([[7], [10]]);
  expect(logger.lines.map(({ message }) => message)).toEqual(['the log cannot be read now: trying on', 'the log can be read again']);
  closed.abort(new Error('closed'));
  await fetcher.settled();
});

test('who leads is asked for again now and then, as a leader that was followed by another may not have heard of it', async () => {
  let nowMs = 0;
  const { brokers, closed, fetcher, follow } = started(() => nowMs);
  brokers.answer = () => Promise.resolve({});
  const next = follow(0).next();
  next.catch(() => undefined);
  await until(() => brokers.asked.length > 3);
  expect(brokers.refreshed).toBe(0);
  nowMs = 5_000;
  await turns();
  expect([brokers.refreshed, brokers.asked.at(-1)?.epochs]).toEqual([1, [8]]);
  closed.abort(new Error('closed'));
  await expect(next).rejects.toThrow('closed');
  await fetcher.settled();
});

test('what cannot be decoded is damage, and what a broker calls out of range is looked at', async () => {
  const { brokers, closed, fetcher, follow } = started();
  brokers.answer = () => Promise.resolve({ bytes: Buffer.alloc(100) });
  expect(await refusalOf(follow(0))).toBe('log_damaged');
  brokers.answer = () => Promise.resolve({ errorCode: 1 });
  expect(await refusalOf(follow(0, 4))).toBe('log_offset_gone');
  // An end before what was read may be told by a broker that hung while it led.
  expect(await refusalOf(follow(0, 10))).toBe('nothing');
  expect(await codeRejected(follow(0, 10).next())).toBe('log_offset_gone');
  // Within the ends: a broker that did not know better.
  const inside = follow(0, 7);
  const next = inside.next();
  await turns();
  brokers.answer = async (_partition, from) => ({ bytes: await batchAt(from, ['a']) });
  expect(await offsetsOf(next)).toEqual([7]);
  closed.abort(new Error('closed'));
  await fetcher.settled();
  expect(present(brokers.asked.at(-1), 'a request').from.has(0)).toBe(true);
});

test('a broker that had nothing is asked to wait longer, until it has something', async () => {
  const { brokers, closed, fetcher, follow } = started();
  const record = Promise.withResolvers<undefined>();
  let answers = 0;
  brokers.answer = async (_partition, from) => {
    answers += 1;
    if (answers === 2) await record.promise;
    return answers === 3 ? { bytes: await batchAt(from, [RECORD]) } : {};
  };
  const pages = follow(0);
  const page = pages.next();
  await until(() => brokers.asked.length === 2);
  expect(brokers.asked.map(({ waitMs }) => waitMs)).toEqual([500, 2_000]);
  record.resolve(undefined);
  expect(await offsetsOf(page)).toEqual([0]);
  await until(() => brokers.asked.length >= 5);
  expect(brokers.asked.slice(0, 5).map(({ waitMs }) => waitMs)).toEqual([500, 2_000, 2_000, 500, 2_000]);
  closed.abort(new Error('closed'));
  await fetcher.settled();
});
