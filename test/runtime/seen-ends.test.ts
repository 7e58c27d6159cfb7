import { expect, test } from 'vitest';
import type { LogEnds } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { PartitionStatus } from '../../src/apply/observer.ts';
import { SeenEnds } from '../../src/runtime/seen-ends.ts';

function looking(sharesPartitions: boolean) {
  const seen = new SeenEnds();
  let end = 10;
  let asked = 0;
  const look = async (offset: number | null): Promise<number | undefined> => {
    const status: PartitionStatus = {
      partition: 0,
      state: 'running',
      offset: offset as Offset | null,
      pair: null,
      watermark: null,
      parkedKeys: 0,
    };
    const ends = (): Promise<readonly LogEnds[]> => {
      asked += 1;
      return Promise.resolve([{ start: 0 as Offset, end: end as Offset }]);
    };
    return (await seen.look({ sharesPartitions }, { partitions: [status], ends }))?.[0]?.end;
  };
  return { look, grow: (by: number) => void (end += by), asked: () => asked };
}

test('brokers are asked at each look while a partition is behind, and at every third while none is', async () => {
  const { look, grow, asked } = looking(true);
  for (let count = 1; count <= 5; count += 1) {
    grow(5);
    expect(await look(4)).toBe(10 + 5 * count);
    expect(asked()).toBe(count);
  }
  for (const expected of [5, 5, 6, 6, 6, 7]) {
    await look(35);
    expect(asked()).toBe(expected);
  }
});

test('what a partition that stands at the end as it was seen has to come is seen soon, and then at each look', async () => {
  const { look, grow } = looking(true);
  await look(10);
  grow(100);
  const lags: number[] = [];
  for (let count = 0; count < 6; count += 1) lags.push(((await look(20 + count)) ?? 0) - (20 + count));
  expect(lags.filter((lag) => lag > 0).length).toBeGreaterThanOrEqual(4);
  expect(lags.at(-1)).toBe(85);
});

test('one whose place is not known is behind, and a log of this process is asked always', async () => {
  const shared = looking(true);
  for (let count = 1; count <= 3; count += 1) {
    await shared.look(null);
    expect(shared.asked()).toBe(count);
  }
  const own = looking(false);
  for (let count = 1; count <= 3; count += 1) {
    await own.look(10);
    expect(own.asked()).toBe(count);
  }
});
