import { describe, expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import type { SourceChange } from '#core/event.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import { epochMicrosOf } from '#core/position.ts';
import type { RowRead, RowSnapshot, RowsRead } from '#core/row-reader.ts';
import { tableSchema, type Column, type TableId } from '#core/schema.ts';
import type { Row } from '#core/value.ts';
import { ChunkWindow } from '../../src/chunk/window.ts';

const table = 'public.t' as TableId;
const column = (name: string): Column => ({ name, type: { tag: 'text' }, sourceType: 'text', nullable: true, constantDefault: null });
const schema = tableSchema({ table, columns: ['id', 'a', 'big'].map(column), key: [0] });
const wider = tableSchema({ table, columns: ['id', 'a', 'big', 'new'].map(column), key: [0] });
const keyOf = (id: string): RowKey => present(rowKeyOf(schema, [id, null, null]), 'key');
const read = (id: string): RowRead => ({ key: keyOf(id), row: [id, 'read', 'large'], withheld: null });
const showing = (...ids: readonly string[]): RowSnapshot => ({ shows: (id) => ids.includes(id), showsAllBefore: () => true });
const rows = (ids: readonly string[], snapshot = showing()): RowsRead => ({
  snapshot,
  readAt: epochMicrosOf(1),
  schema,
  rows: ids.map(read),
  bytes: 1,
  isWhole: true,
});
const put = (id: string, row: Row): SourceChange => ({
  tag: 'change',
  schema,
  change: 1n,
  op: 'update',
  key: keyOf(id),
  row,
  oldKey: null,
});
const part = (id: string, a: string): SourceChange => put(id, [id, a, undefined]);
const ids = (of: readonly RowRead[]): readonly RowKey[] => of.map(({ key }) => key);

describe('the window of a chunk', () => {
  it('leaves to the log what changed there, before the rows were read or after', () => {
    const window = new ChunkWindow(table, 100);
    window.changed(put('1', ['1', 'x', 'y']), '10');
    window.changed({ tag: 'change', schema, change: 1n, op: 'delete', key: keyOf('9') }, '10');
    window.rowsRead(rows(['1', '2', '3', '4']));
    window.changed({ tag: 'change', schema, change: 1n, op: 'delete', key: keyOf('2') }, '11');
    window.changed({ tag: 'change', schema, change: 1n, op: 'unreadable', key: keyOf('4'), reason: '' }, '11');
    const { cold, whole, hotKeys } = window.settle();
    expect([ids(cold), ids(whole), hotKeys]).toEqual([[keyOf('3')], [], 3]);
  });

  it('both keys of a changed key are hot', () => {
    const window = new ChunkWindow(table, 100);
    window.rowsRead(rows(['1', '2', '3']));
    window.changed({ tag: 'change', schema, change: 1n, op: 'update', key: keyOf('2'), row: ['2', 'x', 'y'], oldKey: keyOf('1') }, '10');
    expect(ids(window.settle().cold)).toEqual([keyOf('3')]);
  });

  it('a key of which only parts were shown is published whole: what the read does not show lies on top of it (counterexample 23)', () => {
    const window = new ChunkWindow(table, 100);
    window.changed(part('1', 'shown'), '10');
    window.changed(part('1', 'first'), '11');
    window.rowsRead(rows(['1'], showing('10')));
    window.changed(part('1', 'second'), '12');
    expect(window.settle()).toMatchObject({
      cold: [],
      whole: [{ key: keyOf('1'), row: ['1', 'second', 'large'], withheld: null }],
      hotKeys: 1,
    });
  });

  it('what the read shows of it already is not put on top', () => {
    const window = new ChunkWindow(table, 100);
    window.changed(part('1', 'old'), '10');
    window.rowsRead(rows(['1'], showing('10', '11')));
    window.changed(part('1', 'shown too'), '11');
    expect(window.settle().whole).toEqual([read('1')]);
  });

  it('a whole image or a delete among its changes leaves it to the log', () => {
    for (const order of [
      [part('1', 'p'), put('1', ['1', 'x', 'y'])],
      [put('1', ['1', 'x', 'y']), part('1', 'p')],
    ]) {
      const window = new ChunkWindow(table, 100);
      for (const change of order) window.changed(change, '10');
      window.rowsRead(rows(['1']));
      expect(window.settle()).toMatchObject({ cold: [], whole: [], hotKeys: 1 });
    }
  });

  it('is worth nothing after a truncate, another schema, or too many changes', () => {
    const truncated = new ChunkWindow(table, 100);
    truncated.truncated();
    expect(truncated.spoiled).toBe('truncate');
    const later = new ChunkWindow(table, 100);
    later.rowsRead(rows(['1']));
    later.changed({ tag: 'change', schema: wider, change: 1n, op: 'delete', key: keyOf('7') }, '10');
    expect(later.spoiled).toBe('schema');
    const earlier = new ChunkWindow(table, 100);
    earlier.changed({ tag: 'change', schema: wider, change: 1n, op: 'delete', key: keyOf('7') }, '10');
    earlier.rowsRead(rows(['1']));
    expect(earlier.spoiled).toBe('schema');
    const hot = new ChunkWindow(table, 2);
    for (const id of ['1', '2', '3']) hot.changed(put(id, [id, 'x', 'y']), '10');
    expect(hot.spoiled).toBe('hot');
    const images = new ChunkWindow(table, 2);
    for (const a of ['1', '2', '3']) images.changed(part('1', a), '10');
    expect(images.spoiled).toBe('hot');
  });

  it('remembers only keys that were read, once they are', () => {
    const window = new ChunkWindow(table, 3);
    window.changed(put('8', ['8', 'x', 'y']), '10');
    window.rowsRead(rows(['1', '2', '3']));
    for (let id = 10; id < 20; id += 1) window.changed(put(String(id), [String(id), 'x', 'y']), '11');
    for (let at = 0; at < 10; at += 1) window.changed(part('1', String(at)), '12');
    expect(window.spoiled).toBeNull();
    expect(window.settle().whole[0]?.row).toEqual(['1', '9', 'large']);
  });
});

describe('the window of keys that were asked for', () => {
  const asked = new Set(['1', '2', '3', '4', '5'].map(keyOf));

  it('watches those too of which nothing was read: one that comes or goes there is hot', () => {
    const window = new ChunkWindow(table, 100, asked);
    window.changed({ tag: 'change', schema, change: 1n, op: 'delete', key: keyOf('2') }, '10');
    window.changed(put('9', ['9', 'x', 'y']), '10');
    window.rowsRead(rows(['1']));
    window.changed({ tag: 'change', schema, change: 1n, op: 'insert', key: keyOf('3'), row: ['3', 'x', 'y'] }, '11');
    window.changed(
      { tag: 'change', schema, change: 1n, op: 'update', key: keyOf('5'), row: ['5', 'x', undefined], oldKey: keyOf('8') },
      '12',
    );
    const { cold, whole, absent, hotKeys } = window.settle();
    expect([ids(cold), ids(whole), absent, hotKeys]).toEqual([[keyOf('1')], [], [keyOf('4')], 3]);
  });

  it('counts no other key', () => {
    const window = new ChunkWindow(table, 2, asked);
    for (let id = 10; id < 20; id += 1) window.changed(put(String(id), [String(id), 'x', 'y']), '10');
    for (let at = 0; at < 10; at += 1) window.changed(part('11', String(at)), '10');
    expect(window.spoiled).toBeNull();
  });

  it('is worth nothing where not all of them were read, or one is written in another way', () => {
    const large = new ChunkWindow(table, 100, asked);
    large.rowsRead({ ...rows(['1', '2']), isWhole: false });
    expect(large.spoiled).toBe('large');
    const last = new ChunkWindow(table, 100, asked);
    last.rowsRead({ ...rows(['1', '2', '3', '4', '5']), isWhole: false });
    expect(last.spoiled).toBeNull();
    const other = new ChunkWindow(table, 100, asked);
    other.rowsRead(rows(['1', '6']));
    expect(other.spoiled).toBe('keys');
  });
});
