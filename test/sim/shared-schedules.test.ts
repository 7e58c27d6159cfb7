// Schedules of a log that shares the partitions of a sink out among processes, each written out as a plan.
import { expect, test } from 'vitest';
import type { Fault, Plan, PlannedOp } from './plan.ts';
import { describeFailure } from './report.ts';
import { runPlan, type Outcome } from './world.ts';

const put = (key: number, table = 0): PlannedOp => ({ op: 'put', table, key, refused: false });

/** Two daemons that share four partitions, while clients write for ten seconds. */
async function play(faults: readonly Fault[], more: Partial<Plan> = {}): Promise<Outcome> {
  return runPlan({
    seed: 1,
    daemons: 2,
    sinks: ['warm'],
    partitions: 4,
    sharesPartitions: true,
    applyEverywhere: true,
    clocks: [
      { rate: 1, wallSkewMs: 0 },
      { rate: 1, wallSkewMs: 0 },
    ],
    limits: { batchRowsMax: 20, pendingBytesMax: 1_000_000, readAheadBytesMax: 1_000_000 },
    transactions: Array.from({ length: 170 }, (_, index) => ({
      atMs: index * 60,
      shared: false,
      ops: [put(index % 9), put((index + 4) % 9, 1)],
    })),
    faults,
    ...more,
  });
}

async function settles(faults: readonly Fault[], more: Partial<Plan> = {}): Promise<Outcome> {
  const outcome = await play(faults, more);
  expect(outcome.end, describeFailure(outcome)).toBe('settled');
  return outcome;
}

test('39: the offsets of the group are erased, and then the group itself: each sink goes on from its own progress', async () => {
  const { coverage } = await settles([
    { tag: 'group_erased', sink: 'warm', atMs: 3_000, whole: false },
    { tag: 'group_erased', sink: 'warm', atMs: 6_000, whole: true },
    { tag: 'stop', daemon: 1, atMs: 7_000, ms: 0 },
  ]);
  expect(coverage.faults.get('group_erased')).toBe(2);
});

test('a member that the group has gone on without works on, until it is told', async () => {
  const { coverage } = await settles([
    { tag: 'group_kicked', sink: 'warm', daemon: 0, atMs: 3_050, forMs: 4_000 },
    { tag: 'group_kicked', sink: 'warm', daemon: 1, atMs: 8_050, forMs: 0 },
  ]);
  expect(coverage.faults.get('group_kicked')).toBe(2);
  expect(coverage.figures.get('group: stale commit refused') ?? 0).toBeGreaterThan(0);
});

test('30: a storm of rebalances, with a member that is held past its session', async () => {
  const { coverage } = await settles([
    { tag: 'group_storm', sink: 'warm', atMs: 2_000, forMs: 6_000, everyMs: 120 },
    { tag: 'pause', daemon: 0, atMs: 4_050, forMs: 3_000, clock: 'runs' },
  ]);
  expect(coverage.figures.get('group: rebalance')).toBeGreaterThan(5);
  expect(coverage.figures.get('group: left out of a rebalance')).toBeGreaterThan(0);
});

test('records of a send that stand in the log twice are seen once, also behind the generation that followed', async () => {
  const { coverage } = await settles([
    { tag: 'send_doubled', atMs: 2_500, laterMs: 0 },
    { tag: 'send_doubled', atMs: 3_500, laterMs: 6_000 },
    { tag: 'pause', daemon: 0, atMs: 4_000, forMs: 5_000, clock: 'runs' },
    { tag: 'pause', daemon: 1, atMs: 9_200, forMs: 5_000, clock: 'runs' },
  ]);
  expect(coverage.figures.get('sends doubled at once')).toBe(1);
  expect(coverage.figures.get('sends doubled behind a later generation')).toBe(1);
});

test('a start that moved beyond what a sink has read stops it, and nothing is skipped', async () => {
  const { end, violation, coverage } = await play([{ tag: 'log_start_passed', sink: 'warm', atMs: 4_000 }], {
    limits: { batchRowsMax: 1, pendingBytesMax: 1_000_000, readAheadBytesMax: 500 },
  });
  expect(violation).toBeNull();
  expect(end).toBe('stopped');
  expect(coverage.figures.get('state log_offset_gone')).toBeGreaterThan(0);
});

test('a sink goes back under a worker that has nothing to write: what it takes for done is not reported', async () => {
  for (let atMs = 5_500; atMs <= 6_500; atMs += 50) {
    const { coverage } = await settles(
      [
        { tag: 'partition', daemon: 0, port: 'log', atMs: 5_400, forMs: 2_500 },
        { tag: 'sink_back', sink: 'warm', keptMs: 4_500, atMs },
        { tag: 'commit_refused', sink: 'warm', atMs: atMs + 150, forMs: 4_000 },
      ],
      { transactions: Array.from({ length: 9 }, (_, key) => ({ atMs: 4_600 + key * 60, shared: false, ops: [put(key)] })) },
    );
    expect(coverage.faults.get('sink_back')).toBe(1);
  }
});
