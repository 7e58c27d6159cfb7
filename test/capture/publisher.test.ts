import { expect, test } from 'vitest';
import type { EncodedRecord } from '#core/log.ts';
import { CausewayError } from '#core/errors.ts';
import type { Offset } from '#core/position.ts';
import { Publisher } from '../../src/capture/publisher.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const record: EncodedRecord = { partition: 0, key: null, value: new Uint8Array(10) };

test('one append is on its way at a time, and what comes meanwhile goes with the next', async () => {
  const clock = new VirtualClock();
  const sizes: number[] = [];
  let running = 0;
  const durable: number[] = [];
  const publisher = new Publisher({
    writer: {
      append: async (records, signal) => {
        running += 1;
        expect(running).toBe(1);
        sizes.push(records.length);
        await clock.runtime.sleep(100, signal);
        running -= 1;
        return new Map([[0, 0 as Offset]]);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    },
    runtime: clock.runtime,
    bytesMax: 1_000,
    counters: () => [0],
    confirm: () => null,
    onDurable: ({ records }) => durable.push(records),
    onFailure: (error) => {
      throw error as Error;
    },
    signal: new AbortController().signal,
  });
  for (let count = 0; count < 5; count += 1) publisher.push([record], 10);
  await clock.runUntil(publisher.drained());
  expect(sizes).toEqual([1, 4]);
  expect(durable).toEqual([1, 5]);
});

test('an append is told with the counters that stood when it began', async () => {
  const clock = new VirtualClock();
  const counters: number[] = [0];
  const told: (readonly number[])[] = [];
  const publisher = new Publisher({
    writer: {
      append: async (_records, signal) => {
        await clock.runtime.sleep(100, signal);
        return new Map([[0, 0 as Offset]]);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    },
    runtime: clock.runtime,
    bytesMax: 1_000,
    counters: () => [...counters],
    confirm: () => null,
    onDurable: (durable) => told.push(durable.counters),
    onFailure: (error) => {
      throw error as Error;
    },
    signal: new AbortController().signal,
  });
  for (let count = 1; count <= 3; count += 1) {
    counters[0] = count;
    publisher.push([record], 10);
  }
  await clock.runUntil(publisher.drained());
  expect(told).toEqual([[1], [3]]);
});

test('nothing is taken behind an append that failed: what the log holds is not known then', async () => {
  const clock = new VirtualClock();
  const lost = new CausewayError('log_unavailable', 'the reply was lost');
  const failures: unknown[] = [];
  let appends = 0;
  const publisher = new Publisher({
    writer: {
      append: async (_records, signal) => {
        appends += 1;
        await clock.runtime.sleep(100, signal);
        throw lost;
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    },
    runtime: clock.runtime,
    bytesMax: 1_000,
    counters: () => [0],
    confirm: () => null,
    onDurable: () => {
      throw new Error('nothing is durable here');
    },
    onFailure: (error) => failures.push(error),
    signal: new AbortController().signal,
  });
  publisher.push([record], 10);
  publisher.push([record], 10);
  await clock.advance(1_000);
  expect(failures).toEqual([lost]);
  expect(() => publisher.push([record], 10)).toThrow(lost);
  await expect(publisher.drained()).rejects.toBe(lost);
  await expect(publisher.room()).rejects.toBe(lost);
  expect(appends).toBe(1);
});

/** What each append took, with the time at which it began: each takes 3 ms. */
function publisherWithAppends(clock: VirtualClock): { publisher: Publisher; appends: { atMs: number; bytes: number }[] } {
  const appends: { atMs: number; bytes: number }[] = [];
  const publisher = new Publisher({
    writer: {
      append: async (records, signal) => {
        appends.push({ atMs: clock.nowMs, bytes: records.reduce((sum, { value }) => sum + value.length, 0) });
        await clock.runtime.sleep(3, signal);
        return new Map([[0, 0 as Offset]]);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    },
    runtime: clock.runtime,
    bytesMax: 8 * 1024 * 1024,
    counters: () => [0],
    confirm: () => null,
    onDurable: () => undefined,
    onFailure: (error) => {
      throw error as Error;
    },
    signal: new AbortController().signal,
  });
  return { publisher, appends };
}

function pushed(publisher: Publisher, bytes: number): void {
  publisher.push([{ partition: 0, key: null, value: new Uint8Array(bytes) }], bytes);
}

test('small appends follow each other without a wait', async () => {
  const clock = new VirtualClock();
  const { publisher, appends } = publisherWithAppends(clock);
  pushed(publisher, 5_000);
  await clock.advance(1);
  pushed(publisher, 5_000);
  await clock.advance(3);
  pushed(publisher, 5_000);
  await clock.advance(10);
  expect(appends.map(({ atMs }) => atMs)).toEqual([0, 3, 6]);
});

test('behind a large append more is gathered: until it is worth an append, or a short while', async () => {
  const clock = new VirtualClock();
  const { publisher, appends } = publisherWithAppends(clock);
  pushed(publisher, 100_000);
  await clock.advance(1);
  pushed(publisher, 100_000);
  await clock.advance(4);
  expect(appends.length).toBe(1);
  pushed(publisher, 2_000_000);
  await clock.advance(1);
  expect(appends.slice(1)).toEqual([{ atMs: 5, bytes: 2_100_000 }]);
  await clock.advance(3);
  pushed(publisher, 1_000);
  await clock.advance(20);
  expect(appends.slice(2)).toEqual([{ atMs: 19, bytes: 1_000 }]);
});

test('whoever waits until everything is durable does not wait for more', async () => {
  const clock = new VirtualClock();
  const { publisher, appends } = publisherWithAppends(clock);
  pushed(publisher, 100_000);
  await clock.advance(3);
  pushed(publisher, 1_000);
  await clock.advance(1);
  expect(appends.length).toBe(1);
  const drained = publisher.drained();
  await clock.advance(0);
  expect(appends.slice(1)).toEqual([{ atMs: 4, bytes: 1_000 }]);
  await clock.runUntil(drained);
  expect(clock.nowMs).toBe(7);
});
