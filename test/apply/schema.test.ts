import { describe, expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import { tableSchema, type TableId } from '#core/schema.ts';
import { at, change, keyOf, opened, Publisher, put, schema, textColumn } from './stage.ts';

const wider = tableSchema({ ...schema, columns: [...schema.columns, textColumn('later', { constantDefault: 'd' })] });
const widest = tableSchema({ ...wider, columns: [...wider.columns, textColumn('last')] });
const narrower = tableSchema({ ...schema, columns: schema.columns.slice(0, 2) });
const retyped = tableSchema({ ...schema, columns: [...schema.columns.slice(0, 2), textColumn('big', { sourceType: 'varchar(9)' })] });

describe('a new schema', () => {
  it('that only adds columns is followed, also by a partition that stands further behind', async () => {
    const { stage, first } = await opened({ partitions: 3 });
    await first.send(put('1', 10, 'a'));
    await stage.tables([[schema, wider]]);
    await first.send({ tag: 'schema', schema: wider }, change({ id: '1', commit: 11, row: ['1', 'b', 'c', 'l'], of: wider }));
    await first.send(change({ id: '2', commit: 11, row: ['2', 'b', 'c', 'l'], of: wider }));
    const run = await stage.drain();
    expect(run.code()).toBeNull();
    expect(stage.rows(wider)).toEqual({ 1: ['b', 'c', 'l'], 2: ['b', 'c', 'l'] });
  });

  it('that waits for approval in every partition is told of once', async () => {
    const { stage, first } = await opened({ partitions: 3 });
    await first.send(put('1', 10, 'a'));
    await stage.drain();
    await stage.tables([[schema, retyped]]);
    await first.send({ tag: 'schema', schema: retyped });
    const run = stage.start();
    await stage.clock.advance(30_000);
    expect(run.status().partitions.map(({ state }) => state)).toEqual(['blocked', 'blocked', 'blocked']);
    expect(stage.logger.lines.filter(({ message }) => message.startsWith('a new schema waits'))).toHaveLength(1);
    await run.stop();
  });

  it('that the sink cannot follow holds each partition at its record until it is approved and the table fits', async () => {
    const { stage, first } = await opened({ partitions: 2 });
    await first.to(0, put('1', 10, 'a'));
    await stage.drain();
    await stage.tables([[schema, retyped]]);
    await first.to(0, { tag: 'schema', schema: retyped });
    await first.to(0, change({ id: '1', commit: 11, row: ['1', 'b', 'c'], of: retyped }));
    await first.to(1, change({ id: '2', commit: 12, row: ['2', 'goes on', 'x'] }));
    const run = stage.start();
    await stage.clock.advance(5_000);
    expect(stage.sequenceOf('1')).toBe(at(10));
    expect(stage.rows()['2']).toEqual(['goes on', 'x']);
    expect(run.status()).toMatchObject({ state: 'blocked', blocked: [{ table: schema.table, version: retyped.version, approved: false }] });
    expect(stage.progress(0)?.pair?.counter).toBe((first.counters[0] ?? 0) - 2);
    await run.stop();

    // It persists over restarts, and an approval alone is not enough.
    const again = stage.start();
    await stage.clock.advance(2_000);
    await stage.approve();
    await stage.clock.advance(5_000);
    expect(stage.sequenceOf('1')).toBe(at(10));
    stage.sinkStore.table(schema.table).columns.set('big', textColumn('big', { sourceType: 'varchar(9)' }));
    await stage.clock.advance(5_000);
    expect(stage.sequenceOf('1')).toBe(at(11));
    expect(again.status().blocked).toEqual([]);
    await first.to(1, { tag: 'schema', schema: retyped });
    await first.to(1, change({ id: '2', commit: 13, row: ['2', 'e', 'f'], of: retyped }));
    await stage.clock.advance(5_000);
    expect(stage.rows(retyped)['2']).toEqual(['e', 'f']);
    expect((await stage.sinkRow()).blocked).toHaveLength(1);
    await again.stop();

    // Repeated behind a generation-open, it is approved already.
    await first.send({ tag: 'schema', schema: retyped }, change({ id: '1', commit: 20, row: ['1', 'g', 'h'], of: retyped }));
    const last = await stage.drain();
    expect(last.code()).toBeNull();
    expect(stage.sinkStore.stored(schema.table, keyOf('1'))?.sequence).toBe(at(20));
  });

  it('is followed again where the sink goes back to before it', async () => {
    const { stage, first } = await opened();
    const run = stage.start();
    await first.send(put('1', 10, 'a'));
    await stage.clock.advance(3_000);
    const goBack = stage.sinkStore.keep();
    await stage.tables([[schema, wider]]);
    await first.send({ tag: 'schema', schema: wider }, change({ id: '1', commit: 11, row: ['1', 'b', 'c', 'l'], of: wider }));
    await stage.clock.advance(3_000);
    expect(stage.rows(wider)).toEqual({ 1: ['b', 'c', 'l'] });
    goBack();
    expect(stage.sinkStore.table(schema.table).columns.has('later')).toBe(false);
    await first.send(change({ id: '2', commit: 12, row: ['2', 'b', 'c', 'l'], of: wider }));
    await stage.clock.advance(3_000);
    expect(stage.rows(wider)).toEqual({ 1: ['b', 'c', 'l'], 2: ['b', 'c', 'l'] });
    await run.stop();
  });

  it.each([
    ['one column', [wider]],
    ['columns of two changes', [wider, widest]],
  ])('is followed again at the next start where the sink has lost nothing but %s', async (_what, added) => {
    const { stage, first } = await opened({ partitions: 2 });
    await first.send(put('1', 10, 'a'));
    await stage.drain();
    const columns = [...stage.sinkStore.table(schema.table).columns];
    const newest = present(added.at(-1), 'a schema');
    await stage.tables([[schema, ...added]]);
    for (const each of added) await first.send({ tag: 'schema', schema: each });
    await stage.drain();
    const table = stage.sinkStore.table(schema.table);
    expect([...table.columns.keys()]).toEqual(newest.columns.map(({ name }) => name));
    table.columns.clear();
    for (const [name, column] of columns) table.columns.set(name, column);

    await first.send(change({ id: '1', commit: 11, row: newest.columns.map((_, index) => String(index + 1)), of: newest }));
    const run = await stage.drain();
    expect(run.code()).toBeNull();
    expect(stage.rows(newest)).toEqual({ 1: newest.columns.slice(1).map((_, index) => String(index + 2)) });
  });

  it('that the sink was made ready for is left alone where an older one is still to come', async () => {
    const { stage, first } = await opened();
    await stage.drain();
    await stage.tables([[schema, retyped]]);
    stage.sinkStore.table(schema.table).columns.set('big', textColumn('big', { sourceType: 'varchar(9)' }));
    await first.send(change({ id: '1', commit: 11, row: ['1', 'b', 'c'] }));
    const run = await stage.drain();
    expect(run.code()).toBeNull();
    expect(run.status().blocked).toEqual([]);
    expect(stage.rows(retyped)).toEqual({ 1: ['b', 'c'] });
  });

  it('that drops a column waits too, though every row could be written', async () => {
    const { stage, first } = await opened();
    await stage.tables([[schema, narrower]]);
    await first.send({ tag: 'schema', schema: narrower }, change({ id: '1', commit: 11, row: ['1', 'b'], of: narrower }));
    const run = stage.start();
    await stage.clock.advance(3_000);
    expect(stage.rows()).toEqual({});
    await stage.approve();
    await stage.clock.advance(3_000);
    expect(stage.rows(narrower)).toEqual({ 1: ['b'] });
    await run.stop();
  });

  it('waits where the sink follows nothing by itself', async () => {
    const { stage, first } = await opened();
    stage.sinkStore.holdsSchemas = true;
    await stage.tables([[schema, wider]]);
    await first.send({ tag: 'schema', schema: wider }, change({ id: '1', commit: 11, row: ['1', 'b', 'c', 'l'], of: wider }));
    const run = stage.start();
    await stage.clock.advance(3_000);
    expect(run.status().state).toBe('blocked');
    stage.sinkStore.table(schema.table).columns.set('later', textColumn('later'));
    await stage.approve();
    await stage.clock.advance(3_000);
    expect(stage.rows(wider)).toEqual({ 1: ['b', 'c', 'l'] });
    await run.stop();
  });

  it('of a table that appears while the sink runs is provisioned', async () => {
    const { stage, first } = await opened();
    const other = tableSchema({ table: 'public.other' as TableId, columns: schema.columns, key: [0] });
    const run = stage.start();
    await stage.clock.advance(100);
    await stage.tables([[other]]);
    await first.send({ tag: 'schema', schema: other }, change({ id: '1', commit: 11, row: ['1', 'b', 'c'], of: other }));
    await stage.clock.advance(100);
    expect(stage.rows(other)).toEqual({ 1: ['b', 'c'] });
    await run.stop();
  });

  it('that neither the log behind the start nor the control store has shown stops the sink', async () => {
    const { stage, first } = await opened();
    stage.schemas.set(wider.version, wider);
    await first.send(put('1', 10, 'a'), change({ id: '2', commit: 11, row: ['2', 'b', 'c', 'l'], of: wider }));
    expect((await stage.drain()).code()).toBe('log_schema_unknown');
    expect(stage.rows()).toEqual({ 1: ['a', 'big'] });
    await stage.tables([[schema, wider]]);
    stage.sinkStore.table(schema.table).columns.set('later', textColumn('later'));
    await stage.drain();
    expect(stage.rows(wider)['2']).toEqual(['b', 'c', 'l']);
  });

  it.each([
    ['added a column', wider, ['b', 'c', 'l']],
    ['dropped a column', narrower, ['b']],
  ])('that %s stays the newest one when a later generation announces the older versions again', async (_what, newest, values) => {
    const { stage, first } = await opened();
    const run = stage.start();
    await first.send(put('1', 10, 'a'));
    await stage.clock.advance(1_000);
    await stage.tables([[schema, newest]]);
    await first.send({ tag: 'schema', schema: newest }, change({ id: '1', commit: 11, row: ['1', ...values], of: newest }));
    await stage.clock.advance(2_000);
    if (run.status().blocked.length > 0) await stage.approve();
    await stage.clock.advance(2_000);
    expect(stage.sequenceOf('1')).toBe(at(11));
    const second = new Publisher(stage, 2);
    await second.open();
    await second.send({ tag: 'schema', schema }, { tag: 'schema', schema: newest });
    // What had not been acknowledged is sent again, in the version of its time.
    await second.send(put('1', 10, 'a'), change({ id: '2', commit: 12, row: ['2', ...values], of: newest }));
    await stage.clock.advance(5_000);
    expect(run.status().blocked).toEqual([]);
    expect(stage.rows(newest)).toEqual({ 1: values, 2: values });
    await run.stop();
  });
});
