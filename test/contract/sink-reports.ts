// The contract of a sink: what it keeps of reconciliations.
import { describe, expect, it } from 'vitest';

import type { RowKey } from '#core/key.ts';
import type { Difference, Sink } from '#core/sink.ts';

import { byText, sequenceAt, type SinkBench } from './sink.ts';

export function sinkReports(bench: SinkBench): void {
  const { open, never } = bench;
  const missing = (id: string, more: Partial<Difference> = {}): Difference => ({
    table: bench.schema.table,
    kind: 'missing',
    key: JSON.stringify([bench.schema.table, id]) as RowKey,
    cut: sequenceAt(7),
    stored: null,
    cause: 'unknown',
    columns: [],
    ...more,
  });
  const listed = async (run: string, sink: Sink = bench.sink): Promise<readonly Difference[]> => {
    const all: Difference[] = [];
    for await (const page of sink.reports.list(run, never)) all.push(...page);
    return all;
  };

  describe('reports', () => {
    it('come back as they went in, to another process too, each run by itself', async () => {
      const found = [
        missing('1'),
        missing('1', { kind: 'extra', stored: sequenceAt(3), cause: 'foreign_write' }),
        missing('1', { kind: 'mismatched', stored: sequenceAt(9), cause: 'sequence_ahead', columns: ['a', "it's", '"b"'] }),
        missing('1', { table: bench.context.table('other') }),
        missing(`\0"\\${'ü🦊'.repeat(3_000)}`),
      ];
      await bench.sink.reports.add('run-1', found, never);
      await bench.sink.reports.add('run-10', [missing('2')], never);
      await bench.sink.reports.add('run/1', [missing('3')], never);
      expect((await listed('run-1')).toSorted(byText)).toEqual(found.toSorted(byText));
      expect(await listed('run-10', open())).toEqual([missing('2')]);
      expect(await listed('run/1')).toEqual([missing('3')]);
      expect(await listed('run')).toEqual([]);
    });

    it('hold a difference once, as it was told last', async () => {
      await bench.sink.reports.add('r', [missing('1'), missing('1', { cause: 'stale' }), missing('2')], never);
      const again = missing('1', { cut: sequenceAt(8), cause: 'dead_lettered', columns: [], stored: sequenceAt(4) });
      await open().reports.add('r', [missing('1'), again], never);
      expect((await listed('r')).toSorted(byText)).toEqual([again, missing('2')].toSorted(byText));
      await bench.sink.reports.add('r', [], never);
      expect(await listed('r')).toHaveLength(2);
    });

    it('of more than a page come back once each, by table and kind', async () => {
      const kinds = ['missing', 'extra'] as const;
      const many = kinds.flatMap((kind) => Array.from({ length: 620 }, (_, index) => missing(String(index), { kind })));
      await bench.sink.reports.add('r', many, never);
      const all = await listed('r');
      expect(all.toSorted(byText)).toEqual(many.toSorted(byText));
      expect(all.map(({ kind }) => kind)).toEqual(many.map(({ kind }) => kind).toSorted());
    });

    it('of other runs are dropped', async () => {
      for (const run of ['a', 'b', 'c']) {
        const many = Array.from({ length: 510 }, (_, index) => missing(String(index)));
        await bench.sink.reports.add(run, many, never);
      }
      await bench.sink.reports.keepOnly(['b', 'none'], never);
      expect(await listed('a')).toEqual([]);
      expect(await listed('b')).toHaveLength(510);
      expect(await listed('c')).toEqual([]);
      await bench.sink.reports.keepOnly([], never);
      expect(await listed('b')).toEqual([]);
    });

    it('go with the sink', async () => {
      await bench.sink.reports.add('r', [missing('1')], never);
      await bench.sink.remove([bench.owner.owner], never);
      const later = open();
      await later.claim({ owner: 'another', known: false }, never);
      expect(await listed('r', later)).toEqual([]);
    });
  });
}
