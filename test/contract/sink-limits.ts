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
    const provisioned = async (limit: LimitCase, index: number): Promise<TableSchema> => {
      const schema = contractSchema(bench.context.table(`limit${String(index)}`), limit.columns, limit.key);
      await bench.sink.provision([schema], never);
      return schema;
    };

    it('a row just at one is taken as it is; one over it is refused, alone and without a trace', async () => {
      for (const [index, limit] of bench.context.limitCases.entries()) {
        const schema = await provisioned(limit, index);
        const longest = Math.max(limit.at.length, limit.over.length);
        const rows = Array.from({ length: longest }, (_, place) => [limit.over[place], limit.at[place]]).flat();
        const sent = rows.filter((row) => row !== undefined);
        const outcomes = await bench.partition.apply(
          { rows: sent.map((row) => upsertAt(schema, sequenceAt(1), row)), progress: progressAt(index) },
          never,
        );
        expect(tags(outcomes), limit.what).toEqual(sent.map((row) => (limit.over.includes(row) ? 'value_refused' : 'applied')));
        const found = (await scanned(bench.sink, schema, never)).map(({ row }) => row);
        // Not by `toEqual` at once: a row of hundreds of kilobytes is no message for people.
        expect(sameRows(found, limit.at), limit.what).toBe(true);
        expect((await bench.sink.progress(never)).get(0), limit.what).toEqual(progressAt(index));
      }
    });

    it('a row over one is stale, and not refused, where something newer is stored', async () => {
      for (const [index, limit] of bench.context.limitCases.entries()) {
        const schema = await provisioned(limit, index);
        const deletes = limit.over.map((row): RowChange => ({ tag: 'delete', schema, key: keyOf(schema, row), sequence: sequenceAt(2) }));
        const deleted = await apply(deletes);
        const outcomes = await apply(limit.over.map((row) => upsertAt(schema, sequenceAt(1), row)));
        // Of a key that is too large no tombstone can be kept either.
        expect(outcomes, limit.what).toEqual(deleted.map((tag) => (tag === 'applied' ? 'stale' : 'value_refused')));
      }
    });

    it('a partial image that would make a row too large is refused, and the row stays as it was', async () => {
      for (const [index, limit] of bench.context.limitCases.entries()) {
        const schema = await provisioned(limit, index);
        const isKey = (column: number): boolean => schema.key.includes(column);
        const bare = (row: Row): Row => row.map((value, column) => (isKey(column) ? value : null));
        const bases = limit.over.map(bare);
        if ((await apply(bases.map((row) => upsertAt(schema, sequenceAt(1), row)))).some((tag) => tag !== 'applied')) continue;
        expect(await apply(limit.over.map((row) => partialAt(schema, sequenceAt(2), row))), limit.what).toEqual(
          limit.over.map(() => 'value_refused'),
        );
        const found = await scanned(bench.sink, schema, never);
        expect(
          found.map(({ sequence }) => sequence),
          limit.what,
        ).toEqual(bases.map(() => sequenceAt(1)));
        expect(
          sameRows(
            found.map(({ row }) => row),
            bases,
          ),
          limit.what,
        ).toBe(true);
      }
    });
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
