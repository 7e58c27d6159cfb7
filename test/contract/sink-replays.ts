// The contract of a sink: what replays, late writers and two appliers at once leave, and what a truncate waits for.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { present } from '#core/assert.ts';
import { epochMicrosOf, epochOf } from '#core/position.ts';
import { encodeSequence, type Sequence } from '#core/sequence.ts';
import type { RowChange } from '#core/sink.ts';

import {
  batchesOfDistinctKeys,
  byText,
  codeThrown,
  deleteAt,
  partialAt,
  progressAt,
  retried,
  scanned,
  sequenceAt,
  upsertAt,
  type SinkBench,
} from './sink.ts';

export function sinkReplays(bench: SinkBench): void {
  const { open, assign, apply, never } = bench;
  const state = async (): Promise<readonly unknown[]> => (await scanned(bench.sink, bench.schema, never)).toSorted(byText);
  const live = async (): Promise<readonly unknown[]> => (await bench.context.liveRows(bench.schema)).toSorted(byText);

  describe('replays', () => {
    it('of the whole history by another process are stale, all of them, and change nothing', async () => {
      const history = (key: string): readonly RowChange[] => [
        upsertAt(bench.schema, sequenceAt(1), [key, 'first', 'large']),
        partialAt(bench.schema, sequenceAt(2), [key, 'second', undefined]),
        deleteAt(bench.schema, sequenceAt(3), key),
        upsertAt(bench.schema, sequenceAt(4), [key, 'again', null]),
        partialAt(bench.schema, sequenceAt(5), [key, undefined, 'larger']),
        ...(Number(key) % 2 === 0 ? [deleteAt(bench.schema, sequenceAt(6), key)] : []),
      ];
      const whole = Array.from({ length: 8 }, (_, key) => history(String(key))).flat();
      const batches = batchesOfDistinctKeys(whole.toSorted((a, b) => (a.sequence < b.sequence ? -1 : 1)));
      for (const batch of batches) expect(new Set(await apply(batch))).toEqual(new Set(['applied']));
      const before = [await state(), await live()];
      expect(before[1]).toEqual([1, 3, 5, 7].map((key) => [String(key), 'again', 'larger']));
      const second = await assign(open(), 1);
      for (const batch of batches) expect(new Set(await apply(batch, second))).toEqual(new Set(['stale']));
      for (const batch of batches.toReversed()) expect(new Set(await apply(batch, second))).toEqual(new Set(['stale']));
      expect([await state(), await live()]).toEqual(before);
    });

    it('by two processes at once give each effect once at most, and end as the newest event of each key', async () => {
      const events = fc.array(fc.record({ key: fc.integer({ min: 0, max: 3 }), isDelete: fc.boolean() }), { minLength: 1, maxLength: 24 });
      const chance = fc.array(fc.nat(), { minLength: 48, maxLength: 48 });
      const appliers = [bench.partition, await assign(open(), 1)];
      let commit = 0;
      await fc.assert(
        fc.asyncProperty(events, chance, async (drawn, order) => {
          const effects = drawn.map(({ key, isDelete }) => {
            commit += 1;
            const id = String(key);
            return isDelete
              ? deleteAt(bench.schema, sequenceAt(commit), id)
              : upsertAt(bench.schema, sequenceAt(commit), [id, `v${String(commit)}`, null]);
          });
          // Each process has the whole history, in an order of its own; what one holds back longest comes behind everything of the other.
          const applied: string[] = [];
          await Promise.all(
            appliers.map(async (applier, which) => {
              const shuffled = effects
                .map((effect, index) => ({ effect, at: present(order[(index * 2 + which) % order.length], 'chance') }))
                .sort((a, b) => a.at - b.at)
                .map(({ effect }) => effect);
              for (const rows of batchesOfDistinctKeys([...shuffled, ...shuffled.slice(0, 3)])) {
                const outcomes = await retried(() => applier.apply({ rows, progress: null }, never));
                for (const [index, { tag }] of outcomes.entries()) {
                  expect(['applied', 'stale']).toContain(tag);
                  const row = rows[index];
                  if (tag === 'applied' && row !== undefined) applied.push(`${row.key} ${row.sequence}`);
                }
              }
            }),
          );
          expect(applied.toSorted()).toEqual([...new Set(applied)].toSorted());
          const newest = new Map(effects.map((effect) => [effect.key, effect]));
          for (const { key, sequence } of newest.values()) expect(applied).toContain(`${key} ${sequence}`);
          const found = new Map((await scanned(bench.sink, bench.schema, never)).map((row) => [row.key, row]));
          for (const [key, effect] of newest) {
            const row = effect.tag === 'delete' ? null : effect.row;
            expect(found.get(key)).toEqual({ key, sequence: effect.sequence, row });
          }
        }),
        { numRuns: bench.context.runs, seed: 31_337 },
      );
    });

    it('of a partial image that meets a newer whole one at the same moment leave the newer one', async () => {
      const second = await assign(open(), 1);
      const keys = Array.from({ length: 20 }, (_, key) => String(key));
      for (let round = 0; round < 3; round += 1) {
        const [base, part, whole] = [sequenceAt(round * 3 + 1), sequenceAt(round * 3 + 2), sequenceAt(round * 3 + 3)];
        await apply(keys.map((key) => upsertAt(bench.schema, base, [key, 'base', 'large'])));
        const parts = keys.map((key) => partialAt(bench.schema, part, [key, 'part', undefined]));
        const wholes = keys.map((key) => upsertAt(bench.schema, whole, [key, `whole${String(round)}`, null]));
        await Promise.all([
          retried(() => bench.partition.apply({ rows: parts, progress: null }, never)),
          retried(() => second.apply({ rows: wholes.toReversed(), progress: null }, never)),
        ]);
        expect(await live()).toEqual(keys.map((key) => [key, `whole${String(round)}`, null]).toSorted(byText));
      }
    });

    it('of partial images by two processes at once lose none of the newest one’s columns', async () => {
      const second = await assign(open(), 1);
      const keys = Array.from({ length: 20 }, (_, key) => String(key));
      await apply(keys.map((key) => upsertAt(bench.schema, sequenceAt(1), [key, 'a', 'large'])));
      const older = keys.map((key) => partialAt(bench.schema, sequenceAt(2), [key, 'b', undefined]));
      const newer = keys.map((key) => partialAt(bench.schema, sequenceAt(3), [key, 'c', undefined]));
      await Promise.all([
        retried(() => bench.partition.apply({ rows: older, progress: null }, never)),
        retried(() => second.apply({ rows: newer, progress: null }, never)),
      ]);
      expect(await live()).toEqual(keys.map((key) => [key, 'c', 'large']).toSorted(byText));
    });
  });

  describe('a key change', () => {
    const half = (commit: number, sub: 0 | 1): Sequence => encodeSequence({ epoch: epochOf(1), commit: BigInt(commit), change: 1n, sub });
    const change = (commit: number, from: string, to: string): readonly [RowChange, RowChange] => [
      deleteAt(bench.schema, half(commit, 0), from),
      upsertAt(bench.schema, half(commit, 1), [to, `at ${String(commit)}`, null]),
    ];

    it('is one delete and one upsert, in one batch or in two, in either order, by one process or by two', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(1), ['1', 'at 1', null])]);
      const second = await assign(open(), 1);
      const [gone, made] = change(2, '1', '2');
      expect(await apply([made, gone])).toEqual(['applied', 'applied']);
      const [back, remade] = change(3, '2', '1');
      expect(await apply([remade], second)).toEqual(['applied']);
      expect(await live()).toEqual([
        ['1', 'at 3', null],
        ['2', 'at 2', null],
      ]);
      expect(await apply([back])).toEqual(['applied']);
      expect(await live()).toEqual([['1', 'at 3', null]]);
      for (const half of [gone, made, back, remade]) expect(await apply([half], second)).toEqual(['stale']);
      expect(await live()).toEqual([['1', 'at 3', null]]);
    });

    it('of two rows that exchange their keys leaves both', async () => {
      await apply(['1', '2'].map((key) => upsertAt(bench.schema, sequenceAt(1), [key, `was ${key}`, null])));
      // By way of a third key, in one transaction: at each key the newest half decides.
      const at = (place: number, sub: 0 | 1): Sequence => encodeSequence({ epoch: epochOf(1), commit: 2n, change: BigInt(place), sub });
      const rows = [
        deleteAt(bench.schema, at(3, 0), '3'),
        upsertAt(bench.schema, at(2, 1), ['1', 'was 2', null]),
        upsertAt(bench.schema, at(3, 1), ['2', 'was 1', null]),
      ];
      const early = [
        deleteAt(bench.schema, at(1, 0), '1'),
        deleteAt(bench.schema, at(2, 0), '2'),
        upsertAt(bench.schema, at(1, 1), ['3', 'was 1', null]),
      ];
      expect(await apply(rows)).toEqual(['applied', 'applied', 'applied']);
      expect(await apply(early)).toEqual(['stale', 'stale', 'stale']);
      expect(await live()).toEqual([
        ['1', 'was 2', null],
        ['2', 'was 1', null],
      ]);
    });
  });

  describe('a truncate with a slow partition', () => {
    const passing = async (partitions: readonly number[], commit: number): Promise<void> => {
      const floors = [{ table: bench.schema.table, sequence: sequenceAt(commit) }];
      for (const number of partitions) {
        await using taken = await bench.sink.assign(number, never);
        await taken.save(progressAt(commit, { floors }), never);
      }
    };

    it('is not swept before the slow one has passed, by its floor or by a watermark, and tombstones what that one wrote last', async () => {
      const floor = { table: bench.schema.table, sequence: sequenceAt(5) };
      await apply([upsertAt(bench.schema, sequenceAt(3), ['1', 'old', null])]);
      const slow = await assign(open(), 3);
      await slow.save(progressAt(1), never);
      await passing([0, 1, 2], 5);
      expect(await codeThrown(bench.sink.sweep(bench.schema, floor, never))).toBe('sink_went_back');
      expect(await apply([upsertAt(bench.schema, sequenceAt(4), ['2', 'late', null])], slow)).toEqual(['applied']);
      const below = { sequence: sequenceAt(4, 9), sourceTime: epochMicrosOf(1) };
      await slow.save(progressAt(2, { watermark: below }), never);
      expect(await codeThrown(bench.sink.sweep(bench.schema, floor, never))).toBe('sink_went_back');
      expect((await bench.sink.sweeps(never)).size).toBe(0);
      expect(await live()).toHaveLength(2);
      // A watermark at the truncate says as much as the floor itself.
      await slow.save(progressAt(3, { watermark: { ...below, sequence: sequenceAt(5) } }), never);
      expect(await bench.sink.sweep(bench.schema, floor, never)).toEqual({ rows: 2 });
      expect(await live()).toEqual([]);
      expect(await apply([upsertAt(bench.schema, sequenceAt(4), ['2', 'late', null])], slow)).toEqual(['stale']);
      expect(await apply([upsertAt(bench.schema, sequenceAt(6), ['2', 'new', null])], slow)).toEqual(['applied']);
    });
  });
}
