import { expect, test } from 'vitest';
import type { EncodedRecord } from '#core/log.ts';
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
