// Schedules of a sink that takes a batch row by row, each write by a request of its own that no fence holds back.
import { expect, test } from 'vitest';
import type { Fault } from './plan.ts';
import { call, partial, put, settles, steadily, transactions } from './script.ts';

const rowwise = { rowwise: ['warm'] };

test('2, 12: whatever goes wrong with one row of a batch leaves the others, and each row is there in the end', async () => {
  const rows = transactions(...Array.from({ length: 60 }, (_, index) => [put(index % 7), partial((index + 3) % 7), put((index + 5) % 7)]));
  for (const kind of ['error', 'crash_before', 'late', 'lost_reply'] as const) {
    const faults = [0, 1, 2].map((skip) => call(kind, 'sink.put', { skip, afterMs: 1_500 + skip * 900, ms: 700 }));
    const outcome = await settles({ ...rowwise, transactions: rows, faults });
    expect(outcome.struck).toBe(3);
  }
});

test('3: a write of a worker that died arrives behind a truncate that its successor has swept, and meets a tombstone', async () => {
  const faults = [call('late', 'sink.put', { afterMs: 0, ms: 7_000 }), call('crash_before', 'sink.put', { afterMs: 0 })];
  const [first, truncate] = transactions([put(3)], [{ op: 'truncate', tables: [0] }]);
  const later = steadily(10).map(({ atMs }) => ({ atMs: atMs + 2_500, shared: false, ops: [put(1, { table: 1 })] }));
  const begun = [first, truncate].flatMap((of, index) => (of === undefined ? [] : [{ ...of, atMs: 1_500 + index * 900 }]));
  const outcome = await settles({ ...rowwise, partitions: 1, transactions: [...begun, ...later], faults });
  expect(outcome.struck).toBe(2);
});

test('30: one that was overtaken between the rows of a batch and its progress commits nothing that the sink does not have', async () => {
  for (let seed = 1; seed <= 4; seed += 1) {
    const faults: readonly Fault[] = [1_500, 3_000, 4_500, 6_000].flatMap((afterMs, index): readonly Fault[] => [
      call('delay', 'sink.put', { daemon: index % 2, afterMs, ms: 1_500 }),
      { tag: 'partition', daemon: 1 - (index % 2), port: 'sink', atMs: afterMs - 200, forMs: 300 },
      call('delay', 'sink.step', { daemon: index % 2, afterMs: afterMs + 700, ms: 2_500 }),
    ]);
    await settles({ ...rowwise, seed, daemons: 2, applyEverywhere: true, transactions: steadily(8), faults });
  }
});
