// The contract of a sink: what a write makes of a row.
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';

import { present } from '#core/assert.ts';
import { epochOf } from '#core/position.ts';
import type { TableSchema } from '#core/schema.ts';
import { encodeSequence, type Sequence } from '#core/sequence.ts';
import type { Row } from '#core/value.ts';

import {
  batchesOfDistinctKeys,
  bigint,
  byText,
  contractColumn,
  contractSchema,
  deleteAt,
  keyOf,
  partialAt,
  plainSchema,
  progressAt,
  retried,
  scanned,
  sequenceAt,
  tags,
  upsertAt,
  type SinkBench,
} from './sink.ts';

export function sinkRows(bench: SinkBench): void {
  const { open, assign, apply, one, never } = bench;

  describe('a row is a register of its greatest sequence', () => {
    it('takes a first, a newer, and neither an equal nor an older image', async () => {
      expect(await apply([upsertAt(bench.schema, sequenceAt(5), ['1', 'five', null])])).toEqual(['applied']);
      expect(await apply([upsertAt(bench.schema, sequenceAt(5), ['1', 'again', null])])).toEqual(['stale']);
      expect(await apply([upsertAt(bench.schema, sequenceAt(4), ['1', 'four', null])])).toEqual(['stale']);
      expect(await one()).toEqual({ sequence: sequenceAt(5), row: ['1', 'five', null] });
      expect(await apply([upsertAt(bench.schema, sequenceAt(6), ['1', 'six', 'b'])])).toEqual(['applied']);
      expect(await one()).toEqual({ sequence: sequenceAt(6), row: ['1', 'six', 'b'] });
      expect(await bench.context.liveRows(bench.schema)).toEqual([['1', 'six', 'b']]);
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
        expect(await apply([upsertAt(bench.schema, sequence, ['1', String(index), null])])).toEqual(['applied']);
        if (before !== undefined) expect(await apply([upsertAt(bench.schema, before, ['1', 'old', null])])).toEqual(['stale']);
        expect((await one())?.sequence).toBe(sequence);
      }
    });

    it('takes over a row that has no version yet, or leaves it alone', async () => {
      await bench.context.plant(bench.schema, ['1', 'planted', null]);
      await bench.context.plant(bench.schema, ['2', 'planted', null]);
      expect(await one()).toEqual({ sequence: null, row: ['1', 'planted', null] });
      const { takesOver } = bench.context;
      const outcome = takesOver ? 'applied' : 'value_refused';
      expect(await apply([upsertAt(bench.schema, sequenceAt(1), ['1', 'new', null]), deleteAt(bench.schema, sequenceAt(1), '2')])).toEqual([
        outcome,
        outcome,
      ]);
      const planted = ['1', '2'].map((id) => [id, 'planted', null]);
      expect((await bench.context.liveRows(bench.schema)).toSorted(byText)).toEqual(takesOver ? [['1', 'new', null]] : planted);
    });

    it('a delete leaves a tombstone, and nothing older brings the row back', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(5), ['1', 'x', null])]);
      expect(await apply([deleteAt(bench.schema, sequenceAt(6), '1')])).toEqual(['applied']);
      expect(await bench.context.liveRows(bench.schema)).toEqual([]);
      expect(await one()).toEqual({ sequence: sequenceAt(6), row: null });
      expect(await apply([upsertAt(bench.schema, sequenceAt(5), ['1', 'x', null])])).toEqual(['stale']);
      expect(await apply([deleteAt(bench.schema, sequenceAt(6), '1')])).toEqual(['stale']);
      expect(await apply([deleteAt(bench.schema, sequenceAt(4), '1')])).toEqual(['stale']);
      expect(await bench.context.liveRows(bench.schema)).toEqual([]);
      expect(await apply([upsertAt(bench.schema, sequenceAt(7), ['1', 'back', null])])).toEqual(['applied']);
      expect(await bench.context.liveRows(bench.schema)).toEqual([['1', 'back', null]]);
    });

    it('a delete before the insert leaves a tombstone too', async () => {
      expect(await apply([deleteAt(bench.schema, sequenceAt(9), '1')])).toEqual(['applied']);
      expect(await one()).toEqual({ sequence: sequenceAt(9), row: null });
      expect(await apply([upsertAt(bench.schema, sequenceAt(8), ['1', 'late', null])])).toEqual(['stale']);
      expect(await bench.context.liveRows(bench.schema)).toEqual([]);
    });

    it('an older delete does not harm a row', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(5), ['1', 'x', null])]);
      expect(await apply([deleteAt(bench.schema, sequenceAt(4), '1')])).toEqual(['stale']);
      expect(await bench.context.liveRows(bench.schema)).toEqual([['1', 'x', null]]);
    });

    it('answers in the order of the rows, whatever happens to each', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(5), ['3', 'x', null]), upsertAt(bench.schema, sequenceAt(5), ['5', 'x', null])]);
      const outcomes = await apply([
        upsertAt(bench.schema, sequenceAt(6), ['9', 'new', null]),
        upsertAt(bench.schema, sequenceAt(4), ['3', 'old', null]),
        partialAt(bench.schema, sequenceAt(6), ['8', 'no base', undefined]),
        deleteAt(bench.schema, sequenceAt(6), '1'),
        partialAt(bench.schema, sequenceAt(6), ['5', 'part', undefined]),
        upsertAt(bench.schema, sequenceAt(6), ['2', 'new', null]),
      ]);
      expect(outcomes).toEqual(['applied', 'stale', 'partial_without_base', 'applied', 'applied', 'applied']);
    });

    it('takes an empty batch, and a large one with every kind of row', async () => {
      expect(await apply([])).toEqual([]);
      const ids = Array.from({ length: bench.sink.limits.batchRowsMax }, (_, index) => String(index));
      const first = await apply(ids.map((id) => upsertAt(bench.schema, sequenceAt(1), [id, id, null])));
      expect(first.every((tag) => tag === 'applied')).toBe(true);
      const second = await apply(
        ids.map((id, index) =>
          index % 3 === 0
            ? deleteAt(bench.schema, sequenceAt(2), id)
            : index % 3 === 1
              ? upsertAt(bench.schema, sequenceAt(2), [id, 'two', null])
              : upsertAt(bench.schema, sequenceAt(1), [id, 'old', null]),
        ),
      );
      expect(second).toEqual(ids.map((_, index) => (index % 3 === 2 ? 'stale' : 'applied')));
      expect(await bench.context.liveRows(bench.schema)).toHaveLength(ids.length - Math.ceil(ids.length / 3));
    });

    it('takes rows of several tables in one batch', async () => {
      const second = plainSchema(bench.context.table('second'));
      await bench.sink.provision([bench.schema, second], never);
      const outcomes = await apply([
        upsertAt(second, sequenceAt(2), ['1', 'second', null]),
        upsertAt(bench.schema, sequenceAt(2), ['1', 'first', null]),
        deleteAt(second, sequenceAt(2), '2'),
      ]);
      expect(outcomes).toEqual(['applied', 'applied', 'applied']);
      expect(await bench.context.liveRows(bench.schema)).toEqual([['1', 'first', null]]);
      expect(await bench.context.liveRows(second)).toEqual([['1', 'second', null]]);
    });

    it('ends as the newest event of each key, however events are shuffled, repeated, cut and run side by side', async () => {
      const operations = fc.array(
        fc.record({ id: fc.integer({ min: 1, max: 4 }), at: fc.integer({ min: 1, max: 30 }), deleted: fc.boolean() }),
        { minLength: 1, maxLength: 40 },
      );
      const second = open();
      const appliers = [bench.partition, await assign(second, 1)];
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
              ? deleteAt(bench.schema, sequenceAt(at), key)
              : upsertAt(bench.schema, sequenceAt(at), [key, `v${String(at)}`, null]);
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
          const found = await scanned(bench.sink, bench.schema, never, { from: [String(prefix)], to: [String(prefix + 10)] });
          expect([...found].sort(byText)).toEqual([...expected].sort(byText));
          const live = (await bench.context.liveRows(bench.schema)).filter((row) => Math.floor(Number(row[0]) / 10) === round);
          expect([...live].sort(byText)).toEqual(expected.flatMap((entry) => (entry.row === null ? [] : [entry.row])).sort(byText));
        }),
        { numRuns: bench.context.runs, seed: 20_261 },
      );
    });
  });

  describe('a partial image', () => {
    it('changes what it has and leaves the rest', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(5), ['1', 'x', 'large'])]);
      expect(await apply([partialAt(bench.schema, sequenceAt(6), ['1', 'y', undefined])])).toEqual(['applied']);
      expect(await one()).toEqual({ sequence: sequenceAt(6), row: ['1', 'y', 'large'] });
      expect(await apply([partialAt(bench.schema, sequenceAt(7), ['1', null, undefined])])).toEqual(['applied']);
      expect(await one()).toEqual({ sequence: sequenceAt(7), row: ['1', null, 'large'] });
    });

    it('is stale on an equal or newer row, and behind an equal or newer tombstone', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(5), ['1', 'x', 'large'])]);
      expect(await apply([partialAt(bench.schema, sequenceAt(5), ['1', 'y', undefined])])).toEqual(['stale']);
      expect(await apply([partialAt(bench.schema, sequenceAt(4), ['1', 'y', undefined])])).toEqual(['stale']);
      expect(await one()).toEqual({ sequence: sequenceAt(5), row: ['1', 'x', 'large'] });
      await apply([deleteAt(bench.schema, sequenceAt(8), '1')]);
      expect(await apply([partialAt(bench.schema, sequenceAt(8), ['1', 'y', undefined])])).toEqual(['stale']);
      expect(await apply([partialAt(bench.schema, sequenceAt(7), ['1', 'y', undefined])])).toEqual(['stale']);
      expect(await one()).toEqual({ sequence: sequenceAt(8), row: null });
    });

    it('creates nothing: without a row it is rejected and leaves no trace', async () => {
      expect(await apply([partialAt(bench.schema, sequenceAt(5), ['1', 'y', undefined])])).toEqual(['partial_without_base']);
      expect(await one()).toBeUndefined();
      // The image that was missing may come later with a lower sequence, and takes effect.
      expect(await apply([upsertAt(bench.schema, sequenceAt(4), ['1', 'x', 'large'])])).toEqual(['applied']);
      expect(await apply([partialAt(bench.schema, sequenceAt(5), ['1', 'y', undefined])])).toEqual(['applied']);
      expect(await one()).toEqual({ sequence: sequenceAt(5), row: ['1', 'y', 'large'] });
    });

    it('does not revive a row behind an older tombstone', async () => {
      await apply([deleteAt(bench.schema, sequenceAt(5), '1')]);
      expect(await apply([partialAt(bench.schema, sequenceAt(6), ['1', 'y', undefined])])).toEqual(['partial_without_base']);
      expect(await one()).toEqual({ sequence: sequenceAt(5), row: null });
      expect(await bench.context.liveRows(bench.schema)).toEqual([]);
    });

    it('takes effect on a row without a version, or leaves it alone', async () => {
      await bench.context.plant(bench.schema, ['1', 'planted', 'large']);
      const outcome = await apply([partialAt(bench.schema, sequenceAt(1), ['1', 'y', undefined])]);
      if (!bench.context.takesOver) {
        expect(outcome).toEqual(['value_refused']);
        expect(await one()).toEqual({ sequence: null, row: ['1', 'planted', 'large'] });
        return;
      }
      expect(outcome).toEqual(['applied']);
      expect(await one()).toEqual({ sequence: sequenceAt(1), row: ['1', 'y', 'large'] });
    });

    it('of several shapes in one batch, each changes its own columns', async () => {
      await apply(['1', '2', '3'].map((id) => upsertAt(bench.schema, sequenceAt(5), [id, `a${id}`, `b${id}`])));
      const outcomes = await apply([
        partialAt(bench.schema, sequenceAt(6), ['3', undefined, 'new']),
        partialAt(bench.schema, sequenceAt(6), ['1', 'new', undefined]),
        partialAt(bench.schema, sequenceAt(6), ['2', undefined, undefined]),
      ]);
      expect(outcomes).toEqual(['applied', 'applied', 'applied']);
      expect((await scanned(bench.sink, bench.schema, never)).map(({ sequence, row }) => [sequence, row])).toEqual([
        [sequenceAt(6), ['1', 'new', 'b1']],
        [sequenceAt(6), ['2', 'a2', 'b2']],
        [sequenceAt(6), ['3', 'a3', 'new']],
      ]);
    });
  });

  sinkRefusals(bench);
}

export function sinkRefusals(bench: SinkBench): void {
  const { apply, stored, never } = bench;

  describe('a row that the store refuses', () => {
    let poisoned: TableSchema;
    const row = (id: string, value: string): Row => [id, value];

    beforeEach(async () => {
      poisoned = contractSchema(bench.context.table('poisoned'), [
        contractColumn('id', 'bigint', bigint, false),
        contractColumn('v', bench.context.poison.sourceType, bench.context.poison.type),
      ]);
      await bench.sink.provision([poisoned], never);
    });

    it('is rejected alone, wherever it stands in the batch', async () => {
      const ids = Array.from({ length: 9 }, (_, index) => String(index));
      let commit = 0;
      for (const bad of [...ids.map((id) => [id]), ['0', '8'], ['3', '4'], ids]) {
        commit += 1;
        const rows = ids.map((id) =>
          upsertAt(poisoned, sequenceAt(commit), row(id, bad.includes(id) ? bench.context.poison.bad : bench.context.poison.good)),
        );
        const outcomes = await bench.partition.apply({ rows, progress: null }, never);
        expect(tags(outcomes)).toEqual(ids.map((id) => (bad.includes(id) ? 'value_refused' : 'applied')));
        for (const outcome of outcomes) if (outcome.tag === 'rejected') expect(outcome.reason).not.toContain(bench.context.poison.bad);
        const found = await scanned(bench.sink, poisoned, never);
        for (const { key, sequence } of found) {
          const id = present(JSON.parse(key) as string[], 'key')[1];
          expect(sequence === sequenceAt(commit)).toBe(!bad.includes(present(id, 'id')));
        }
      }
    });

    it('leaves no trace, and newer good images take effect', async () => {
      const key = keyOf(poisoned, row('1', ''));
      expect(await apply([upsertAt(poisoned, sequenceAt(5), row('1', bench.context.poison.bad))])).toEqual(['value_refused']);
      expect(await stored(poisoned, key)).toBeUndefined();
      expect(await apply([upsertAt(poisoned, sequenceAt(6), row('1', bench.context.poison.good))])).toEqual(['applied']);
      expect((await stored(poisoned, key))?.sequence).toBe(sequenceAt(6));
    });

    it('is stale, and not refused, once something newer is stored', async () => {
      await apply([upsertAt(poisoned, sequenceAt(6), row('1', bench.context.poison.good)), deleteAt(poisoned, sequenceAt(6), '2')]);
      expect(
        await apply([
          upsertAt(poisoned, sequenceAt(5), row('1', bench.context.poison.bad)),
          upsertAt(poisoned, sequenceAt(5), row('2', bench.context.poison.bad)),
          upsertAt(poisoned, sequenceAt(5), row('3', bench.context.poison.bad)),
        ]),
      ).toEqual(['stale', 'stale', 'value_refused']);
    });

    it('in a partial image is rejected alone too', async () => {
      await apply(['1', '2'].map((id) => upsertAt(poisoned, sequenceAt(1), row(id, bench.context.poison.good))));
      expect(
        await apply([
          partialAt(poisoned, sequenceAt(2), row('1', bench.context.poison.bad)),
          partialAt(poisoned, sequenceAt(2), row('2', bench.context.poison.good)),
        ]),
      ).toEqual(['value_refused', 'applied']);
      expect((await stored(poisoned, keyOf(poisoned, row('1', ''))))?.sequence).toBe(sequenceAt(1));
    });

    it('does not keep the batch from storing progress', async () => {
      const rows = [
        upsertAt(poisoned, sequenceAt(5), row('1', bench.context.poison.bad)),
        upsertAt(poisoned, sequenceAt(5), row('2', bench.context.poison.good)),
      ];
      await bench.partition.apply({ rows, progress: progressAt(3) }, never);
      expect((await bench.sink.progress(never)).get(0)).toEqual(progressAt(3));
    });
  });
}
