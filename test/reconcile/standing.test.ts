// Where the sink's appliers stand decides when it may be read: a look that comes too early takes what is on its way for a difference.
import { beforeEach, describe, expect, test } from 'vitest';
import { codeOf } from '#core/errors.ts';
import { epochOf, type EpochMicros, type Offset } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import { watermarkSequence, type Sequence } from '#core/sequence.ts';
import type { SinkProgress } from '#core/sink.ts';
import { defaultReconcileOptions, type ReconcileDeps } from '../../src/reconcile/deps.ts';
import { SinkStanding } from '../../src/reconcile/standing.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { MemorySink, MemorySinkStore } from '../support/memory-sink.ts';
import { VirtualClock } from '../support/test-runtime.ts';
import { Ground } from './ground.ts';

const never = new AbortController().signal;
const orders = 'public.orders' as TableId;
const others = 'public.others' as TableId;
const at = (commit: number): Sequence => watermarkSequence(epochOf(1), BigInt(commit));
const time = (micros: number): EpochMicros => micros as EpochMicros;
let clock: VirtualClock;
let store: MemorySinkStore;
let standing: SinkStanding;

beforeEach(() => {
  clock = new VirtualClock();
  store = new MemorySinkStore();
  const sink = new MemorySink(store);
  const log = new MemoryLog(new MemoryLogStore({ partitions: 2 }));
  const options = { ...defaultReconcileOptions, pollMs: 100, patienceMs: 10_000 };
  const deps: ReconcileDeps = { ...new Ground().deps(), sink, log, runtime: clock.runtime, options };
  standing = new SinkStanding(deps);
});

function stands(partition: number, commit: number | null, more: Partial<SinkProgress> = {}): void {
  const watermark = commit === null ? null : { sequence: at(commit), sourceTime: time(commit) };
  const fresh = { offset: 0 as Offset, pair: null, holder: null, floors: [], openLoads: [], epochs: [], replays: 0 };
  store.progress.set(partition, { ...fresh, watermark, ...more });
}

/** Whether it waits no longer. */
async function isOver(work: Promise<void>): Promise<boolean> {
  let over = false;
  void work.then(
    () => (over = true),
    () => undefined,
  );
  await clock.advance(1_000);
  return over;
}

describe.each([
  ['a sequence', (commit: number) => standing.hasPassed(at(commit), never), 0],
  // What the source showed at a moment may have been committed in that very one.
  ['a moment of the source', (commit: number) => standing.hasTaken(time(commit), never), 1],
] as const)('%s is passed', (_, wait, beyond) => {
  test('once every partition has', async () => {
    stands(0, 7 + beyond);
    stands(1, 6 + beyond);
    const waiting = wait(7);
    expect(await isOver(waiting)).toBe(false);
    stands(1, 7 + beyond);
    expect(await isOver(waiting)).toBe(true);
    if (beyond === 0) return;
    stands(0, 9);
    const atOnce = wait(9);
    stands(1, 9);
    expect(await isOver(atOnce)).toBe(false);
    stands(0, 10);
    stands(1, 10);
    await clock.runUntil(atOnce);
  });

  test('not before a partition that has stored nothing, or no watermark', async () => {
    stands(0, 20);
    const waiting = wait(7);
    expect(await isOver(waiting)).toBe(false);
    stands(1, null);
    expect(await isOver(waiting)).toBe(false);
    stands(1, 8);
    expect(await isOver(waiting)).toBe(true);
  });

  test('not before rows that a truncate took away are swept', async () => {
    const floors = [{ table: orders, sequence: at(3) }];
    for (const partition of [0, 1]) stands(partition, 20, { floors });
    const waiting = wait(7);
    expect(await isOver(waiting)).toBe(false);
    store.swept.set(orders, at(2));
    expect(await isOver(waiting)).toBe(false);
    store.swept.set(orders, at(3));
    expect(await isOver(waiting)).toBe(true);
  });

  test('or nothing is said of the sink', async () => {
    stands(0, 20);
    stands(1, 6);
    const error: unknown = await clock.runUntil(wait(7).catch((reason: unknown) => reason));
    expect(codeOf(error)).toBe('reconcile_inconclusive');
    expect(clock.nowMs).toBe(10_000);
  });
});

test('the newest that stands everywhere is the least of the partitions', async () => {
  expect(await standing.newest(never)).toBeNull();
  stands(0, 20);
  expect(await standing.newest(never)).toBeNull();
  stands(1, null);
  expect(await standing.newest(never)).toBeNull();
  stands(1, 6);
  expect(await standing.newest(never)).toBe(at(6));
});

test('a table is being loaded as long as any partition has its load open', async () => {
  stands(0, 20, { openLoads: [{ table: others, sink: null }] });
  stands(1, 20, { openLoads: [] });
  expect([await standing.isLoading(orders, never), await standing.isLoading(others, never)]).toEqual([false, true]);
});
