import { expect, test } from 'vitest';
import {
  addCounts,
  countsOf,
  differencesIn,
  NO_COUNTS,
  verdictOf,
  type ReconcileCounts,
  type ReconcileTable,
} from '#core/reconcile-row.ts';
import type { TableId } from '#core/schema.ts';

const whole = { tables: null, sample: null, since: null };

function table(state: ReconcileTable['state'], counts: Partial<ReconcileCounts> = {}): ReconcileTable {
  return {
    table: 'public.t' as TableId,
    state,
    reason: null,
    place: null,
    counts: { ...NO_COUNTS, ...counts },
    rowsExpected: null,
    schemaDifferences: [],
  };
}

test.each([
  ['every table was compared', [table('compared'), table('compared')], 'clean'],
  ['parked and settled keys are no differences', [table('compared', { parked: 3, settled: 2, rows: 9 })], 'clean'],
  ['there is no table', [], 'clean'],
  ['one is missing', [table('compared'), table('compared', { missing: 1 })], 'differences'],
  ['one is too many', [table('compared', { extra: 1 })], 'differences'],
  ['one is another', [table('compared', { mismatched: 1 })], 'differences'],
  ['a difference is one, whatever was left out', [table('running', { missing: 1 }), table('inconclusive')], 'differences'],
  ['a difference of a table that then could not be compared', [table('inconclusive', { extra: 1 })], 'differences'],
  ['of one nothing can be said', [table('compared'), table('inconclusive')], 'inconclusive'],
  ['inconclusive goes before partial', [table('pending'), table('inconclusive')], 'inconclusive'],
  ['one was not begun', [table('compared'), table('pending')], 'partial'],
  ['one is under way', [table('running'), table('compared')], 'partial'],
] as const)('the verdict where %s', (_, tables, verdict) => {
  expect(verdictOf({ tables, selection: whole })).toBe(verdict);
});

test('a sample is never clean, and finds differences', () => {
  const selection = { ...whole, sample: 0.5 };
  expect(verdictOf({ tables: [table('compared')], selection })).toBe('partial');
  expect(verdictOf({ tables: [table('compared', { missing: 1 })], selection })).toBe('differences');
});

test('counts of a run are those of its tables together', () => {
  const one = { rows: 1, missing: 2, extra: 3, mismatched: 4, parked: 5, settled: 6, repaired: 7 };
  const other = { rows: 10, missing: 20, extra: 30, mismatched: 40, parked: 50, settled: 60, repaired: 70 };
  const both = { rows: 11, missing: 22, extra: 33, mismatched: 44, parked: 55, settled: 66, repaired: 77 };
  expect(addCounts(one, other)).toEqual(both);
  expect(countsOf({ tables: [table('compared', one), table('pending', other)] })).toEqual(both);
  expect(countsOf({ tables: [] })).toEqual(NO_COUNTS);
  expect(differencesIn(both)).toBe(99);
});
