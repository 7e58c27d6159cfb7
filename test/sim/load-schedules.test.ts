// Schedules of loads beside the stream, each written out as a plan.
import { describe, expect, test } from 'vitest';
import type { Fault, PlannedLoads, PlannedOp, PlannedTransaction } from './plan.ts';
import { call, figure, partial, put, remove, settles } from './script.ts';

const ROWS = 24;

/** Each chunk has a few rows, and some of what clients write comes between its two marks. */
function loads(more: Partial<PlannedLoads> = {}): PlannedLoads {
  return {
    before: [{ atMs: 0, shared: false, ops: Array.from({ length: ROWS }, (_, key) => put(key)) }],
    clientsFirst: false,
    chunk: { targetMs: 20, rowsFirst: 3, rowsMax: 3, bytesMax: 1_000_000, hotMax: 1_000 },
    shownMax: 1_000,
    loadsAtOnce: 2,
    readMs: 100,
    ...more,
  };
}

/** One after another, from the first chunk on. */
function meanwhile(ops: readonly PlannedOp[], everyMs = 15): readonly PlannedTransaction[] {
  return ops.map((op, index) => ({ atMs: index * everyMs, shared: false, ops: [op] }));
}

function each(of: (key: number) => readonly PlannedOp[]): readonly PlannedOp[] {
  return Array.from({ length: 4 * ROWS }, (_, index) => of(index % ROWS)).flat();
}

/** How long each call takes differs by the seed. */
const seeds = [1, 2, 3, 4];

describe('rows that change while they are read', () => {
  const cases: Readonly<Record<string, readonly PlannedOp[]>> = {
    'get whole images': each((key) => [put((key * 7) % ROWS)]),
    'get images that leave a column out': each((key) => [partial((key * 7) % ROWS)]),
    'are deleted and come back': each((key) => [remove((key * 5) % ROWS), put((key * 5) % ROWS)]),
    'get other keys, to and fro across the borders of chunks': each((key) => [
      { op: 'rekey', table: 0, key, to: ROWS + key, partial: false },
      { op: 'rekey', table: 0, key: ROWS + key, to: key, partial: false },
    ]),
    'are truncated': each((key) => (key % 8 === 7 ? [{ op: 'truncate', tables: [0] }] : [put(key), put((key * 5) % ROWS)])),
    'get other columns': each((key) => (key % 12 === 11 ? [{ op: 'add_column', table: 0 }] : [put((key * 7) % ROWS)])),
  };
  for (const [what, ops] of Object.entries(cases)) {
    test(what, async () => {
      for (const seed of seeds) {
        const outcome = await settles({ seed, loads: loads(), transactions: meanwhile(ops) });
        expect(figure(outcome, 'loads done')).toBe(1);
      }
    });
  }

  test('22: a commit shows in the stream long before it does in reads, over a hand-over too', async () => {
    for (const seed of seeds) {
      const writes = meanwhile(each((key) => [put((key * 7) % ROWS)]));
      const transactions = writes.map((planned, index) => (index < 20 && index % 5 === 0 ? { ...planned, hiddenMs: 5_000 } : planned));
      for (const atMs of [600, 1_000]) {
        const faults: readonly Fault[] = [{ tag: 'stop', daemon: 0, atMs, ms: 0 }];
        await settles({ seed, daemons: 2, loads: loads(), transactions, faults });
      }
    }
  });
});

describe('a load', () => {
  test('goes on behind what is durable, wherever its holder dies', async () => {
    for (const site of ['source.rows.mark', 'source.rows.read', 'log.append', 'control.swap', 'control.list'] as const) {
      for (const kind of ['crash_before', 'crash_after'] as const) {
        for (const skip of [1, 4, 9]) {
          const transactions = meanwhile(each((key) => [partial((key * 7) % ROWS)]));
          const outcome = await settles({ loads: loads(), transactions, faults: [call(kind, site, { afterMs: 0, skip })] });
          expect(figure(outcome, 'loads done')).toBe(1);
        }
      }
    }
  });

  test('is no further than what counts in the log: a chunk arrives behind the next generation', async () => {
    for (const skip of [5, 6, 7, 8]) {
      for (const diesMs of [700, 900, 1_100]) {
        const faults: readonly Fault[] = [
          call('delay', 'log.append', { afterMs: 0, skip, ms: 6_000 }),
          call('crash_before', 'source.rows.mark', { afterMs: diesMs }),
        ];
        await settles({ daemons: 2, loads: loads(), transactions: meanwhile([put(ROWS)]), faults });
      }
    }
  });

  test('24: that ends at one sink leaves the one for all sinks open there', async () => {
    for (const atMs of [800, 1_000, 1_200]) {
      const faults: readonly Fault[] = [{ tag: 'load_asked', atMs, table: 0, sink: 'warm' }];
      const transactions = meanwhile(each((key) => [partial((key * 7) % ROWS)]));
      const outcome = await settles({ sinks: ['warm', 'cold'], loads: loads({ readMs: 400 }), transactions, faults });
      expect(figure(outcome, 'loads done')).toBe(2);
      expect(figure(outcome, 'parked keys at the end')).toBe(0);
    }
  });

  test('is paused, goes on, and is cancelled', async () => {
    for (const atMs of [100, 300, 700]) {
      const paused: Fault = { tag: 'load_paused', atMs, table: 0, forMs: 1_500 };
      const cancelled: Fault = { tag: 'load_cancelled', atMs: atMs + 2_000, table: 0 };
      const transactions = meanwhile(
        each((key) => [partial((key * 7) % ROWS)]),
        40,
      );
      for (const faults of [[paused], [{ ...cancelled, atMs }], [paused, cancelled]])
        await settles({ loads: loads(), transactions, faults });
    }
  });
});
