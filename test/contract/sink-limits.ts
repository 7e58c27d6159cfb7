// The contract of a sink: rows at the limits of its store, and values one by one. What is taken comes back as it was, and what is not
// taken is refused, alone: nothing is ever rounded, cut or changed.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { TableSchema } from '#core/schema.ts';
import type { RowChange } from '#core/sink.ts';
import type { Row } from '#core/value.ts';

import {
  bigint,
  byText,
  contractColumn,
  contractSchema,
  drawable,
  keyOf,
  partialAt,
  progressAt,
  scanned,
  sequenceAt,
  tags,
  upsertAt,
  type LimitCase,
  type SinkBench,
} from './sink.ts';

export function sinkLimits(bench: SinkBench): void {
  const { apply, never } = bench;

  describe('limits', () => {
    it('a row just at one is taken as it is; one over it is refused, alone and without a trace, or stale behind a newer one', async () => {
      for (const [index, limit] of bench.context.limitCases.entries()) {
        const schema = contractSchema(bench.context.table(`limit${String(index)}`), limit.columns, limit.key);
        await bench.sink.provision([schema], never);
        await overSmallRows(schema, limit);
        await amongOthers(schema, limit, index);
        await behindNewer(schema, limit);
      }
    });

    /** A partial image that would make a row too large leaves it as it was. */
    const overSmallRows = async (schema: TableSchema, { over, what }: LimitCase): Promise<void> => {
      const bases = over.map((row): Row => row.map((value, column) => (schema.key.includes(column) ? value : null)));
      const based = await apply(bases.map((row) => upsertAt(schema, sequenceAt(1), row)));
      // Of a key that is too large there is no row.
      const isBased = (_: Row, at: number): boolean => based[at] === 'applied';
      const [kept, larger] = [bases.filter(isBased), over.filter(isBased)];
      expect(await apply(larger.map((row) => partialAt(schema, sequenceAt(2), row))), what).toEqual(larger.map(() => 'value_refused'));
      const found = await scanned(bench.sink, schema, never);
      expect(
        sameRows(
          found.map(({ row }) => row),
          kept,
        ) && found.every(({ sequence }) => sequence === sequenceAt(1)),
        what,
      ).toBe(true);
      expect(new Set(await apply(found.map(({ key }) => ({ tag: 'delete', schema, key, sequence: sequenceAt(2) })))), what).toEqual(
        new Set(found.length === 0 ? [] : ['applied']),
      );
    };

    const amongOthers = async (schema: TableSchema, { at, over, what }: LimitCase, index: number): Promise<void> => {
      const places = Array.from({ length: Math.max(at.length, over.length) }, (_, place) => [over[place], at[place]]);
      const sent = places.flat().filter((row) => row !== undefined);
      const rows = sent.map((row) => upsertAt(schema, sequenceAt(3), row));
      const outcomes = await bench.partition.apply({ rows, progress: progressAt(index) }, never);
      expect(tags(outcomes), what).toEqual(sent.map((row) => (over.includes(row) ? 'value_refused' : 'applied')));
      const found = (await scanned(bench.sink, schema, never)).filter(({ sequence }) => sequence === sequenceAt(3));
      // Not by `toEqual` at once: a row of hundreds of kilobytes is no message for people.
      expect(
        sameRows(
          found.map(({ row }) => row),
          at,
        ),
        what,
      ).toBe(true);
      expect((await bench.sink.progress(never)).get(0), what).toEqual(progressAt(index));
    };

    const behindNewer = async (schema: TableSchema, { over, what }: LimitCase): Promise<void> => {
      const deletes = over.map((row): RowChange => ({ tag: 'delete', schema, key: keyOf(schema, row), sequence: sequenceAt(5) }));
      const deleted = await apply(deletes);
      // Of a key that is too large no tombstone can be kept either.
      expect(await apply(over.map((row) => upsertAt(schema, sequenceAt(4), row))), what).toEqual(
        deleted.map((tag) => (tag === 'applied' ? 'stale' : 'value_refused')),
      );
    };
  });

  describe('values one by one', () => {
    it('come back as they went in, or are refused where the store cannot hold them', async () => {
      const { typeCases, refusesValue, runs } = bench.context;
      const columns = typeCases.map((entry, index) => contractColumn(`c${String(index)}`, entry.sourceType, entry.type));
      const schema = contractSchema(bench.context.table('alone'), [contractColumn('id', 'bigint', bigint, false), ...columns]);
      await bench.sink.provision([schema], never);
      const value = fc.integer({ min: 0, max: typeCases.length - 1 }).chain((column) => {
        const entry = typeCases[column];
        return fc.tuple(fc.constant(column), entry === undefined ? fc.constant('') : drawable(entry));
      });
      let commit = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(value, { minLength: 20, maxLength: 60 }), async (drawn) => {
          commit += 1;
          const rows = drawn.map(([column, text], id): Row => [String(id), ...columns.map((_, at) => (at === column ? text : null))]);
          const refused = drawn.map(([column, text]) => refusesValue?.(columns[column]?.type ?? bigint, text) === true);
          const outcomes = await apply(rows.map((row) => upsertAt(schema, sequenceAt(commit), row)));
          expect(outcomes).toEqual(refused.map((is) => (is ? 'value_refused' : 'applied')));
          const found = await scanned(bench.sink, schema, never);
          const taken = rows.filter((_, at) => refused[at] === false);
          expect(found.filter(({ sequence }) => sequence === sequenceAt(commit)).map(({ row }) => row)).toEqual(taken);
        }),
        { numRuns: runs, seed: 7_331 },
      );
    });
  });
}

function sameRows(found: readonly (Row | null)[], expected: readonly Row[]): boolean {
  return JSON.stringify(found.toSorted(byText)) === JSON.stringify(expected.toSorted(byText));
}
