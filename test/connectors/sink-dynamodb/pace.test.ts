import { expect, test } from 'vitest';
import { nextPace, Paced, startPace, type Pace } from '../../../connectors/sink-dynamodb/pace.ts';

const limits = { rowsMax: 1_000 };
const after = (pace: Pace, throttledShare: number): Pace =>
  nextPace(pace, { taken: pace.rowsMax * (1 - throttledShare), throttled: pace.rowsMax * throttledShare }, limits);

test('the pace doubles until it is cut, grows by a tenth from then on, and stays below its limit', () => {
  let pace = startPace(1_000);
  const seen = [pace.rowsMax];
  // A few hot keys among many rows are no reason to slow down.
  for (const share of [0, 0, 0.5, 0.02, 0, 0.1, 0]) {
    pace = after(pace, share);
    seen.push(pace.rowsMax);
  }
  expect(seen).toEqual([50, 100, 200, 100, 110, 121, 121, 133]);
  for (let round = 0; round < 100; round += 1) pace = after(pace, 0);
  expect(pace.rowsMax).toBe(1_000);
  for (let round = 0; round < 100; round += 1) pace = after(pace, 1);
  expect(pace.rowsMax).toBe(1);
  expect(after(pace, 0).rowsMax).toBe(2);
  expect(startPace(7).rowsMax).toBe(7);
});

test('what waits when the pace falls still has its turn', async () => {
  const never = new AbortController().signal;
  const paced = new Paced({ rowsMax: 50 });
  const done: number[] = [];
  const work = Array.from({ length: 10 }, (_, at) =>
    paced.run(
      { rows: 50, characters: 0 },
      async () => {
        await new Promise(setImmediate);
        paced.settled({ taken: 0, throttled: 50 });
        done.push(at);
      },
      never,
    ),
  );
  await Promise.all(work);
  expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(paced.rowsMax).toBe(1);
});

test('what waits ends at once when it is given up', async () => {
  const paced = new Paced({ rowsMax: 1 });
  const stop = new AbortController();
  const held = Promise.withResolvers<undefined>();
  const first = paced.run({ rows: 1, characters: 0 }, () => held.promise, new AbortController().signal);
  const second = paced.run({ rows: 1, characters: 0 }, () => Promise.reject(new Error('it was sent')), stop.signal);
  stop.abort(new Error('enough'));
  await expect(second).rejects.toThrow('enough');
  held.resolve(undefined);
  await first;
});
