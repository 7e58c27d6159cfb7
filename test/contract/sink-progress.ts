// The contract of a sink: who may write, and how far a partition is.
import { describe, expect, it } from 'vitest';

import { epochMicrosOf, epochOf, fencingTokenOf, offsetOf } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import type { SinkProgress } from '#core/sink.ts';

import { byText, codeThrown, progressAt, sequenceAt, tags, upsertAt, type SinkBench } from './sink.ts';

export function sinkProgress(bench: SinkBench): void {
  const { open, assign, apply, one, never, owner } = bench;

  describe('progress', () => {
    const full = progressAt(7, {
      offset: offsetOf(9_007_199_254_740_991),
      watermark: { sequence: sequenceAt(3), sourceTime: epochMicrosOf(1_790_000_000_123_456) },
      floors: [{ table: 'public.a' as TableId, sequence: sequenceAt(2) }],
      openLoads: [
        { table: 'public.b' as TableId, sink: null },
        { table: 'public.b' as TableId, sink: 's' },
      ],
      epochs: [{ epoch: epochOf(2), fork: '00000000000000ff' }],
      replays: 7,
    });

    it('is absent before the first, and comes back whole', async () => {
      expect(bench.partition.start).toBeNull();
      expect((await bench.sink.progress(never)).size).toBe(0);
      expect(await bench.partition.save(full, never)).toEqual(full);
      expect((await bench.sink.progress(never)).get(0)).toEqual(full);
      expect((await assign(bench.sink, 0)).start).toEqual(full);
      expect((await assign(bench.sink, 1)).start).toBeNull();
    });

    it('may begin without a pair', async () => {
      const start = progressAt(5, { pair: null, holder: null });
      expect(await bench.partition.save(start, never)).toEqual(start);
      expect((await assign(open(), 0)).start).toEqual(start);
    });

    it('takes a pair where there was none, and not the other way round', async () => {
      await bench.partition.save(progressAt(5, { pair: null, holder: null }), never);
      expect(await bench.partition.save(progressAt(6), never)).toEqual(progressAt(6));
      expect(await bench.partition.save(progressAt(6, { pair: null, holder: null }), never)).toEqual(progressAt(6));
    });

    it('never falls, by generation, then by counter, then by offset, then by replays', async () => {
      const at = (generation: number, counter: number, offset: number): SinkProgress =>
        progressAt(offset, { pair: { generation: fencingTokenOf(generation), counter } });
      await bench.partition.save(at(2, 10, 30), never);
      expect(await bench.partition.save(at(2, 9, 29), never)).toEqual(at(2, 10, 30));
      expect(await bench.partition.save(at(1, 99, 28), never)).toEqual(at(2, 10, 30));
      await bench.partition.apply({ rows: [upsertAt(bench.schema, sequenceAt(1), ['1', null, null])], progress: at(2, 8, 28) }, never);
      expect((await bench.sink.progress(never)).get(0)).toEqual(at(2, 10, 30));
      expect(await bench.partition.save(at(2, 10, 31), never)).toEqual(at(2, 10, 31));
      expect(await bench.partition.save(at(3, 1, 31), never)).toEqual(at(3, 1, 31));
      expect((await bench.sink.progress(never)).get(0)).toEqual(at(3, 1, 31));
      const replayed = { ...at(3, 1, 31), replays: 1 };
      expect(await bench.partition.save(replayed, never)).toEqual(replayed);
      expect(await bench.partition.save(at(3, 1, 31), never)).toEqual(replayed);
    });

    it('is stored with the rows of its batch, and left alone where the batch brings none', async () => {
      await bench.partition.apply({ rows: [upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])], progress: full }, never);
      expect((await bench.sink.progress(never)).get(0)).toEqual(full);
      await bench.partition.apply({ rows: [upsertAt(bench.schema, sequenceAt(2), ['1', 'y', null])], progress: null }, never);
      expect((await bench.sink.progress(never)).get(0)).toEqual(full);
      await bench.partition.apply({ rows: [], progress: progressAt(8) }, never);
      expect((await bench.sink.progress(never)).get(0)).toEqual(progressAt(8));
    });

    it('is kept for each partition alone', async () => {
      const second = await assign(bench.sink, 1);
      await bench.partition.save(progressAt(3), never);
      await second.save(progressAt(4), never);
      expect([...(await bench.sink.progress(never))].sort(byText)).toEqual([
        [0, progressAt(3)],
        [1, progressAt(4)],
      ]);
    });

    it('that went back below what this worker has seen is noticed, before anything is written', async () => {
      await bench.partition.save(progressAt(3), never);
      const restore = await bench.context.keepProgress();
      await bench.partition.save(progressAt(5), never);
      await restore();
      const batch = { rows: [upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])], progress: progressAt(6) };
      expect(await codeThrown(bench.partition.apply(batch, never))).toBe('sink_went_back');
      expect(await codeThrown(bench.partition.save(progressAt(6), never))).toBe('sink_went_back');
      expect(await one()).toBeUndefined();
      const again = await assign(bench.sink, 0);
      expect(again.start).toEqual(progressAt(3));
      expect(tags(await again.apply(batch, never))).toEqual(['applied']);
    });

    it('that lost a batch which did not move it is noticed, before it is moved past that batch', async () => {
      await bench.partition.save(progressAt(3), never);
      const restore = await bench.context.keepProgress();
      await bench.partition.apply({ rows: [upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])], progress: progressAt(3) }, never);
      await restore();
      expect(await codeThrown(bench.partition.save(progressAt(4), never))).toBe('sink_went_back');
      expect((await assign(bench.sink, 0)).start).toEqual(progressAt(3));
    });

    it('whose fence went back is noticed too', async () => {
      const restore = await bench.context.keepProgress();
      const newer = await assign(bench.sink, 0);
      await restore();
      expect(
        await codeThrown(newer.apply({ rows: [upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])], progress: null }, never)),
      ).toBe('sink_went_back');
      expect(await one()).toBeUndefined();
    });
  });

  describe('the fence', () => {
    it('rises with each holder, for each partition alone', async () => {
      const second = await assign(open(), 0);
      const third = await assign(bench.sink, 0);
      expect(second.token).toBe(bench.partition.token + 1);
      expect(third.token).toBe(second.token + 1);
      expect((await assign(bench.sink, 1)).token).toBe(bench.partition.token);
    });

    it('ends the older holder, which then changes nothing', async () => {
      const second = await assign(open(), 0);
      const batch = { rows: [upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])], progress: progressAt(5) };
      expect(await codeThrown(bench.partition.apply(batch, never))).toBe('partition_fenced');
      expect(await codeThrown(bench.partition.save(progressAt(5), never))).toBe('partition_fenced');
      expect(await one()).toBeUndefined();
      expect((await bench.sink.progress(never)).size).toBe(0);
      expect(tags(await second.apply(batch, never))).toEqual(['applied']);
    });

    it('raised while the older holder writes leaves all of its batch or nothing', async () => {
      const second = open();
      const rows = Array.from({ length: 50 }, (_, id) => upsertAt(bench.schema, sequenceAt(1), [String(id), 'x', null]));
      const [outcome, newer] = await Promise.all([
        codeThrown(bench.partition.apply({ rows, progress: progressAt(2) }, never)),
        assign(second, 0),
      ]);
      const found = (await bench.context.liveRows(bench.schema)).length;
      if (bench.context.atomic) expect(outcome === 'nothing' ? found : -found).toBe(outcome === 'nothing' ? 50 : -0);
      else if (outcome === 'nothing') expect(found).toBe(50);
      else expect((await bench.sink.progress(never)).size).toBe(0);
      if (outcome === 'nothing') expect((await bench.sink.progress(never)).get(0)).toEqual(progressAt(2));
      else expect(outcome).toBe('partition_fenced');
      expect(newer.token).toBe(bench.partition.token + 1);
    });
  });

  describe('claim', () => {
    const other = { owner: 'other', known: false };

    it('lets one of two deployments in that start at once, and the same one again', async () => {
      await bench.sink.remove(['o'], never);
      const sinks = [open(), open()];
      const codes = await Promise.all(sinks.map((one, at) => codeThrown(one.claim({ owner: `o${at}`, known: false }, never))));
      expect(codes.toSorted()).toEqual(['nothing', 'sink_claimed']);
      const winner = codes.indexOf('nothing');
      await open().claim({ owner: `o${winner}`, known: false }, never);
      expect(await codeThrown(open().claim({ owner: `o${1 - winner}`, known: true }, never))).toBe('sink_claimed');
    });

    it('keeps partitions, batches and progress from whoever has lost it', async () => {
      await bench.partition.save(progressAt(4), never);
      const unused = await assign(bench.sink, 2);
      expect(await codeThrown(open().remove(['other'], never))).toBe('sink_claimed');
      expect((await bench.sink.progress(never)).size).toBe(1);
      await open().remove(['other', 'o'], never);
      const next = open();
      await next.provision([bench.schema], never);
      await next.claim(other, never);
      await next.assign(0, never);
      expect((await next.assign(2, never)).token).toBe(unused.token);
      const rows = [upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])];
      expect(await codeThrown(bench.partition.apply({ rows, progress: null }, never))).toBe('sink_went_back');
      // Its token is the new holder's too, and it has seen nothing that would be missing.
      expect(await codeThrown(unused.apply({ rows, progress: null }, never))).toBe('sink_went_back');
      expect(await codeThrown(bench.sink.assign(0, never))).toBe('sink_claimed');
      expect(await codeThrown(bench.sink.assign(1, never))).toBe('sink_claimed');
      expect((await next.progress(never)).size).toBe(0);
      expect(await bench.context.liveRows(bench.schema)).toEqual([]);
    });

    it('that is missing is made by a sink that is known, and by a new one only where there is no progress', async () => {
      await bench.partition.save(progressAt(4), never);
      await bench.context.dropClaim();
      expect(await codeThrown(bench.sink.assign(0, never))).toBe('sink_unknown_progress');
      expect(await codeThrown(open().claim(other, never))).toBe('sink_misconfigured');
      await bench.sink.claim({ ...owner, known: true }, never);
      expect(await codeThrown(open().claim({ ...other, known: true }, never))).toBe('sink_claimed');
      expect((await bench.sink.assign(0, never)).start).toEqual(progressAt(4));
    });
  });

  describe('remove', () => {
    it('forgets progress and fences and leaves the replicated rows', async () => {
      await apply([upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])]);
      await bench.partition.save(progressAt(4), never);
      const removed = await bench.sink.remove(['o'], never);
      expect(removed.length).toBeGreaterThan(0);
      expect(await bench.context.liveRows(bench.schema)).toEqual([['1', 'x', null]]);
      expect((await bench.sink.progress(never)).size).toBe(0);
      expect((await bench.sink.sweeps(never)).size).toBe(0);
    });
  });

  describe('an abort', () => {
    it('ends a call with the signal’s reason, and the same call works again', async () => {
      const controller = new AbortController();
      const batch = { rows: [upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])], progress: progressAt(1) };
      controller.abort(new Error('enough'));
      await expect(bench.partition.apply(batch, controller.signal)).rejects.toThrow('enough');
      expect(tags(await bench.partition.apply(batch, never))).toEqual(['applied']);
    });
  });
}
