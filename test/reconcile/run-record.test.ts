// A run's row is written by the holder of the lease alone, and never behind a later one.
import { expect, test } from 'vitest';
import { controlKeys } from '#core/control-rows.ts';
import { codeOf } from '#core/errors.ts';
import { NO_COUNTS, type ReconcileRow } from '#core/reconcile-row.ts';
import type { TableId } from '#core/schema.ts';
import { RunRecord } from '../../src/reconcile/run-record.ts';
import { memoryControlRows, MemoryControlStore } from '../support/memory-control-store.ts';

const never = new AbortController().signal;
const [a, b] = ['public.a', 'public.b'] as unknown as [TableId, TableId];
const key = controlKeys.reconcile('p', 's', 'r1');
const first: ReconcileRow = {
  run: 'r1',
  sink: 's',
  state: 'running',
  selection: { tables: null, sample: null, since: null },
  cut: [],
  cutAt: null,
  startedAtWallMs: 0,
  endedAtWallMs: null,
  tables: [a, b].map((table) => ({
    table,
    state: 'pending',
    reason: null,
    place: null,
    counts: NO_COUNTS,
    rowsExpected: null,
    schemaDifferences: [],
  })),
  verdict: null,
  token: 0,
};

function ground() {
  const rows = memoryControlRows();
  const recordOf = (token: number, row = first): RunRecord =>
    new RunRecord({ control: new MemoryControlStore(rows), pipeline: 'p', row, token });
  const stored = (): ReconcileRow => JSON.parse(rows.rows.get(key)?.text ?? 'null') as ReconcileRow;
  return { recordOf, stored };
}

test('changes of several tables at once are all stored', async () => {
  const { recordOf, stored } = ground();
  const record = recordOf(3);
  await Promise.all([
    record.changeTable(a, { state: 'running' }, never),
    record.changeTable(b, { state: 'compared' }, never),
    record.changeTable(a, { state: 'inconclusive', reason: 'why' }, never),
  ]);
  expect(stored()).toEqual(record.row);
  expect(stored().tables).toMatchObject([{ state: 'inconclusive', reason: 'why' }, { state: 'compared' }]);
  expect(stored().token).toBe(3);
  expect(record.table(b).state).toBe('compared');
  expect(() => record.table('public.c' as TableId)).toThrow(/not among the tables/);
});

test('an earlier holder writes nothing behind a later one, and is told', async () => {
  const { recordOf, stored } = ground();
  const early = recordOf(3);
  await early.change({ cutAt: null }, never);
  const late = recordOf(4, stored());
  await late.changeTable(a, { state: 'compared' }, never);
  const error: unknown = await early.changeTable(b, { state: 'compared' }, never).catch((reason: unknown) => reason);
  expect(codeOf(error)).toBe('lease_lost');
  expect(stored()).toEqual(late.row);
  expect(stored()).toMatchObject({ token: 4, tables: [{ state: 'compared' }, { state: 'pending' }] });
});

test('a write that was lost keeps the next one from nothing', async () => {
  const rows = memoryControlRows();
  const control = new MemoryControlStore(rows);
  const record = new RunRecord({ control, pipeline: 'p', row: first, token: 1 });
  const stop = new AbortController();
  const lost = record.changeTable(a, { state: 'running' }, stop.signal);
  stop.abort(new Error('stop'));
  await expect(lost).rejects.toThrow('stop');
  await record.changeTable(b, { state: 'running' }, never);
  expect(JSON.parse(rows.rows.get(key)?.text ?? 'null')).toMatchObject({ tables: [{ state: 'running' }, { state: 'running' }] });
});
