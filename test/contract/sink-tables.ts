// The contract of a sink: the tables, their values, and what reads or sweeps all of a table.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { present } from '#core/assert.ts';
import type { RowKey } from '#core/key.ts';
import type { Column } from '#core/schema.ts';
import type { RowChange } from '#core/sink.ts';
import type { Row } from '#core/value.ts';

import {
  bigint,
  byText,
  codeThrown,
  contractColumn,
  contractSchema,
  deleteAt,
  drawable,
  keyOf,
  partialAt,
  passFloor,
  plainSchema,
  retried,
  scanned,
  sequenceAt,
  text,
  upsertAt,
  type SinkBench,
} from './sink.ts';

export function sinkTables(bench: SinkBench): void {
  const { open, apply, one, never } = bench;

  describe('provision', () => {
    it('can be done again, also by two at once, and leaves nothing that differs', async () => {
      const more = plainSchema(bench.context.table('more'));
      const other = open();
      await Promise.all([bench.sink.provision([bench.schema, more], never), other.provision([more, bench.schema], never)]);
      await bench.sink.provision([bench.schema, more], never);
      expect(await bench.sink.differences(bench.schema, never)).toEqual([]);
      expect(await bench.sink.differences(more, never)).toEqual([]);
    });

    it('keeps the rows that are there', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(5), ['1', 'x', 'y'])]);
      await open().provision([bench.schema], never);
      expect(await one()).toEqual({ sequence: sequenceAt(5), row: ['1', 'x', 'y'] });
    });

    it('tells whether the replicated table holds rows', async () => {
      expect(await bench.sink.holdsRows(bench.schema, never)).toBe(false);
      await apply([deleteAt(bench.schema, sequenceAt(1), '7')]);
      expect(await bench.sink.holdsRows(bench.schema, never)).toBe(false);
      await bench.context.plant(bench.schema, ['1', null, null]);
      expect(await bench.sink.holdsRows(bench.schema, never)).toBe(true);
    });
  });

  describe('sweep', () => {
    const floorAt = (commit: number) => ({ table: bench.schema.table, sequence: sequenceAt(commit) });
    const passed = async (commit: number): Promise<void> => passFloor(bench.sink, floorAt(commit), never, bench.partition);

    it('tombstones what is older, with or without a version, and nothing else', async () => {
      const { takesOver } = bench.context;
      await bench.context.plant(bench.schema, ['1', 'planted', null]);
      await apply([
        upsertAt(bench.schema, sequenceAt(3), ['2', 'old', null]),
        upsertAt(bench.schema, sequenceAt(5), ['3', 'at the floor', null]),
        upsertAt(bench.schema, sequenceAt(6), ['4', 'newer', null]),
        deleteAt(bench.schema, sequenceAt(3), '5'),
        deleteAt(bench.schema, sequenceAt(6), '6'),
      ]);
      await passed(5);
      await bench.sink.sweep(bench.schema, floorAt(5), never);
      expect((await scanned(bench.sink, bench.schema, never)).map(({ sequence, row }) => [sequence, row])).toEqual([
        takesOver ? [sequenceAt(5), null] : [null, ['1', 'planted', null]],
        [sequenceAt(5), null],
        [sequenceAt(5), ['3', 'at the floor', null]],
        [sequenceAt(6), ['4', 'newer', null]],
        [sequenceAt(5), null],
        [sequenceAt(6), null],
      ]);
      expect((await bench.context.liveRows(bench.schema)).map((row) => row[0]).sort(byText)).toEqual([
        ...(takesOver ? [] : ['1']),
        '3',
        '4',
      ]);
      expect(await apply([upsertAt(bench.schema, sequenceAt(4), ['5', 'late', null])])).toEqual(['stale']);
    });

    it('is remembered when complete, and done again does nothing', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(3), ['2', 'old', null])]);
      await passed(5);
      expect((await bench.sink.sweeps(never)).get(bench.schema.table)).toBeUndefined();
      expect(await bench.sink.sweep(bench.schema, floorAt(5), never)).toEqual({ rows: 1 });
      expect((await open().sweeps(never)).get(bench.schema.table)).toBe(sequenceAt(5));
      expect(await bench.sink.sweep(bench.schema, floorAt(5), never)).toEqual({ rows: 0 });
      expect(await bench.sink.sweep(bench.schema, floorAt(4), never)).toEqual({ rows: 0 });
      expect((await bench.sink.sweeps(never)).get(bench.schema.table)).toBe(sequenceAt(5));
    });

    it('is refused, and not remembered, where the sink does not know a partition to have passed the floor', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(3), ['2', 'old', null])]);
      expect(await codeThrown(bench.sink.sweep(bench.schema, floorAt(5), never))).toBe('sink_went_back');
      const back = await bench.context.keepProgress();
      await passed(5);
      await back();
      expect(await codeThrown(bench.sink.sweep(bench.schema, floorAt(5), never))).toBe('sink_went_back');
      expect((await bench.sink.sweeps(never)).size).toBe(0);
      expect((await bench.context.liveRows(bench.schema)).map((row) => row[0])).toEqual(['2']);
    });

    it('goes through more rows than one transaction takes, and leaves other tables alone', async () => {
      const second = plainSchema(bench.context.table('second'));
      await bench.sink.provision([bench.schema, second], never);
      await apply([upsertAt(second, sequenceAt(1), ['1', 'x', null])]);
      const ids = Array.from({ length: bench.sink.limits.batchRowsMax }, (_, index) => String(index));
      for (let part = 0; part < 3; part += 1) {
        await apply(ids.map((id) => upsertAt(bench.schema, sequenceAt(1), [`${String(part)}${id.padStart(6, '0')}`, 'x', null])));
      }
      // A store that reads by bytes comes to its next page by these.
      await apply(
        ids.slice(0, 15).map((id) => upsertAt(bench.schema, sequenceAt(1), [`9${id.padStart(6, '0')}`, 'x'.repeat(200_000), null])),
      );
      await passed(5);
      const swept = await bench.sink.sweep(bench.schema, floorAt(5), never);
      expect(swept).toEqual({ rows: ids.length * 3 + 15 });
      expect(await bench.sink.holdsRows(bench.schema, never)).toBe(false);
      expect(await bench.context.liveRows(second)).toHaveLength(1);
    });

    it('by two at once, each at a floor of its own, ends with the higher one', async () => {
      const ids = Array.from({ length: bench.sink.limits.batchRowsMax }, (_, index) => String(index));
      for (let part = 0; part * ids.length < bench.context.manyRows; part += 1) {
        await apply(ids.map((id) => upsertAt(bench.schema, sequenceAt(1), [`${String(part)}${id.padStart(6, '0')}`, 'x', null])));
      }
      await passed(6);
      const other = open();
      const sweeps = [5, 6].map((commit) => retried(() => (commit === 5 ? bench.sink : other).sweep(bench.schema, floorAt(commit), never)));
      await Promise.all(sweeps);
      expect((await bench.sink.sweeps(never)).get(bench.schema.table)).toBe(sequenceAt(6));
      expect(await bench.sink.holdsRows(bench.schema, never)).toBe(false);
      expect(new Set((await scanned(bench.sink, bench.schema, never)).map(({ sequence }) => sequence))).toEqual(new Set([sequenceAt(6)]));
    });

    it('does not harm what newer changes write meanwhile', async () => {
      const ids = Array.from({ length: 300 }, (_, index) => String(index));
      await apply(ids.map((id) => upsertAt(bench.schema, sequenceAt(1), [id, 'old', null])));
      const write = async (): Promise<void> => {
        for (let at = 0; at < ids.length; at += 30) {
          const rows = ids.slice(at, at + 30).map((id) => upsertAt(bench.schema, sequenceAt(6), [id, 'new', null]));
          await retried(() => bench.partition.apply({ rows, progress: null }, never));
        }
      };
      await passed(5);
      await Promise.all([write(), retried(() => bench.sink.sweep(bench.schema, floorAt(5), never))]);
      const live = await bench.context.liveRows(bench.schema);
      expect(live.filter((row) => row[1] === 'new')).toHaveLength(ids.length);
      expect(live).toHaveLength(ids.length);
    });
  });

  sinkValues(bench);

  describe('schema', () => {
    it('follows added columns, with the default for the rows that are there', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])]);
      const defaulted: Column = { ...contractColumn('n', 'bigint', bigint, false), constantDefault: '7' };
      const added = [contractColumn('later', 'text', text), defaulted];
      const after = contractSchema(bench.schema.table, [...bench.schema.columns, ...added]);
      if (!bench.context.hasColumns) {
        expect(await codeThrown(bench.sink.evolve(after, { tag: 'additive', added }, never))).toBe('schema_blocked');
        return;
      }
      await bench.sink.evolve(after, { tag: 'additive', added }, never);
      await bench.sink.evolve(after, { tag: 'additive', added }, never);
      expect(await bench.sink.differences(after, never)).toEqual([]);
      expect(await bench.context.liveRows(after)).toEqual([['1', 'x', null, null, '7']]);
      expect(await apply([upsertAt(after, sequenceAt(2), ['1', 'y', null, 'z', '8'])])).toEqual(['applied']);
      expect(await bench.context.liveRows(after)).toEqual([['1', 'y', null, 'z', '8']]);
      // Events of the schema before it may still come.
      expect(await apply([upsertAt(bench.schema, sequenceAt(2), ['2', 'old', null])])).toEqual(['applied']);
      expect((await bench.context.liveRows(after)).find((row) => row[0] === '2')).toEqual(['2', 'old', null, null, '7']);
    });

    it('follows an added column without a default', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])]);
      const added = [contractColumn('later', 'text', text)];
      const after = contractSchema(bench.schema.table, [...bench.schema.columns, ...added]);
      await bench.sink.evolve(after, { tag: 'additive', added }, never);
      expect(await bench.context.liveRows(after)).toEqual([['1', 'x', null, null]]);
      expect(await apply([upsertAt(after, sequenceAt(2), ['1', 'y', null, 'z'])])).toEqual(['applied']);
      expect(await bench.context.liveRows(after)).toEqual([['1', 'y', null, 'z']]);
      // Events of the schema before it may still come.
      expect(await apply([upsertAt(bench.schema, sequenceAt(2), ['2', 'old', null])])).toEqual(['applied']);
      expect(await apply([partialAt(after, sequenceAt(3), ['2', undefined, null, 'w'])])).toEqual(['applied']);
      expect((await bench.context.liveRows(after)).toSorted(byText)).toEqual([
        ['1', 'y', null, 'z'],
        ['2', 'old', null, 'w'],
      ]);
    });

    it('names a missing column and a missing table', async () => {
      if (!bench.context.hasTables) return;
      const wider = contractSchema(bench.schema.table, [...bench.schema.columns, contractColumn('missing_one', 'text', text)]);
      const different = (await bench.sink.differences(wider, never)).join();
      if (bench.context.hasColumns) expect(different).toContain('missing_one');
      else expect(different).toBe('');
      const absent = plainSchema(bench.context.table('absent'));
      expect(await bench.sink.differences(absent, never)).not.toEqual([]);
      expect(await codeThrown(apply([upsertAt(absent, sequenceAt(1), ['1', null, null])]))).toBe('sink_misconfigured');
      // Nothing is lost: once the table is there, the same change takes effect.
      await bench.sink.provision([absent], never);
      expect(await apply([upsertAt(absent, sequenceAt(1), ['1', null, null])])).toEqual(['applied']);
    });
  });

  describe('scan', () => {
    it('gives every key once, in order, in pages, between `from` and before `to`', async () => {
      const ids = Array.from({ length: 1_200 }, (_, index) => String(index));
      for (let at = 0; at < ids.length; at += 400) {
        await apply(
          ids
            .slice(at, at + 400)
            .map((id) =>
              Number(id) % 5 === 0 ? deleteAt(bench.schema, sequenceAt(2), id) : upsertAt(bench.schema, sequenceAt(2), [id, id, null]),
            ),
        );
      }
      await bench.context.plant(bench.schema, ['1200', 'planted', null]);
      const large = Array.from({ length: 15 }, (_, index) =>
        upsertAt(bench.schema, sequenceAt(1), [String(1201 + index), 'x'.repeat(200_000), null]),
      );
      await apply(large);
      const all = await scanned(bench.sink, bench.schema, never);
      expect(all.map(({ key }) => (JSON.parse(key) as string[])[1])).toEqual([
        ...ids,
        '1200',
        ...large.map((_, index) => String(1201 + index)),
      ]);
      expect(all.filter(({ row }) => row === null)).toHaveLength(240);
      expect(all[1200]?.sequence).toBeNull();
      const part = await scanned(bench.sink, bench.schema, never, { from: ['10'], to: ['15'] });
      expect(part.map(({ key }) => (JSON.parse(key) as string[])[1])).toEqual(['10', '11', '12', '13', '14']);
    });

    it('ends with its signal', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(1), ['1', null, null])]);
      const controller = new AbortController();
      controller.abort(new Error('enough'));
      await expect(scanned(bench.sink, bench.schema, controller.signal)).rejects.toThrow('enough');
    });
  });
}

export function sinkValues(bench: SinkBench): void {
  const { apply, never } = bench;

  describe('values', () => {
    it('come back as the text that went in, at the edges of every type', async () => {
      const columns = bench.context.typeCases.map((entry, index) => contractColumn(`c${String(index)}`, entry.sourceType, entry.type));
      const wide = contractSchema(bench.context.table('wide'), [contractColumn('id', 'bigint', bigint, false), ...columns]);
      await bench.sink.provision([wide], never);
      expect(await bench.sink.differences(wide, never)).toEqual([]);
      const longest = Math.max(...bench.context.typeCases.map((entry) => entry.edges.length));
      const rows = Array.from({ length: longest + 1 }, (_, id): Row => {
        const values = bench.context.typeCases.map((entry) =>
          id === longest ? null : present(entry.edges[id % entry.edges.length], 'edge'),
        );
        return [String(id), ...values];
      });
      expect(await apply(rows.map((row) => upsertAt(wide, sequenceAt(1), row)))).toEqual(rows.map(() => 'applied'));
      expect((await scanned(bench.sink, wide, never)).map((entry) => entry.row)).toEqual(rows);
      const live = [...(await bench.context.liveRows(wide))].sort((a, b) => Number(a[0]) - Number(b[0]));
      expect(live).toEqual(rows);
    });

    it('come back as the text that went in, drawn by chance', async () => {
      const columns = bench.context.typeCases.map((entry, index) => contractColumn(`c${String(index)}`, entry.sourceType, entry.type));
      const wide = contractSchema(bench.context.table('drawn'), [contractColumn('id', 'bigint', bigint, false), ...columns]);
      await bench.sink.provision([wide], never);
      const { typeCases, refusesValue } = bench.context;
      const values = typeCases.map((entry) =>
        fc.option(
          drawable(entry).filter((value) => refusesValue?.(entry.type, value) !== true),
          { nil: null, freq: 10 },
        ),
      );
      let commit = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(...values), { minLength: 1, maxLength: 20 }), async (drawn) => {
          commit += 1;
          const rows = drawn.map((row, id): Row => [String(id), ...row]);
          expect(await apply(rows.map((row) => upsertAt(wide, sequenceAt(commit), row)))).toEqual(rows.map(() => 'applied'));
          const found = await scanned(bench.sink, wide, never, { from: ['0'], to: [String(rows.length)] });
          expect(found.map((entry) => entry.row)).toEqual(rows);
        }),
        { numRuns: bench.context.runs, seed: 4_711 },
      );
    });

    it('of every key type find their row again', async () => {
      const keyTypes = bench.context.typeCases.filter(
        ({ type }) => type.tag !== 'json' && type.tag !== 'interval' && type.tag !== 'array' && type.tag !== 'other',
      );
      for (const [index, entry] of keyTypes.entries()) {
        const keyed = contractSchema(
          bench.context.table(`key${String(index)}`),
          [contractColumn('v', 'text', text), contractColumn('k', entry.sourceType, entry.type, false)],
          [1],
        );
        await bench.sink.provision([keyed], never);
        // Keys that the source holds equal, such as 0 and -0, are one key and never stand in one batch.
        const byKey = new Map<RowKey, Row>();
        for (const edge of entry.edges) {
          if (bench.context.refusesKey?.(entry.type, edge) !== true) byKey.set(keyOf(keyed, ['x', edge]), ['x', edge]);
        }
        const changes = (commit: number, value: string): RowChange[] =>
          [...byKey].map(([key, row]) => ({ tag: 'upsert', schema: keyed, key, sequence: sequenceAt(commit), row: [value, row[1]] }));
        expect(await apply(changes(2, 'two')), entry.sourceType).toEqual([...byKey].map(() => 'applied'));
        expect(await apply(changes(2, 'two')), entry.sourceType).toEqual([...byKey].map(() => 'stale'));
        expect(await apply(changes(3, 'three')), entry.sourceType).toEqual([...byKey].map(() => 'applied'));
        expect(await bench.context.liveRows(keyed), entry.sourceType).toHaveLength(byKey.size);
        const gone = [...byKey.keys()].map((key): RowChange => ({ tag: 'delete', schema: keyed, key, sequence: sequenceAt(4) }));
        expect(await apply(gone), entry.sourceType).toEqual([...byKey].map(() => 'applied'));
        expect(await bench.context.liveRows(keyed), entry.sourceType).toEqual([]);
        const tombstones = await scanned(bench.sink, keyed, never);
        expect(tombstones.map(({ key }) => key).sort(byText), entry.sourceType).toEqual([...byKey.keys()].sort(byText));
      }
    });

    it('of a decimal key: equal keys of another scale are one row, which keeps the newest spelling, or the key text', async () => {
      const keyed = contractSchema(bench.context.table('decimal_key'), [
        contractColumn('k', 'numeric', { tag: 'decimal', precision: null, scale: null }, false),
      ]);
      await bench.sink.provision([keyed], never);
      expect(await apply([upsertAt(keyed, sequenceAt(1), ['1.0'])])).toEqual(['applied']);
      expect(await apply([upsertAt(keyed, sequenceAt(2), ['1.00'])])).toEqual(['applied']);
      expect(await bench.context.liveRows(keyed)).toEqual([[bench.context.keepsKeySpelling === false ? '1' : '1.00']]);
      expect(await apply([deleteAt(keyed, sequenceAt(3), '1')])).toEqual(['applied']);
      expect(await bench.context.liveRows(keyed)).toEqual([]);
    });

    it('of a key of several columns, in another order than the table has them', async () => {
      const pair = contractSchema(
        bench.context.table('pair'),
        [contractColumn('b', 'text', text, false), contractColumn('v', 'text', text), contractColumn('a', 'bigint', bigint, false)],
        [2, 0],
      );
      await bench.sink.provision([pair], never);
      const rows: Row[] = [
        ['x', 'first', '2'],
        ['y', 'second', '1'],
        ['x', 'third', '1'],
      ];
      expect(await apply(rows.map((row) => upsertAt(pair, sequenceAt(1), row)))).toEqual(['applied', 'applied', 'applied']);
      expect(await apply([partialAt(pair, sequenceAt(2), ['x', 'new', '1'])])).toEqual(['applied']);
      expect(await apply([{ tag: 'delete', schema: pair, key: keyOf(pair, ['y', null, '1']), sequence: sequenceAt(2) }])).toEqual([
        'applied',
      ]);
      const found = await scanned(bench.sink, pair, never);
      expect(found.map(({ row }) => row)).toEqual([['x', 'new', '1'], null, ['x', 'first', '2']]);
      const part = await scanned(bench.sink, pair, never, { from: ['1', 'y'], to: ['2', 'x'] });
      expect(part.map(({ row }) => row)).toEqual([null]);
    });

    it('of a table that is nothing but its key', async () => {
      const bare = contractSchema(bench.context.table('bare'), [contractColumn('id', 'bigint', bigint, false)]);
      await bench.sink.provision([bare], never);
      expect(await apply([upsertAt(bare, sequenceAt(1), ['1'])])).toEqual(['applied']);
      expect(await apply([upsertAt(bare, sequenceAt(2), ['1'])])).toEqual(['applied']);
      expect(await apply([deleteAt(bare, sequenceAt(3), '1')])).toEqual(['applied']);
      expect(await bench.context.liveRows(bare)).toEqual([]);
    });
  });
}
