import { expect, test } from 'vitest';
import type { TableSelection } from '#core/connector.ts';
import type { TableId } from '#core/schema.ts';
import { collidingTargets, selectionFor, targetOf, writesWhatIsCaptured } from '../../src/config/tables.ts';

const entry = (pattern: string, more: Partial<TableSelection> = {}): TableSelection => ({
  pattern,
  snapshot: 'initial',
  target: null,
  ...more,
});
const table = (name: string): TableId => name as TableId;

test('an exact name wins over the whole schema, wherever it stands', () => {
  const tables = [entry('public.*'), entry('public.orders', { snapshot: 'never' })];
  expect(selectionFor(tables, table('public.orders'))?.snapshot).toBe('never');
  expect(selectionFor(tables, table('public.lines'))?.snapshot).toBe('initial');
  expect(selectionFor(tables, table('other.orders'))).toBeNull();
});

test('an exclusion wins over everything, for a table and for a schema', () => {
  const tables = [entry('public.*'), entry('!public.orders'), entry('old.a'), entry('!old.*')];
  expect(selectionFor(tables, table('public.orders'))).toBeNull();
  expect(selectionFor(tables, table('old.a'))).toBeNull();
});

test('a target maps a table, or a schema with the names kept', () => {
  const tables = [entry('public.orders', { target: 'copy.o' }), entry('public.*', { target: 'copy.*' })];
  expect(targetOf(tables, table('public.orders'))).toBe('copy.o');
  expect(targetOf(tables, table('public.lines'))).toBe('copy.lines');
  expect(targetOf([entry('public.*')], table('public.lines'))).toBe('public.lines');
});

test('tables of two schemas that meet in one are found', () => {
  const tables = [entry('a.*', { target: 'c.*' }), entry('b.*', { target: 'c.*' })];
  expect(collidingTargets(tables, [table('a.x'), table('b.x'), table('b.y')])).toEqual([{ target: 'c.x', tables: ['a.x', 'b.x'] }]);
});

test('a target that is captured itself is found, under its name and under its schema', () => {
  expect(writesWhatIsCaptured([entry('public.*')])).toBe('public.*');
  expect(writesWhatIsCaptured([entry('public.a')])).toBe('public.a');
  expect(writesWhatIsCaptured([entry('public.*', { target: 'copy.*' })])).toBeNull();
  expect(writesWhatIsCaptured([entry('public.*', { target: 'copy.*' }), entry('copy.a', { target: 'other.a' })])).toBe('copy.*');
  expect(writesWhatIsCaptured([entry('public.*', { target: 'copy.*' }), entry('public.a', { target: 'public.b' })])).toBe('public.b');
  const aside = [entry('public.*', { target: 'copy.*' }), entry('public.a', { target: 'public.b' }), entry('!public.b')];
  expect(writesWhatIsCaptured(aside)).toBeNull();
});
