import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { present } from '#core/assert.ts';
import { codeOf } from '#core/errors.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import { epochMicrosOf, epochOf, fencingTokenOf, offsetOf } from '#core/position.ts';
import { tableSchema, type Column, type TableId, type TableSchema } from '#core/schema.ts';
import { encodeSequence, type Sequence } from '#core/sequence.ts';
import type { RowChange, RowOutcome, Sink, SinkPartition, SinkProgress, SinkRow } from '#core/sink.ts';
import type { CanonicalType, Row } from '#core/value.ts';

import { canonicalValues, type TypeCase } from '../support/canonical-values.ts';

/** A store for one test. `Symbol.asyncDispose` ends it; sinks that `open` gave are ended by the tests. */
export type SinkContext = AsyncDisposable & {
  /** The sink `s` of the pipeline `p`, with four partitions. Called twice, it gives what a second process would have. */
  open(): Sink;
  /** A table of this test's own. */
  table(name: string): TableId;
  /** Live rows, read beside the sink, as an application would. In no order. */
  liveRows(schema: TableSchema): Promise<readonly Row[]>;
  /** Puts a row into the replicated table beside the sink: it has no version. */
  plant(schema: TableSchema, row: Row): Promise<void>;
  /** Takes a copy of the stored progress and fences; what it returns puts them back, as a failover to an older replica does. */
  keepProgress(): Promise<() => Promise<void>>;
  /** Loses the claim and nothing else: what a restore of a state from before it does. */
  dropClaim(): Promise<void>;
  /** Types whose every value the store holds without loss. */
  readonly typeCases: readonly TypeCase[];
  /** A type, with a text that looks like one of its values and that the store refuses for ever. */
  readonly poison: { readonly sourceType: string; readonly type: CanonicalType; readonly good: string; readonly bad: string };
  /** True for a store that a table can be missing from. Others skip those tests. */
  readonly hasTables: boolean;
  /** Runs of each property. */
  readonly runs: number;
};

const text: CanonicalType = { tag: 'text' };
const bigint: CanonicalType = { tag: 'int', bits: 64, unsigned: false };

export function contractColumn(name: string, sourceType: string, type: CanonicalType, nullable = true): Column {
  return { name, type, sourceType, nullable, constantDefault: null };
}

export function contractSchema(table: TableId, columns: readonly Column[], key: readonly number[] = [0]): TableSchema {
  return tableSchema({ table, columns, key });
}

/** `id bigint, a text, big text`: what most tests use. */
function plainSchema(table: TableId): TableSchema {
  return contractSchema(table, [
    contractColumn('id', 'bigint', bigint, false),
    contractColumn('a', 'text', text),
    contractColumn('big', 'text', text),
  ]);
}

export function sequenceAt(commit: number, change = 1): Sequence {
  return encodeSequence({ epoch: epochOf(1), commit: BigInt(commit), change: BigInt(change), sub: 1 });
}

export function upsertAt(schema: TableSchema, sequence: Sequence, row: Row): RowChange {
  return { tag: 'upsert', schema, key: keyOf(schema, row), sequence, row };
}

export function partialAt(schema: TableSchema, sequence: Sequence, row: Row): RowChange {
  return { tag: 'partial', schema, key: keyOf(schema, row), sequence, row };
}

export function deleteAt(schema: TableSchema, sequence: Sequence, id: string): RowChange {
  return { tag: 'delete', schema, key: JSON.stringify([schema.table, id]) as RowKey, sequence };
}

export function progressAt(counter: number, more: Partial<SinkProgress> = {}): SinkProgress {
  return {
    offset: offsetOf(counter),
    pair: { generation: fencingTokenOf(1), counter },
    holder: 'h',
    watermark: null,
    floors: [],
    openLoads: [],
    epochs: [],
    ...more,
  };
}

function keyOf(schema: TableSchema, row: Row): RowKey {
  return present(rowKeyOf(schema, row), 'key of a test row');
}

const tags = (outcomes: readonly RowOutcome[]): readonly string[] =>
  outcomes.map((outcome) => (outcome.tag === 'rejected' ? outcome.code : outcome.tag));

async function codeThrown(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return codeOf(error);
  }
  return 'nothing';
}

export async function scanned(
  sink: Sink,
  schema: TableSchema,
  signal: AbortSignal,
  range = { from: null, to: null } as KeyRangeText,
): Promise<SinkRow[]> {
  const rows: SinkRow[] = [];
  for await (const page of sink.scan(schema, range, signal)) rows.push(...page);
  return rows;
}
type KeyRangeText = { readonly from: readonly string[] | null; readonly to: readonly string[] | null };

const byText = (a: unknown, b: unknown): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);

/** What every sink has to keep. DESIGN's sections 3 and 7 are the reasons. */
export function sinkContract(name: string, makeContext: () => Promise<SinkContext>): void {
  describe(`${name}: sink contract`, () => {
    const never = new AbortController().signal;
    const owner = { owner: 'o', known: false };
    let context: SinkContext;
    let sink: Sink;
    let schema: TableSchema;
    let partition: SinkPartition;
    let opened: AsyncDisposable[];

    const open = (): Sink => {
      const another = context.open();
      opened.push(another);
      return another;
    };
    const assign = async (of: Sink, number: number): Promise<SinkPartition> => {
      await of.claim(owner, never);
      const given = await of.assign(number, never);
      opened.push(given);
      return given;
    };
    const apply = async (rows: readonly RowChange[], to = partition): Promise<readonly string[]> =>
      tags(await to.apply({ rows, progress: null }, never));
    /** Sequence and row of one key. `undefined` where the sink knows nothing of it. */
    const stored = async (of: TableSchema, key: RowKey): Promise<{ sequence: Sequence | null; row: Row | null } | undefined> => {
      const found = (await scanned(sink, of, never)).filter((entry) => entry.key === key);
      expect(found.length).toBeLessThan(2);
      const entry = found[0];
      return entry === undefined ? undefined : { sequence: entry.sequence, row: entry.row };
    };
    const one = async (): Promise<{ sequence: Sequence | null; row: Row | null } | undefined> =>
      stored(schema, keyOf(schema, ['1', null, null]));

    beforeEach(async () => {
      opened = [];
      context = await makeContext();
      sink = open();
      schema = plainSchema(context.table('plain'));
      await sink.provision([schema], never);
      partition = await assign(sink, 0);
    });
    afterEach(async () => {
      for (const one of opened.reverse()) await one[Symbol.asyncDispose]();
      await context[Symbol.asyncDispose]();
    });

    describe('provision', () => {
      it('can be done again, also by two at once, and leaves nothing that differs', async () => {
        const more = plainSchema(context.table('more'));
        const other = open();
        await Promise.all([sink.provision([schema, more], never), other.provision([more, schema], never)]);
        await sink.provision([schema, more], never);
        expect(await sink.differences(schema, never)).toEqual([]);
        expect(await sink.differences(more, never)).toEqual([]);
      });

      it('keeps the rows that are there', async () => {
        await apply([upsertAt(schema, sequenceAt(5), ['1', 'x', 'y'])]);
        await open().provision([schema], never);
        expect(await one()).toEqual({ sequence: sequenceAt(5), row: ['1', 'x', 'y'] });
      });

      it('tells whether the replicated table holds rows', async () => {
        expect(await sink.holdsRows(schema, never)).toBe(false);
        await apply([deleteAt(schema, sequenceAt(1), '7')]);
        expect(await sink.holdsRows(schema, never)).toBe(false);
        await context.plant(schema, ['1', null, null]);
        expect(await sink.holdsRows(schema, never)).toBe(true);
      });
    });

    describe('a row is a register of its greatest sequence', () => {
      it('takes a first, a newer, and neither an equal nor an older image', async () => {
        expect(await apply([upsertAt(schema, sequenceAt(5), ['1', 'five', null])])).toEqual(['applied']);
        expect(await apply([upsertAt(schema, sequenceAt(5), ['1', 'again', null])])).toEqual(['stale']);
        expect(await apply([upsertAt(schema, sequenceAt(4), ['1', 'four', null])])).toEqual(['stale']);
        expect(await one()).toEqual({ sequence: sequenceAt(5), row: ['1', 'five', null] });
        expect(await apply([upsertAt(schema, sequenceAt(6), ['1', 'six', 'b'])])).toEqual(['applied']);
        expect(await one()).toEqual({ sequence: sequenceAt(6), row: ['1', 'six', 'b'] });
        expect(await context.liveRows(schema)).toEqual([['1', 'six', 'b']]);
      });

      it('compares all 24 bytes, unsigned', async () => {
        const at = (epoch: number, commit: bigint, change: bigint, sub: number): Sequence =>
          encodeSequence({ epoch: epochOf(epoch), commit, change, sub });
        const rising = [
          at(1, 5n, 0n, 0),
          at(1, 5n, 1n, 0),
          at(1, 5n, 1n, 1),
          at(1, 5n, 0x8000_0000_0000_0000n, 0),
          at(1, 0x7fff_ffff_ffff_ffffn, 0n, 1),
          at(1, 0x8000_0000_0000_0000n, 0n, 1),
          at(2, 0n, 0n, 1),
          at(0x8000_0000, 0n, 0n, 1),
          at(0xffff_ffff, 0n, 0n, 1),
        ];
        for (const [index, sequence] of rising.entries()) {
          const before = rising[index - 1];
          expect(await apply([upsertAt(schema, sequence, ['1', String(index), null])])).toEqual(['applied']);
          if (before !== undefined) expect(await apply([upsertAt(schema, before, ['1', 'old', null])])).toEqual(['stale']);
          expect((await one())?.sequence).toBe(sequence);
        }
      });

      it('takes over a row that has no version yet', async () => {
        await context.plant(schema, ['1', 'planted', null]);
        await context.plant(schema, ['2', 'planted', null]);
        expect(await one()).toEqual({ sequence: null, row: ['1', 'planted', null] });
        expect(await apply([upsertAt(schema, sequenceAt(1), ['1', 'new', null]), deleteAt(schema, sequenceAt(1), '2')])).toEqual([
          'applied',
          'applied',
        ]);
        expect(await context.liveRows(schema)).toEqual([['1', 'new', null]]);
      });

      it('a delete leaves a tombstone, and nothing older brings the row back', async () => {
        await apply([upsertAt(schema, sequenceAt(5), ['1', 'x', null])]);
        expect(await apply([deleteAt(schema, sequenceAt(6), '1')])).toEqual(['applied']);
        expect(await context.liveRows(schema)).toEqual([]);
        expect(await one()).toEqual({ sequence: sequenceAt(6), row: null });
        expect(await apply([upsertAt(schema, sequenceAt(5), ['1', 'x', null])])).toEqual(['stale']);
        expect(await apply([deleteAt(schema, sequenceAt(6), '1')])).toEqual(['stale']);
        expect(await apply([deleteAt(schema, sequenceAt(4), '1')])).toEqual(['stale']);
        expect(await context.liveRows(schema)).toEqual([]);
        expect(await apply([upsertAt(schema, sequenceAt(7), ['1', 'back', null])])).toEqual(['applied']);
        expect(await context.liveRows(schema)).toEqual([['1', 'back', null]]);
      });

      it('a delete before the insert leaves a tombstone too', async () => {
        expect(await apply([deleteAt(schema, sequenceAt(9), '1')])).toEqual(['applied']);
        expect(await one()).toEqual({ sequence: sequenceAt(9), row: null });
        expect(await apply([upsertAt(schema, sequenceAt(8), ['1', 'late', null])])).toEqual(['stale']);
        expect(await context.liveRows(schema)).toEqual([]);
      });

      it('an older delete does not harm a row', async () => {
        await apply([upsertAt(schema, sequenceAt(5), ['1', 'x', null])]);
        expect(await apply([deleteAt(schema, sequenceAt(4), '1')])).toEqual(['stale']);
        expect(await context.liveRows(schema)).toEqual([['1', 'x', null]]);
      });

      it('answers in the order of the rows, whatever happens to each', async () => {
        await apply([upsertAt(schema, sequenceAt(5), ['3', 'x', null]), upsertAt(schema, sequenceAt(5), ['5', 'x', null])]);
        const outcomes = await apply([
          upsertAt(schema, sequenceAt(6), ['9', 'new', null]),
          upsertAt(schema, sequenceAt(4), ['3', 'old', null]),
          partialAt(schema, sequenceAt(6), ['8', 'no base', undefined]),
          deleteAt(schema, sequenceAt(6), '1'),
          partialAt(schema, sequenceAt(6), ['5', 'part', undefined]),
          upsertAt(schema, sequenceAt(6), ['2', 'new', null]),
        ]);
        expect(outcomes).toEqual(['applied', 'stale', 'partial_without_base', 'applied', 'applied', 'applied']);
      });

      it('takes an empty batch, and a large one with every kind of row', async () => {
        expect(await apply([])).toEqual([]);
        const ids = Array.from({ length: sink.limits.batchRowsMax }, (_, index) => String(index));
        const first = await apply(ids.map((id) => upsertAt(schema, sequenceAt(1), [id, id, null])));
        expect(first.every((tag) => tag === 'applied')).toBe(true);
        const second = await apply(
          ids.map((id, index) =>
            index % 3 === 0
              ? deleteAt(schema, sequenceAt(2), id)
              : index % 3 === 1
                ? upsertAt(schema, sequenceAt(2), [id, 'two', null])
                : upsertAt(schema, sequenceAt(1), [id, 'old', null]),
          ),
        );
        expect(second).toEqual(ids.map((_, index) => (index % 3 === 2 ? 'stale' : 'applied')));
        expect(await context.liveRows(schema)).toHaveLength(ids.length - Math.ceil(ids.length / 3));
      });

      it('takes rows of several tables in one batch', async () => {
        const second = plainSchema(context.table('second'));
        await sink.provision([schema, second], never);
        const outcomes = await apply([
          upsertAt(second, sequenceAt(2), ['1', 'second', null]),
          upsertAt(schema, sequenceAt(2), ['1', 'first', null]),
          deleteAt(second, sequenceAt(2), '2'),
        ]);
        expect(outcomes).toEqual(['applied', 'applied', 'applied']);
        expect(await context.liveRows(schema)).toEqual([['1', 'first', null]]);
        expect(await context.liveRows(second)).toEqual([['1', 'second', null]]);
      });

      it('ends as the newest event of each key, however events are shuffled, repeated, cut and run side by side', async () => {
        const operations = fc.array(
          fc.record({ id: fc.integer({ min: 1, max: 4 }), at: fc.integer({ min: 1, max: 30 }), deleted: fc.boolean() }),
          { minLength: 1, maxLength: 40 },
        );
        const second = open();
        const appliers = [partition, await assign(second, 1)];
        let round = 0;
        await fc.assert(
          fc.asyncProperty(operations, fc.array(fc.nat(), { minLength: 80, maxLength: 80 }), async (drawn, chance) => {
            // Keys of a round of their own: nothing is left over from the one before it.
            round += 1;
            const prefix = round * 10;
            const events = drawn.map(({ id, at, deleted }) => {
              const key = String(prefix + id);
              // One sequence, one event: the same place in the source's log cannot hold two.
              const isDelete = deleted && at % 2 === 0;
              const event = isDelete
                ? deleteAt(schema, sequenceAt(at), key)
                : upsertAt(schema, sequenceAt(at), [key, `v${String(at)}`, null]);
              return { key, at, isDelete, event };
            });
            const unique = new Map<string, (typeof events)[number]>();
            for (const event of events) {
              const known = unique.get(`${event.key}/${String(event.at)}`);
              if (known === undefined) unique.set(`${event.key}/${String(event.at)}`, event);
            }
            const sent = [...unique.values(), ...unique.values()]
              .map((event, index) => ({ event, order: present(chance[index % chance.length], 'chance') }))
              .sort((a, b) => a.order - b.order)
              .map(({ event }) => event);
            const shares = [sent.filter((_, index) => index % 2 === 0), sent.filter((_, index) => index % 2 === 1)];
            await Promise.all(
              shares.map(async (share, index) => {
                for (const batch of batchesOfDistinctKeys(share.map(({ event }) => event))) {
                  await retried(() => present(appliers[index], 'applier').apply({ rows: batch, progress: null }, never));
                }
              }),
            );
            const newest = new Map<string, (typeof events)[number]>();
            for (const event of unique.values()) if ((newest.get(event.key)?.at ?? 0) < event.at) newest.set(event.key, event);
            const expected = [...newest.values()].map((event) => ({
              key: event.event.key,
              sequence: event.event.sequence,
              row: event.isDelete ? null : [event.key, `v${String(event.at)}`, null],
            }));
            const found = await scanned(sink, schema, never, { from: [String(prefix)], to: [String(prefix + 10)] });
            expect([...found].sort(byText)).toEqual([...expected].sort(byText));
            const live = (await context.liveRows(schema)).filter((row) => Math.floor(Number(row[0]) / 10) === round);
            expect([...live].sort(byText)).toEqual(expected.flatMap((entry) => (entry.row === null ? [] : [entry.row])).sort(byText));
          }),
          { numRuns: context.runs, seed: 20_261 },
        );
      });
    });

    describe('a partial image', () => {
      it('changes what it has and leaves the rest', async () => {
        await apply([upsertAt(schema, sequenceAt(5), ['1', 'x', 'large'])]);
        expect(await apply([partialAt(schema, sequenceAt(6), ['1', 'y', undefined])])).toEqual(['applied']);
        expect(await one()).toEqual({ sequence: sequenceAt(6), row: ['1', 'y', 'large'] });
        expect(await apply([partialAt(schema, sequenceAt(7), ['1', null, undefined])])).toEqual(['applied']);
        expect(await one()).toEqual({ sequence: sequenceAt(7), row: ['1', null, 'large'] });
      });

      it('is stale on an equal or newer row, and behind an equal or newer tombstone', async () => {
        await apply([upsertAt(schema, sequenceAt(5), ['1', 'x', 'large'])]);
        expect(await apply([partialAt(schema, sequenceAt(5), ['1', 'y', undefined])])).toEqual(['stale']);
        expect(await apply([partialAt(schema, sequenceAt(4), ['1', 'y', undefined])])).toEqual(['stale']);
        expect(await one()).toEqual({ sequence: sequenceAt(5), row: ['1', 'x', 'large'] });
        await apply([deleteAt(schema, sequenceAt(8), '1')]);
        expect(await apply([partialAt(schema, sequenceAt(8), ['1', 'y', undefined])])).toEqual(['stale']);
        expect(await apply([partialAt(schema, sequenceAt(7), ['1', 'y', undefined])])).toEqual(['stale']);
        expect(await one()).toEqual({ sequence: sequenceAt(8), row: null });
      });

      it('creates nothing: without a row it is rejected and leaves no trace', async () => {
        expect(await apply([partialAt(schema, sequenceAt(5), ['1', 'y', undefined])])).toEqual(['partial_without_base']);
        expect(await one()).toBeUndefined();
        // The image that was missing may come later with a lower sequence, and takes effect.
        expect(await apply([upsertAt(schema, sequenceAt(4), ['1', 'x', 'large'])])).toEqual(['applied']);
        expect(await apply([partialAt(schema, sequenceAt(5), ['1', 'y', undefined])])).toEqual(['applied']);
        expect(await one()).toEqual({ sequence: sequenceAt(5), row: ['1', 'y', 'large'] });
      });

      it('does not revive a row behind an older tombstone', async () => {
        await apply([deleteAt(schema, sequenceAt(5), '1')]);
        expect(await apply([partialAt(schema, sequenceAt(6), ['1', 'y', undefined])])).toEqual(['partial_without_base']);
        expect(await one()).toEqual({ sequence: sequenceAt(5), row: null });
        expect(await context.liveRows(schema)).toEqual([]);
      });

      it('takes effect on a row without a version', async () => {
        await context.plant(schema, ['1', 'planted', 'large']);
        expect(await apply([partialAt(schema, sequenceAt(1), ['1', 'y', undefined])])).toEqual(['applied']);
        expect(await one()).toEqual({ sequence: sequenceAt(1), row: ['1', 'y', 'large'] });
      });

      it('of several shapes in one batch, each changes its own columns', async () => {
        await apply(['1', '2', '3'].map((id) => upsertAt(schema, sequenceAt(5), [id, `a${id}`, `b${id}`])));
        const outcomes = await apply([
          partialAt(schema, sequenceAt(6), ['3', undefined, 'new']),
          partialAt(schema, sequenceAt(6), ['1', 'new', undefined]),
          partialAt(schema, sequenceAt(6), ['2', undefined, undefined]),
        ]);
        expect(outcomes).toEqual(['applied', 'applied', 'applied']);
        expect((await scanned(sink, schema, never)).map(({ sequence, row }) => [sequence, row])).toEqual([
          [sequenceAt(6), ['1', 'new', 'b1']],
          [sequenceAt(6), ['2', 'a2', 'b2']],
          [sequenceAt(6), ['3', 'a3', 'new']],
        ]);
      });
    });

    describe('a row that the store refuses', () => {
      let poisoned: TableSchema;
      const row = (id: string, value: string): Row => [id, value];

      beforeEach(async () => {
        poisoned = contractSchema(context.table('poisoned'), [
          contractColumn('id', 'bigint', bigint, false),
          contractColumn('v', context.poison.sourceType, context.poison.type),
        ]);
        await sink.provision([poisoned], never);
      });

      it('is rejected alone, wherever it stands in the batch', async () => {
        const ids = Array.from({ length: 9 }, (_, index) => String(index));
        let commit = 0;
        for (const bad of [...ids.map((id) => [id]), ['0', '8'], ['3', '4'], ids]) {
          commit += 1;
          const rows = ids.map((id) =>
            upsertAt(poisoned, sequenceAt(commit), row(id, bad.includes(id) ? context.poison.bad : context.poison.good)),
          );
          const outcomes = await partition.apply({ rows, progress: null }, never);
          expect(tags(outcomes)).toEqual(ids.map((id) => (bad.includes(id) ? 'value_refused' : 'applied')));
          for (const outcome of outcomes) if (outcome.tag === 'rejected') expect(outcome.reason).not.toContain(context.poison.bad);
          const found = await scanned(sink, poisoned, never);
          for (const { key, sequence } of found) {
            const id = present(JSON.parse(key) as string[], 'key')[1];
            expect(sequence === sequenceAt(commit)).toBe(!bad.includes(present(id, 'id')));
          }
        }
      });

      it('leaves no trace, and newer good images take effect', async () => {
        const key = keyOf(poisoned, row('1', ''));
        expect(await apply([upsertAt(poisoned, sequenceAt(5), row('1', context.poison.bad))])).toEqual(['value_refused']);
        expect(await stored(poisoned, key)).toBeUndefined();
        expect(await apply([upsertAt(poisoned, sequenceAt(6), row('1', context.poison.good))])).toEqual(['applied']);
        expect((await stored(poisoned, key))?.sequence).toBe(sequenceAt(6));
      });

      it('is stale, and not refused, once something newer is stored', async () => {
        await apply([upsertAt(poisoned, sequenceAt(6), row('1', context.poison.good)), deleteAt(poisoned, sequenceAt(6), '2')]);
        expect(
          await apply([
            upsertAt(poisoned, sequenceAt(5), row('1', context.poison.bad)),
            upsertAt(poisoned, sequenceAt(5), row('2', context.poison.bad)),
            upsertAt(poisoned, sequenceAt(5), row('3', context.poison.bad)),
          ]),
        ).toEqual(['stale', 'stale', 'value_refused']);
      });

      it('in a partial image is rejected alone too', async () => {
        await apply(['1', '2'].map((id) => upsertAt(poisoned, sequenceAt(1), row(id, context.poison.good))));
        expect(
          await apply([
            partialAt(poisoned, sequenceAt(2), row('1', context.poison.bad)),
            partialAt(poisoned, sequenceAt(2), row('2', context.poison.good)),
          ]),
        ).toEqual(['value_refused', 'applied']);
        expect((await stored(poisoned, keyOf(poisoned, row('1', ''))))?.sequence).toBe(sequenceAt(1));
      });

      it('does not keep the batch from storing progress', async () => {
        const rows = [
          upsertAt(poisoned, sequenceAt(5), row('1', context.poison.bad)),
          upsertAt(poisoned, sequenceAt(5), row('2', context.poison.good)),
        ];
        await partition.apply({ rows, progress: progressAt(3) }, never);
        expect((await sink.progress(never)).get(0)).toEqual(progressAt(3));
      });
    });

    describe('progress', () => {
      const full = progressAt(7, {
        offset: offsetOf(9_007_199_254_740_991),
        watermark: { sequence: sequenceAt(3), sourceTime: epochMicrosOf(1_790_000_000_123_456) },
        floors: [{ table: 'public.a' as TableId, sequence: sequenceAt(2) }],
        openLoads: ['public.b' as TableId],
        epochs: [{ epoch: epochOf(2), fork: '00000000000000ff' }],
      });

      it('is absent before the first, and comes back whole', async () => {
        expect(partition.start).toBeNull();
        expect((await sink.progress(never)).size).toBe(0);
        expect(await partition.save(full, never)).toEqual(full);
        expect((await sink.progress(never)).get(0)).toEqual(full);
        expect((await assign(sink, 0)).start).toEqual(full);
        expect((await assign(sink, 1)).start).toBeNull();
      });

      it('may begin without a pair', async () => {
        const start = progressAt(5, { pair: null, holder: null });
        expect(await partition.save(start, never)).toEqual(start);
        expect((await assign(open(), 0)).start).toEqual(start);
      });

      it('takes a pair where there was none, and not the other way round', async () => {
        await partition.save(progressAt(5, { pair: null, holder: null }), never);
        expect(await partition.save(progressAt(6), never)).toEqual(progressAt(6));
        expect(await partition.save(progressAt(6, { pair: null, holder: null }), never)).toEqual(progressAt(6));
      });

      it('never falls, by generation, then by counter, then by offset', async () => {
        const at = (generation: number, counter: number, offset: number): SinkProgress =>
          progressAt(offset, { pair: { generation: fencingTokenOf(generation), counter } });
        await partition.save(at(2, 10, 30), never);
        expect(await partition.save(at(2, 9, 29), never)).toEqual(at(2, 10, 30));
        expect(await partition.save(at(1, 99, 28), never)).toEqual(at(2, 10, 30));
        await partition.apply({ rows: [upsertAt(schema, sequenceAt(1), ['1', null, null])], progress: at(2, 8, 28) }, never);
        expect((await sink.progress(never)).get(0)).toEqual(at(2, 10, 30));
        expect(await partition.save(at(2, 10, 31), never)).toEqual(at(2, 10, 31));
        expect(await partition.save(at(3, 1, 31), never)).toEqual(at(3, 1, 31));
        expect((await sink.progress(never)).get(0)).toEqual(at(3, 1, 31));
      });

      it('is stored with the rows of its batch, and left alone where the batch brings none', async () => {
        await partition.apply({ rows: [upsertAt(schema, sequenceAt(1), ['1', 'x', null])], progress: full }, never);
        expect((await sink.progress(never)).get(0)).toEqual(full);
        await partition.apply({ rows: [upsertAt(schema, sequenceAt(2), ['1', 'y', null])], progress: null }, never);
        expect((await sink.progress(never)).get(0)).toEqual(full);
        await partition.apply({ rows: [], progress: progressAt(8) }, never);
        expect((await sink.progress(never)).get(0)).toEqual(progressAt(8));
      });

      it('is kept for each partition alone', async () => {
        const second = await assign(sink, 1);
        await partition.save(progressAt(3), never);
        await second.save(progressAt(4), never);
        expect([...(await sink.progress(never))].sort(byText)).toEqual([
          [0, progressAt(3)],
          [1, progressAt(4)],
        ]);
      });

      it('that went back below what this worker has seen is noticed, before anything is written', async () => {
        await partition.save(progressAt(3), never);
        const restore = await context.keepProgress();
        await partition.save(progressAt(5), never);
        await restore();
        const batch = { rows: [upsertAt(schema, sequenceAt(1), ['1', 'x', null])], progress: progressAt(6) };
        expect(await codeThrown(partition.apply(batch, never))).toBe('sink_went_back');
        expect(await codeThrown(partition.save(progressAt(6), never))).toBe('sink_went_back');
        expect(await one()).toBeUndefined();
        const again = await assign(sink, 0);
        expect(again.start).toEqual(progressAt(3));
        expect(tags(await again.apply(batch, never))).toEqual(['applied']);
      });

      it('that lost a batch which did not move it is noticed, before it is moved past that batch', async () => {
        await partition.save(progressAt(3), never);
        const restore = await context.keepProgress();
        await partition.apply({ rows: [upsertAt(schema, sequenceAt(1), ['1', 'x', null])], progress: progressAt(3) }, never);
        await restore();
        expect(await codeThrown(partition.save(progressAt(4), never))).toBe('sink_went_back');
        expect((await assign(sink, 0)).start).toEqual(progressAt(3));
      });

      it('whose fence went back is noticed too', async () => {
        const restore = await context.keepProgress();
        const newer = await assign(sink, 0);
        await restore();
        expect(await codeThrown(newer.apply({ rows: [upsertAt(schema, sequenceAt(1), ['1', 'x', null])], progress: null }, never))).toBe(
          'sink_went_back',
        );
        expect(await one()).toBeUndefined();
      });
    });

    describe('the fence', () => {
      it('rises with each holder, for each partition alone', async () => {
        const second = await assign(open(), 0);
        const third = await assign(sink, 0);
        expect(second.token).toBe(partition.token + 1);
        expect(third.token).toBe(second.token + 1);
        expect((await assign(sink, 1)).token).toBe(partition.token);
      });

      it('ends the older holder, which then changes nothing', async () => {
        const second = await assign(open(), 0);
        const batch = { rows: [upsertAt(schema, sequenceAt(1), ['1', 'x', null])], progress: progressAt(5) };
        expect(await codeThrown(partition.apply(batch, never))).toBe('partition_fenced');
        expect(await codeThrown(partition.save(progressAt(5), never))).toBe('partition_fenced');
        expect(await one()).toBeUndefined();
        expect((await sink.progress(never)).size).toBe(0);
        expect(tags(await second.apply(batch, never))).toEqual(['applied']);
      });

      it('raised while the older holder writes leaves all of its batch or nothing', async () => {
        const second = open();
        const rows = Array.from({ length: 50 }, (_, id) => upsertAt(schema, sequenceAt(1), [String(id), 'x', null]));
        const [outcome, newer] = await Promise.all([
          codeThrown(partition.apply({ rows, progress: progressAt(2) }, never)),
          assign(second, 0),
        ]);
        const found = (await context.liveRows(schema)).length;
        expect(outcome === 'nothing' ? found : -found).toBe(outcome === 'nothing' ? 50 : -0);
        if (outcome === 'nothing') expect((await sink.progress(never)).get(0)).toEqual(progressAt(2));
        else expect(outcome).toBe('partition_fenced');
        expect(newer.token).toBe(partition.token + 1);
      });
    });

    describe('sweep', () => {
      const floorAt = (commit: number) => ({ table: schema.table, sequence: sequenceAt(commit) });

      it('tombstones what is older, with or without a version, and nothing else', async () => {
        await context.plant(schema, ['1', 'planted', null]);
        await apply([
          upsertAt(schema, sequenceAt(3), ['2', 'old', null]),
          upsertAt(schema, sequenceAt(5), ['3', 'at the floor', null]),
          upsertAt(schema, sequenceAt(6), ['4', 'newer', null]),
          deleteAt(schema, sequenceAt(3), '5'),
          deleteAt(schema, sequenceAt(6), '6'),
        ]);
        await sink.sweep(schema, floorAt(5), never);
        expect((await scanned(sink, schema, never)).map(({ sequence, row }) => [sequence, row])).toEqual([
          [sequenceAt(5), null],
          [sequenceAt(5), null],
          [sequenceAt(5), ['3', 'at the floor', null]],
          [sequenceAt(6), ['4', 'newer', null]],
          [sequenceAt(5), null],
          [sequenceAt(6), null],
        ]);
        expect((await context.liveRows(schema)).map((row) => row[0]).sort(byText)).toEqual(['3', '4']);
        expect(await apply([upsertAt(schema, sequenceAt(4), ['5', 'late', null])])).toEqual(['stale']);
      });

      it('is remembered when complete, and done again does nothing', async () => {
        await apply([upsertAt(schema, sequenceAt(3), ['2', 'old', null])]);
        expect((await sink.sweeps(never)).get(schema.table)).toBeUndefined();
        expect(await sink.sweep(schema, floorAt(5), never)).toEqual({ rows: 1 });
        expect((await open().sweeps(never)).get(schema.table)).toBe(sequenceAt(5));
        expect(await sink.sweep(schema, floorAt(5), never)).toEqual({ rows: 0 });
        expect(await sink.sweep(schema, floorAt(4), never)).toEqual({ rows: 0 });
        expect((await sink.sweeps(never)).get(schema.table)).toBe(sequenceAt(5));
      });

      it('goes through more rows than one transaction takes, and leaves other tables alone', async () => {
        const second = plainSchema(context.table('second'));
        await sink.provision([schema, second], never);
        await apply([upsertAt(second, sequenceAt(1), ['1', 'x', null])]);
        const ids = Array.from({ length: sink.limits.batchRowsMax }, (_, index) => String(index));
        for (let part = 0; part < 3; part += 1) {
          await apply(ids.map((id) => upsertAt(schema, sequenceAt(1), [`${String(part)}${id.padStart(6, '0')}`, 'x', null])));
        }
        const swept = await sink.sweep(schema, floorAt(5), never);
        expect(swept).toEqual({ rows: ids.length * 3 });
        expect(await sink.holdsRows(schema, never)).toBe(false);
        expect(await context.liveRows(second)).toHaveLength(1);
      });

      it('does not harm what newer changes write meanwhile', async () => {
        const ids = Array.from({ length: 300 }, (_, index) => String(index));
        await apply(ids.map((id) => upsertAt(schema, sequenceAt(1), [id, 'old', null])));
        const write = async (): Promise<void> => {
          for (let at = 0; at < ids.length; at += 30) {
            const rows = ids.slice(at, at + 30).map((id) => upsertAt(schema, sequenceAt(6), [id, 'new', null]));
            await retried(() => partition.apply({ rows, progress: null }, never));
          }
        };
        await Promise.all([write(), retried(() => sink.sweep(schema, floorAt(5), never))]);
        const live = await context.liveRows(schema);
        expect(live.filter((row) => row[1] === 'new')).toHaveLength(ids.length);
        expect(live).toHaveLength(ids.length);
      });
    });

    describe('values', () => {
      it('come back as the text that went in, at the edges of every type', async () => {
        const columns = context.typeCases.map((entry, index) => contractColumn(`c${String(index)}`, entry.sourceType, entry.type));
        const wide = contractSchema(context.table('wide'), [contractColumn('id', 'bigint', bigint, false), ...columns]);
        await sink.provision([wide], never);
        expect(await sink.differences(wide, never)).toEqual([]);
        const longest = Math.max(...context.typeCases.map((entry) => entry.edges.length));
        const rows = Array.from({ length: longest + 1 }, (_, id): Row => {
          const values = context.typeCases.map((entry) => (id === longest ? null : present(entry.edges[id % entry.edges.length], 'edge')));
          return [String(id), ...values];
        });
        expect(await apply(rows.map((row) => upsertAt(wide, sequenceAt(1), row)))).toEqual(rows.map(() => 'applied'));
        expect((await scanned(sink, wide, never)).map((entry) => entry.row)).toEqual(rows);
        const live = [...(await context.liveRows(wide))].sort((a, b) => Number(a[0]) - Number(b[0]));
        expect(live).toEqual(rows);
      });

      it('come back as the text that went in, drawn by chance', async () => {
        const columns = context.typeCases.map((entry, index) => contractColumn(`c${String(index)}`, entry.sourceType, entry.type));
        const wide = contractSchema(context.table('drawn'), [contractColumn('id', 'bigint', bigint, false), ...columns]);
        await sink.provision([wide], never);
        const values = context.typeCases.map((entry) => fc.option(drawable(entry), { nil: null, freq: 10 }));
        let commit = 0;
        await fc.assert(
          fc.asyncProperty(fc.array(fc.tuple(...values), { minLength: 1, maxLength: 20 }), async (drawn) => {
            commit += 1;
            const rows = drawn.map((row, id): Row => [String(id), ...row]);
            expect(await apply(rows.map((row) => upsertAt(wide, sequenceAt(commit), row)))).toEqual(rows.map(() => 'applied'));
            const found = await scanned(sink, wide, never, { from: ['0'], to: [String(rows.length)] });
            expect(found.map((entry) => entry.row)).toEqual(rows);
          }),
          { numRuns: context.runs, seed: 4_711 },
        );
      });

      it('of every key type find their row again', async () => {
        const keyTypes = context.typeCases.filter(
          ({ type }) => type.tag !== 'json' && type.tag !== 'interval' && type.tag !== 'array' && type.tag !== 'other',
        );
        for (const [index, entry] of keyTypes.entries()) {
          const keyed = contractSchema(
            context.table(`key${String(index)}`),
            [contractColumn('v', 'text', text), contractColumn('k', entry.sourceType, entry.type, false)],
            [1],
          );
          await sink.provision([keyed], never);
          // Keys that the source holds equal, such as 0 and -0, are one key and never stand in one batch.
          const byKey = new Map<RowKey, Row>();
          for (const edge of entry.edges) {
            byKey.set(keyOf(keyed, ['x', edge]), ['x', edge]);
          }
          const changes = (commit: number, value: string): RowChange[] =>
            [...byKey].map(([key, row]) => ({ tag: 'upsert', schema: keyed, key, sequence: sequenceAt(commit), row: [value, row[1]] }));
          expect(await apply(changes(2, 'two')), entry.sourceType).toEqual([...byKey].map(() => 'applied'));
          expect(await apply(changes(2, 'two')), entry.sourceType).toEqual([...byKey].map(() => 'stale'));
          expect(await apply(changes(3, 'three')), entry.sourceType).toEqual([...byKey].map(() => 'applied'));
          expect(await context.liveRows(keyed), entry.sourceType).toHaveLength(byKey.size);
          const gone = [...byKey.keys()].map((key): RowChange => ({ tag: 'delete', schema: keyed, key, sequence: sequenceAt(4) }));
          expect(await apply(gone), entry.sourceType).toEqual([...byKey].map(() => 'applied'));
          expect(await context.liveRows(keyed), entry.sourceType).toEqual([]);
          const tombstones = await scanned(sink, keyed, never);
          expect(tombstones.map(({ key }) => key).sort(byText), entry.sourceType).toEqual([...byKey.keys()].sort(byText));
        }
      });

      it('of a decimal key: equal keys of another scale are one row, which keeps the newest spelling', async () => {
        const keyed = contractSchema(context.table('decimal_key'), [
          contractColumn('k', 'numeric', { tag: 'decimal', precision: null, scale: null }, false),
        ]);
        await sink.provision([keyed], never);
        expect(await apply([upsertAt(keyed, sequenceAt(1), ['1.0'])])).toEqual(['applied']);
        expect(await apply([upsertAt(keyed, sequenceAt(2), ['1.00'])])).toEqual(['applied']);
        expect(await context.liveRows(keyed)).toEqual([['1.00']]);
        expect(await apply([deleteAt(keyed, sequenceAt(3), '1')])).toEqual(['applied']);
        expect(await context.liveRows(keyed)).toEqual([]);
      });

      it('of a key of several columns, in another order than the table has them', async () => {
        const pair = contractSchema(
          context.table('pair'),
          [contractColumn('b', 'text', text, false), contractColumn('v', 'text', text), contractColumn('a', 'bigint', bigint, false)],
          [2, 0],
        );
        await sink.provision([pair], never);
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
        const found = await scanned(sink, pair, never);
        expect(found.map(({ row }) => row)).toEqual([['x', 'new', '1'], null, ['x', 'first', '2']]);
        const part = await scanned(sink, pair, never, { from: ['1', 'y'], to: ['2', 'x'] });
        expect(part.map(({ row }) => row)).toEqual([null]);
      });

      it('of a table that is nothing but its key', async () => {
        const bare = contractSchema(context.table('bare'), [contractColumn('id', 'bigint', bigint, false)]);
        await sink.provision([bare], never);
        expect(await apply([upsertAt(bare, sequenceAt(1), ['1'])])).toEqual(['applied']);
        expect(await apply([upsertAt(bare, sequenceAt(2), ['1'])])).toEqual(['applied']);
        expect(await apply([deleteAt(bare, sequenceAt(3), '1')])).toEqual(['applied']);
        expect(await context.liveRows(bare)).toEqual([]);
      });
    });

    describe('schema', () => {
      it('follows added columns, with the default for the rows that are there', async () => {
        await apply([upsertAt(schema, sequenceAt(1), ['1', 'x', null])]);
        const defaulted: Column = { ...contractColumn('n', 'bigint', bigint, false), constantDefault: '7' };
        const added = [contractColumn('later', 'text', text), defaulted];
        const after = contractSchema(schema.table, [...schema.columns, ...added]);
        await sink.evolve(after, { tag: 'additive', added }, never);
        await sink.evolve(after, { tag: 'additive', added }, never);
        expect(await sink.differences(after, never)).toEqual([]);
        expect(await context.liveRows(after)).toEqual([['1', 'x', null, null, '7']]);
        expect(await apply([upsertAt(after, sequenceAt(2), ['1', 'y', null, 'z', '8'])])).toEqual(['applied']);
        expect(await context.liveRows(after)).toEqual([['1', 'y', null, 'z', '8']]);
        // Events of the schema before it may still come.
        expect(await apply([upsertAt(schema, sequenceAt(2), ['2', 'old', null])])).toEqual(['applied']);
        expect((await context.liveRows(after)).find((row) => row[0] === '2')).toEqual(['2', 'old', null, null, '7']);
      });

      it('names a missing column and a missing table', async () => {
        if (!context.hasTables) return;
        const wider = contractSchema(schema.table, [...schema.columns, contractColumn('missing_one', 'text', text)]);
        expect((await sink.differences(wider, never)).join()).toContain('missing_one');
        const absent = plainSchema(context.table('absent'));
        expect(await sink.differences(absent, never)).not.toEqual([]);
        expect(await codeThrown(apply([upsertAt(absent, sequenceAt(1), ['1', null, null])]))).toBe('sink_misconfigured');
        // Nothing is lost: once the table is there, the same change takes effect.
        await sink.provision([absent], never);
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
              .map((id) => (Number(id) % 5 === 0 ? deleteAt(schema, sequenceAt(2), id) : upsertAt(schema, sequenceAt(2), [id, id, null]))),
          );
        }
        await context.plant(schema, ['1200', 'planted', null]);
        const all = await scanned(sink, schema, never);
        expect(all.map(({ key }) => (JSON.parse(key) as string[])[1])).toEqual([...ids, '1200']);
        expect(all.filter(({ row }) => row === null)).toHaveLength(240);
        expect(all.at(-1)?.sequence).toBeNull();
        const part = await scanned(sink, schema, never, { from: ['10'], to: ['15'] });
        expect(part.map(({ key }) => (JSON.parse(key) as string[])[1])).toEqual(['10', '11', '12', '13', '14']);
      });

      it('ends with its signal', async () => {
        await apply([upsertAt(schema, sequenceAt(1), ['1', null, null])]);
        const controller = new AbortController();
        controller.abort(new Error('enough'));
        await expect(scanned(sink, schema, controller.signal)).rejects.toThrow('enough');
      });
    });

    describe('claim', () => {
      const other = { owner: 'other', known: false };

      it('lets one of two deployments in that start at once, and the same one again', async () => {
        await sink.remove(['o'], never);
        const sinks = [open(), open()];
        const codes = await Promise.all(sinks.map((one, at) => codeThrown(one.claim({ owner: `o${at}`, known: false }, never))));
        expect(codes.toSorted()).toEqual(['nothing', 'sink_claimed']);
        const winner = codes.indexOf('nothing');
        await open().claim({ owner: `o${winner}`, known: false }, never);
        expect(await codeThrown(open().claim({ owner: `o${1 - winner}`, known: true }, never))).toBe('sink_claimed');
      });

      it('keeps partitions, batches and progress from whoever has lost it', async () => {
        await partition.save(progressAt(4), never);
        const unused = await assign(sink, 2);
        expect(await codeThrown(open().remove(['other'], never))).toBe('sink_claimed');
        expect((await sink.progress(never)).size).toBe(1);
        await open().remove(['other', 'o'], never);
        const next = open();
        await next.provision([schema], never);
        await next.claim(other, never);
        await next.assign(0, never);
        expect((await next.assign(2, never)).token).toBe(unused.token);
        const rows = [upsertAt(schema, sequenceAt(1), ['1', 'x', null])];
        expect(await codeThrown(partition.apply({ rows, progress: null }, never))).toBe('sink_went_back');
        // Its token is the new holder's too, and it has seen nothing that would be missing.
        expect(await codeThrown(unused.apply({ rows, progress: null }, never))).toBe('sink_went_back');
        expect(await codeThrown(sink.assign(0, never))).toBe('sink_claimed');
        expect(await codeThrown(sink.assign(1, never))).toBe('sink_claimed');
        expect((await next.progress(never)).size).toBe(0);
        expect(await context.liveRows(schema)).toEqual([]);
      });

      it('that is missing is made by a sink that is known, and by a new one only where there is no progress', async () => {
        await partition.save(progressAt(4), never);
        await context.dropClaim();
        expect(await codeThrown(sink.assign(0, never))).toBe('sink_unknown_progress');
        expect(await codeThrown(open().claim(other, never))).toBe('sink_misconfigured');
        await sink.claim({ ...owner, known: true }, never);
        expect(await codeThrown(open().claim({ ...other, known: true }, never))).toBe('sink_claimed');
        expect((await sink.assign(0, never)).start).toEqual(progressAt(4));
      });
    });

    describe('remove', () => {
      it('forgets progress and fences and leaves the replicated rows', async () => {
        await apply([upsertAt(schema, sequenceAt(1), ['1', 'x', null])]);
        await partition.save(progressAt(4), never);
        const removed = await sink.remove(['o'], never);
        expect(removed.length).toBeGreaterThan(0);
        expect(await context.liveRows(schema)).toEqual([['1', 'x', null]]);
        expect((await sink.progress(never)).size).toBe(0);
        expect((await sink.sweeps(never)).size).toBe(0);
      });
    });

    describe('an abort', () => {
      it('ends a call with the signal’s reason, and the same call works again', async () => {
        const controller = new AbortController();
        const batch = { rows: [upsertAt(schema, sequenceAt(1), ['1', 'x', null])], progress: progressAt(1) };
        controller.abort(new Error('enough'));
        await expect(partition.apply(batch, controller.signal)).rejects.toThrow('enough');
        expect(tags(await partition.apply(batch, never))).toEqual(['applied']);
      });
    });
  });
}

/** Cuts a list of changes where a key would stand twice in a batch. */
export function batchesOfDistinctKeys(changes: readonly RowChange[]): RowChange[][] {
  const batches: RowChange[][] = [];
  let batch: RowChange[] = [];
  let keys = new Set<string>();
  for (const change of changes) {
    if (keys.has(change.key)) {
      batches.push(batch);
      batch = [];
      keys = new Set();
    }
    batch.push(change);
    keys.add(change.key);
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

/** What apply does with a retryable error, without the wait. Two writers of one key may be made to go one by one. */
async function retried<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (codeOf(error) !== 'sink_unavailable' || attempt === 20) throw error;
    }
  }
}

/** Types whose printed form is narrower than their canonical type tells keep to their edges. */
function drawable(entry: TypeCase): fc.Arbitrary<string> {
  const edgesOnly = ['character varying(20)', 'character(4)', 'jsonb'];
  const base = fc.constantFrom(...entry.edges);
  if (edgesOnly.includes(entry.sourceType) || entry.type.tag === 'other') return base;
  return fc.oneof(base, canonicalValues(entry.type));
}
