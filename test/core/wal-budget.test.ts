import { expect, test } from 'vitest';
import { newLoad, type LoadRow } from '#core/load-row.ts';
import type { MonoMs } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import { budgetAfter, heldText, isBudgetLow, loadsRunning, noBudget, type Budget } from '#core/wal-budget.ts';

const GB = 1e9;

/** Looks every ten seconds, at a slot that may keep ten gigabytes in all. */
function after(
  headrooms: readonly (number | null)[],
  running?: { readonly secondsLeft: number | null },
  before: Budget = noBudget,
): Budget {
  const from = before.looks.length;
  return headrooms.reduce<Budget>((budget, headroomBytes, at) => {
    const look = {
      atMs: ((from + at) * 10_000) as MonoMs,
      headroomBytes,
      retainedBytes: headroomBytes === null ? 0 : 10 * GB - headroomBytes,
    };
    return budgetAfter(budget, look, running);
  }, before);
}

/** By a tenth of a gigabyte at each look. */
const fallingTo = (last: number): readonly number[] => Array.from({ length: 12 }, (_, at) => (last + (11 - at) / 10) * GB);

const hour = { secondsLeft: 3_600 };

test('loads go on where nothing is limited, and where what is left does not fall', () => {
  expect(after([null, null, null, null], { secondsLeft: null }).held).toBeNull();
  expect(after([8 * GB, 8 * GB, 8 * GB, 8 * GB, 8 * GB], { secondsLeft: null }).held).toBeNull();
});

test('the steps in which the source frees its log are no fall', () => {
  const steps = Array.from({ length: 30 }, (_, at) => 9 * GB - (at % 3) * 0.9 * GB);
  expect(after(steps, { secondsLeft: null }).held).toBeNull();
  // Looks that come at any time between two steps see each peak a little later than it was.
  for (const period of [17, 23, 31, 47]) {
    let budget = noBudget;
    for (let at = 0; at < 60; at += 1) {
      const look = { headroomBytes: 9 * GB - ((at * 10) % period) * 0.08 * GB, retainedBytes: GB, atMs: (at * 10_000) as MonoMs };
      budget = budgetAfter(budget, look, { secondsLeft: null });
      expect([period, at, budget.held]).toEqual([period, at, null]);
    }
  }
});

test('loads are held where a fall would use up what is left within twice their time', () => {
  // Ten megabytes a second: eight gigabytes last for 800 seconds.
  const falling = fallingTo(8);
  expect(after(falling, { secondsLeft: 390 }).held).toBeNull();
  const { held } = after(falling, { secondsLeft: 410 });
  expect(held).toMatchObject({ reason: 'falling', headroomBytes: 8 * GB, budgetBytes: 10 * GB });
  expect(held?.bytesPerSecond).toBeCloseTo(10e6, -4);
  // Nobody knows how long they take.
  expect(after(falling, { secondsLeft: null }).held?.reason).toBe('falling');
  // There is nothing to hold.
  expect(after(falling).held).toBeNull();
});

test('a fall is told from few looks by nobody', () => {
  expect(after([8 * GB, 7 * GB, 6 * GB, 5 * GB, 4 * GB], hour).held).toBeNull();
});

test('loads are held below a tenth, and go on from a fifth', () => {
  const low = after([0.99 * GB], { secondsLeft: 1 });
  expect(low.held).toMatchObject({ reason: 'low' });
  const more = after([1.5 * GB, 1.9 * GB], { secondsLeft: 1 }, low);
  expect(more.held?.reason).toBe('low');
  expect(after([2.1 * GB], { secondsLeft: 1 }, more).held).toBeNull();
});

test('loads that were held because of a fall go on once it would last for four times their time', () => {
  const held = after(fallingTo(8), { secondsLeft: 500 });
  expect(held.held).not.toBeNull();
  // Enough to begin with, and not enough to go on.
  expect(after([7.9 * GB], { secondsLeft: 300 }, held).held).not.toBeNull();
  expect(after([7.9 * GB], { secondsLeft: 300 }, { ...held, held: null }).held).toBeNull();
  expect(after([7.9 * GB], { secondsLeft: 190 }, held).held).toBeNull();
});

test('how long the running loads take is the longest of them, and not known where one is not', () => {
  const table = 'public.t' as TableId;
  const half: LoadRow = { ...newLoad({ table, sink: null, rowsExpected: 100, wallMs: 0 }), state: 'reading', rows: 50 };
  const quarter: LoadRow = { ...half, rows: 25 };
  expect(loadsRunning([half, quarter, { ...half, state: 'done' }], 10_000)?.secondsLeft).toBeCloseTo(30);
  expect(loadsRunning([half, { ...half, rowsExpected: null }], 10_000)).toEqual({ secondsLeft: null });
  expect(
    loadsRunning(
      [
        { ...half, paused: true },
        { ...half, state: 'cancelled' },
      ],
      10_000,
    ),
  ).toBeUndefined();
});

test('what is told names what is left, and why that is too little', () => {
  expect(isBudgetLow({ headroomBytes: null, retainedBytes: 1 })).toBe(false);
  expect(isBudgetLow({ headroomBytes: 1, retainedBytes: 99 })).toBe(true);
  const facts = { headroomBytes: 8 * GB, budgetBytes: 10 * GB, bytesPerSecond: 5e6 };
  expect(heldText({ reason: 'falling', ...facts })).toMatch(/8000 MB, of 10000 MB, and that falls by 5\.0 MB a second/);
  expect(heldText({ reason: 'low', ...facts })).toMatch(/go on once a fifth is left/);
});
