// The contract of a sink: what is read for a reconciliation, by keys, from a key on, and in the sink's own value domain.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { present } from '#core/assert.ts';
import { parseRowKey, type RowKey } from '#core/key.ts';
import type { TableSchema } from '#core/schema.ts';
import type { RowChange, SinkRow } from '#core/sink.ts';
import type { CanonicalType, Row } from '#core/value.ts';

import { canonicalValues } from '../support/canonical-values.ts';
import {
  bigint,
  byText,
  contractColumn,
  contractSchema,
  deleteAt,
  drawable,
  keyOf,
  scanned,
  sequenceAt,
  text,
  upsertAt,
  type SinkBench,
} from './sink.ts';

const decimal: CanonicalType = { tag: 'decimal', precision: null, scale: null };

/** Keys of one type, or of two. */
const orderedKeys: readonly { readonly name: string; readonly types: readonly (readonly [string, CanonicalType])[] }[] = [
  { name: 'text', types: [['text', text]] },
  { name: 'uuid', types: [['uuid', { tag: 'uuid' }]] },
  { name: 'numeric', types: [['numeric', decimal]] },
  { name: 'a numeric of a scale', types: [['numeric(12,2)', { tag: 'decimal', precision: 12, scale: 2 }]] },
  { name: 'timestamptz', types: [['timestamp with time zone', { tag: 'timestamptz' }]] },
  { name: 'double precision', types: [['double precision', { tag: 'float', bits: 64 }]] },
  {
    name: 'text and bigint',
    types: [
      ['text', text],
      ['bigint', bigint],
    ],
  },
];
const KEYS_DRAWN = 24;

export function sinkReads(bench: SinkBench): void {
  const { apply, never } = bench;
  const read = async (schema: TableSchema, keys: readonly RowKey[]): Promise<readonly SinkRow[]> =>
    (await bench.sink.read(schema, keys, never)).toSorted(byText);
  const keyAt = (id: string): RowKey => keyOf(bench.schema, [id, null, null]);

  describe('read', () => {
    it('gives rows, tombstones and rows without a version as a scan does, and leaves out what is not there', async () => {
      await bench.context.plant(bench.schema, ['4', 'planted', null]);
      await apply([
        upsertAt(bench.schema, sequenceAt(5), ['1', 'x', 'large']),
        deleteAt(bench.schema, sequenceAt(6), '2'),
        upsertAt(bench.schema, sequenceAt(5), ['3', null, '']),
      ]);
      const found = await read(
        bench.schema,
        ['7', '2', '1', '4', '1', '3'].map((id) => keyAt(id)),
      );
      expect(found).toEqual([
        { key: keyAt('1'), sequence: sequenceAt(5), row: ['1', 'x', 'large'] },
        { key: keyAt('2'), sequence: sequenceAt(6), row: null },
        { key: keyAt('3'), sequence: sequenceAt(5), row: ['3', null, ''] },
        { key: keyAt('4'), sequence: null, row: ['4', 'planted', null] },
      ]);
      expect(found).toEqual((await scanned(bench.sink, bench.schema, never)).toSorted(byText));
      expect(await bench.sink.read(bench.schema, [], never)).toEqual([]);
    });

    it('takes more keys than fit one request, and keys that no row can have', async () => {
      const named = contractSchema(bench.context.table('read_many'), [
        contractColumn('k', 'text', text, false),
        contractColumn('v', 'text', text),
      ]);
      await bench.sink.provision([named], never);
      const ids = Array.from({ length: bench.sink.limits.batchRowsMax }, (_, index) => String(index));
      expect(await apply(ids.map((id) => upsertAt(named, sequenceAt(1), [id, 'x'.repeat(20_000)])))).toEqual(ids.map(() => 'applied'));
      const absent = Array.from({ length: 1_200 }, (_, index) => `absent ${index}`);
      const asked = [...absent, 'k'.repeat(9_000), 'a\0b', '', ...ids].map((id) => keyOf(named, [id, null]));
      const found = await bench.sink.read(named, asked, never);
      expect(found.map(({ key }) => key).toSorted()).toEqual(ids.map((id) => keyOf(named, [id, null])).toSorted());
    });

    it('finds a key by the text that its equals share, and answers under it', async () => {
      const keyed = contractSchema(bench.context.table('read_decimal'), [
        contractColumn('k', 'numeric', decimal, false),
        contractColumn('v', 'text', text),
      ]);
      await bench.sink.provision([keyed], never);
      await apply([upsertAt(keyed, sequenceAt(1), ['1.00', 'x'])]);
      const key = keyOf(keyed, ['1', null]);
      // Asked for by a process that has not called anything yet.
      const other = bench.open();
      const back = other.readBack(keyed);
      expect(await other.read(keyed, [key], never)).toEqual([{ key, sequence: sequenceAt(1), row: back(['1.00', 'x']) }]);
    });

    it('ends with its signal', async () => {
      const controller = new AbortController();
      controller.abort(new Error('enough'));
      await expect(bench.sink.read(bench.schema, [keyAt('1')], controller.signal)).rejects.toThrow('enough');
    });
  });

  sinkReadBack(bench);

  describe('a scan goes on from the key of the last row that was seen', () => {
    for (const { name, types } of orderedKeys) {
      it(`of ${name}`, async () => {
        if (!bench.sink.scansInOrder) return;
        const keys = types.map(([sourceType, type], index) => contractColumn(`k${index}`, sourceType, type, false));
        const keyed = contractSchema(
          bench.context.table('resumed'),
          [contractColumn('v', 'text', text), ...keys],
          keys.map((_, index) => index + 1),
        );
        await bench.sink.provision([keyed], never);
        const changes = new Map<RowKey, RowChange>();
        for (const [at, texts] of drawnKeys(bench, types).entries()) {
          const row = ['v', ...texts];
          const key = keyOf(keyed, row);
          const change: RowChange =
            at % 4 === 0
              ? { tag: 'delete', schema: keyed, key, sequence: sequenceAt(1) }
              : { tag: 'upsert', schema: keyed, key, sequence: sequenceAt(1), row };
          changes.set(key, change);
        }
        expect(await apply([...changes.values()])).toEqual([...changes].map(() => 'applied'));
        const all = await scanned(bench.sink, keyed, never);
        expect(all.map(({ key }) => key).toSorted()).toEqual([...changes.keys()].toSorted());
        for (let at = 0; at < all.length; at += 3) {
          const from = parseRowKey(present(all[at], 'a row').key).columns;
          expect(await scanned(bench.sink, keyed, never, { from, to: null }), String(at)).toEqual(all.slice(at));
          expect(await scanned(bench.sink, keyed, never, { from: null, to: from }), String(at)).toEqual(all.slice(0, at));
        }
      });
    }
  });
}

/** For each way of keeping values that a sink has. */
export function sinkReadBack(bench: SinkBench): void {
  const { apply, never } = bench;
  const read = async (schema: TableSchema, keys: readonly RowKey[]): Promise<readonly SinkRow[]> =>
    (await bench.sink.read(schema, keys, never)).toSorted(byText);

  describe('readBack', () => {
    it('tells what a scan gives back of rows drawn by chance, and which are refused', async () => {
      const { typeCases } = bench.context;
      const mood: CanonicalType = { tag: 'enum', labels: ['sad', "it's", 'a,"b"'] };
      const schemaName = parseRowKey(keyOf(bench.schema, ['1', null, null])).table.split('.')[0] ?? '';
      const columns = [
        contractColumn('id', 'bigint', bigint, false),
        contractColumn('mood', `${schemaName}.mood`, mood),
        ...typeCases.map((entry, index) => contractColumn(`c${index}`, entry.sourceType, entry.type)),
      ];
      const wide = contractSchema(bench.context.table('read_back'), columns);
      await bench.sink.provision([wide], never);
      expect(await bench.sink.differences(wide, never)).toEqual([]);
      const values = [fc.constantFrom(...mood.labels), ...typeCases.map((entry) => fc.option(drawable(entry), { nil: null, freq: 10 }))];
      const row = fc.tuple(...values);
      // A value that is refused hides what the others of its row become.
      const alone = fc
        .nat({ max: values.length - 1 })
        .chain((at) => fc.tuple(...values.map((value, index) => (index === at ? value : fc.constant(null)))));
      let commit = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(fc.oneof(row, alone), { minLength: 1, maxLength: 20 }), async (drawn) => {
          commit += 1;
          // Keys of a round of their own.
          const rows = drawn.map((one, id): Row => [String(commit * 100 + id), ...one]);
          const outcomes = await apply(rows.map((one) => upsertAt(wide, sequenceAt(commit), one)));
          const told = rows.map((one) => bench.sink.readBack(wide)(one));
          expect(outcomes).toEqual(told.map((one) => (one === null ? 'value_refused' : 'applied')));
          const range = { from: [String(commit * 100)], to: [String(commit * 100 + 100)] };
          const found = await scanned(bench.sink, wide, never, range);
          expect(found.map((one) => one.row)).toEqual(told.filter((one) => one !== null));
          const keys = rows.map((one) => keyOf(wide, one));
          expect(await read(wide, keys)).toEqual(found.toSorted(byText));
        }),
        { numRuns: bench.context.runs, seed: 81_532 },
      );
    });

    it('tells it of keys of every type, which a read finds', async () => {
      const { typeCases, refusesKey } = bench.context;
      const keyTypes = typeCases.filter(({ type }) => !['json', 'interval', 'array', 'other'].includes(type.tag));
      for (const [index, entry] of keyTypes.entries()) {
        const keyed = contractSchema(
          bench.context.table(`back${index}`),
          [contractColumn('v', 'text', text), contractColumn('k', entry.sourceType, entry.type, false)],
          [1],
        );
        await bench.sink.provision([keyed], never);
        const byKey = new Map<RowKey, Row>();
        for (const edge of entry.edges) if (refusesKey?.(entry.type, edge) !== true) byKey.set(keyOf(keyed, ['x', edge]), ['x', edge]);
        const changes = [...byKey].map(([key, row]): RowChange => ({ tag: 'upsert', schema: keyed, key, sequence: sequenceAt(2), row }));
        expect(await apply(changes), entry.sourceType).toEqual(changes.map(() => 'applied'));
        const told = [...byKey].map(([key, row]) => ({ key, sequence: sequenceAt(2), row: bench.sink.readBack(keyed)(row) }));
        expect(await read(keyed, [...byKey.keys()]), entry.sourceType).toEqual(told.toSorted(byText));
        expect((await scanned(bench.sink, keyed, never)).toSorted(byText), entry.sourceType).toEqual(told.toSorted(byText));
      }
    });
  });
}

function drawnKeys(bench: SinkBench, types: readonly (readonly [string, CanonicalType])[]): readonly (readonly string[])[] {
  const { typeCases, refusesKey, ordersNaN = true } = bench.context;
  const columns = types.map(([sourceType, type]) => {
    const edges = typeCases.find((entry) => entry.sourceType === sourceType)?.edges ?? [];
    const drawn = fc.sample(canonicalValues(type), { numRuns: KEYS_DRAWN, seed: 99 });
    return [...edges, ...drawn].filter((value) => refusesKey?.(type, value) !== true && (ordersNaN || value !== 'NaN'));
  });
  const longest = Math.max(...columns.map((column) => column.length));
  // Several keys share their first column.
  return Array.from({ length: longest }, (_, at) =>
    columns.map((column, place) => present(column[(place === 0 && columns.length > 1 ? at >> 2 : at) % column.length], 'a text of a key')),
  );
}
