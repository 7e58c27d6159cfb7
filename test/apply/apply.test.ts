import { describe, expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import { controlKeys } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { PartitionAssignment } from '#core/log.ts';
import { epochMicrosOf, epochOf, fencingTokenOf, type Offset } from '#core/position.ts';
import { watermarkSequence } from '#core/sequence.ts';
import { MemorySink } from '../support/memory-sink.ts';
import { at, change, del, keyOf, never, opened, part, Publisher, put, schema, Stage, watermark } from './stage.ts';

describe('apply', () => {
  it('brings changes to the sink, stores its progress, and goes on from there', async () => {
    const { stage, first } = await opened({ partitions: 4 });
    await first.send(put('1', 10, 'a'), put('2', 10, 'b'), put('3', 11, 'c'), del('2', 12), part('3', 13, 'd'), watermark(13));
    const run = await stage.drain();
    expect(run.code()).toBeNull();
    expect(stage.rows()).toEqual({ 1: ['a', 'big'], 3: ['d', 'big'] });
    expect(stage.sequenceOf('2')).toBe(at(12));
    for (let partition = 0; partition < 4; partition += 1) {
      expect(stage.progress(partition)?.pair).toEqual(first.pair(partition));
      expect(stage.progress(partition)?.offset).toBe(stage.logStore.endOf(partition));
      expect(stage.logStore.progress.get('s')?.get(partition)?.offset).toBe(stage.logStore.endOf(partition));
    }
    expect(run.status().position?.sourceTime).toBe(13_000_000);
    expect((await stage.sinkRow()).state).toBe('known');
    // What a log needs for its consumer may be made only before the sink is known.
    expect(stage.logStore.prepared).toEqual([{ consumer: 's', known: false }]);

    await first.send(put('1', 20, 'e'));
    const again = await stage.drain();
    expect(stage.logStore.prepared.at(-1)).toEqual({ consumer: 's', known: true });
    expect(stage.rows()).toMatchObject({ 1: ['e', 'big'] });
    expect(again.outcomes.get('applied')).toBe(1);
    expect(again.outcomes.get('stale')).toBeUndefined();
  });

  it('waits for its row, and does not begin before capture registered the sink', async () => {
    const stage = new Stage();
    const run = stage.start();
    await stage.clock.advance(3_000);
    expect(run.status().state).toBe('waiting');
    await stage.register();
    await stage.clock.advance(3_000);
    expect(run.status().state).toBe('running');
    await run.stop();
    expect(run.code()).toBeNull();
  });

  it.each(['log_unavailable', 'log_topic_missing'] as const)(
    'waits for a log that was never made (%s), but not for one that was',
    async (code) => {
      const stage = new Stage();
      const log = stage.log();
      const ends = log.ends.bind(log);
      log.ends = () => Promise.reject(new CausewayError(code, 'no log'));
      stage.log = () => log;
      const run = stage.start();
      await stage.clock.advance(3_000);
      expect(run.status().state).toBe('waiting');
      log.ends = ends;
      await stage.register();
      await stage.clock.advance(3_000);
      expect(run.status().state).toBe('running');
      await run.stop();
      log.ends = () => Promise.reject(new CausewayError(code, 'no log'));
      await stage.write(controlKeys.checkpoint('p'), {});
      const again = stage.start();
      await stage.clock.advance(3_000);
      if (code === 'log_topic_missing') expect(again.code()).toBe(code);
      await again.kill();
    },
  );

  it('stores progress within a second after the last batch, without being stopped', async () => {
    const { stage, first } = await opened();
    const run = stage.start();
    await stage.clock.advance(10);
    await first.send(put('1', 10, 'a'));
    await stage.clock.advance(1_100);
    expect(stage.progress()?.offset).toBe(stage.logStore.endOf(0));
    await run.kill();
  });

  it('counts what became of each change, and gives the commit times of those that took effect', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 'a'), put('1', 11, 'b'), change({ id: '2', commit: 12, row: ['2', 'x', 'y'], op: 'insert' }));
    await first.send(change({ id: '3', commit: 12, row: ['3', 'x', 'y'], sink: 'other' }));
    const run = await stage.drain();
    expect(Object.fromEntries(run.outcomes)).toMatchObject({ 'update applied': 2, 'insert applied': 1, filtered: 1 });
    expect(run.committedAt).toEqual([11_000_000, 12_000_000]);
    expect(stage.sequenceOf('3')).toBeUndefined();
  });

  it('a batch carries the progress of the end of the one before it, never its own', async () => {
    const { stage, first } = await opened({ limits: { batchRowsMax: 2 } });
    await first.send(...Array.from({ length: 20 }, (_, index) => put(String(index), 10 + index, 'x')));
    stage.sinkStore.onCall = (stageOf, call) => {
      if (call.name !== 'apply' || stageOf === 'before') return;
      // Everything before the stored offset is at the sink already: two records stand before the first change.
      const offset = call.progress?.offset ?? 0;
      const present = stage.sinkStore.liveRows(schema).length - call.rows.length;
      expect(offset - 2).toBeLessThanOrEqual(present);
    };
    const run = await stage.drain();
    expect(run.code()).toBeNull();
    expect(Object.keys(stage.rows())).toHaveLength(20);
  });

  it('merges what is there into one batch, up to the limits', async () => {
    const { stage, first } = await opened({ limits: { batchRowsMax: 50 } });
    await first.send(...Array.from({ length: 120 }, (_, index) => put(String(index), 10 + index, 'x')));
    const sizes: number[] = [];
    stage.sinkStore.onCall = (stageOf, call) => {
      if (call.name === 'apply' && stageOf === 'after') sizes.push(call.rows.length);
    };
    await stage.drain();
    expect(sizes).toEqual([50, 50, 20]);
  });
});

describe('a sink that does not answer', () => {
  it('is ridden out with the same batch, also when only the reply was lost', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 'a'), put('2', 10, 'b'));
    let fails = 4;
    const batches = new Set<unknown>();
    stage.sinkStore.onCall = (stageOf, call) => {
      if (call.name !== 'apply') return;
      if (stageOf === 'before') batches.add(JSON.stringify(call.rows));
      if (stageOf === (fails % 2 === 0 ? 'before' : 'after') && (fails -= 1) >= 0) throw new CausewayError('sink_unavailable', 'gone');
    };
    const run = await stage.drain();
    expect(run.code()).toBeNull();
    expect(batches.size).toBe(1);
    expect(run.outcomes.get('retry sink_unavailable')).toBe(4);
    expect(stage.rows()).toEqual({ 1: ['a', 'big'], 2: ['b', 'big'] });
  });

  it('does not keep a stop from ending', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 'a'));
    stage.sinkStore.onCall = (_, call) => {
      if (call.name === 'apply') throw new CausewayError('sink_unavailable', 'gone');
    };
    const run = stage.start();
    await stage.clock.advance(5_000);
    expect(run.status().state).toBe('retrying');
    await run.stop();
    expect(run.code()).toBeNull();
    stage.sinkStore.onCall = null;
    await stage.drain();
    expect(stage.rows()).toEqual({ 1: ['a', 'big'] });
  });

  it('whose table is missing stops with its code, and nothing is passed over', async () => {
    const { stage, first } = await opened();
    await stage.drain();
    stage.sinkStore.tables.clear();
    stage.sinkStore.onCall = (_, call) => {
      if (call.name === 'provision') throw new CausewayError('sink_misconfigured', 'not allowed');
    };
    await first.send(put('1', 10, 'a'));
    expect((await stage.drain()).code()).toBe('sink_misconfigured');
    stage.sinkStore.onCall = null;
    await stage.drain();
    expect(stage.rows()).toEqual({ 1: ['a', 'big'] });
  });

  it('lets the other partitions finish when one of them stops', async () => {
    const { stage, first } = await opened({ partitions: 4 });
    await first.send(...Array.from({ length: 20 }, (_, index) => put(String(index), 10, 'x')));
    await first.raw(2, 99, put('x', 11, 'x'));
    const run = await stage.drain();
    expect(run.code()).toBe('log_gap');
    expect(Object.keys(stage.rows())).toHaveLength(20);
    // What stands before the gap is stored too.
    expect(stage.progress(2)?.pair).toEqual(first.pair(2));
  });
});

describe('a sink that went back', () => {
  it('is applied again from its own progress, whatever the log remembers (counterexamples 4, 20)', async () => {
    const { stage, first } = await opened();
    const run = stage.start();
    await stage.clock.advance(10);
    await first.send(put('1', 10, 'a'), put('2', 10, 'b'), watermark(10));
    await stage.clock.advance(2_000);
    const restore = stage.sinkStore.keep();
    await first.send(put('1', 11, 'c'), put('3', 11, 'd'), watermark(11));
    await stage.clock.advance(2_000);
    expect(run.status().position?.sourceTime).toBe(11_000_000);
    restore();
    expect(stage.rows()).toEqual({ 1: ['a', 'big'], 2: ['b', 'big'] });
    await first.send(put('2', 12, 'e'));
    await stage.clock.advance(2_000);
    expect(stage.rows()).toEqual({ 1: ['c', 'big'], 2: ['e', 'big'], 3: ['d', 'big'] });
    await run.stop();
    expect(run.code()).toBeNull();
  });
});

describe('a sink that is known to have gone back', () => {
  it('reports no position until its partition is held again (A3)', async () => {
    const { stage, first } = await opened();
    const run = stage.start();
    await first.send(put('1', 10, 'a'), watermark(10));
    await stage.clock.advance(2_000);
    const restore = stage.sinkStore.keep();
    await first.send(put('1', 11, 'b'), watermark(11));
    await stage.clock.advance(2_000);
    restore();
    const open = Promise.withResolvers<undefined>();
    stage.sinkStore.onCall = (when, call) => (when === 'before' && call.name === 'assign' ? open.promise : undefined);
    await first.send(put('2', 12, 'c'), watermark(12));
    await stage.clock.advance(2_000);
    expect(run.status().position).toBeNull();
    open.resolve(undefined);
    await stage.clock.advance(3_000);
    expect(run.status().position?.sourceTime).toBe(12_000_000);
    await run.stop();
    expect(run.code()).toBeNull();
  });
});

describe('a sink that goes back while another worker holds its partition', () => {
  it('is noticed by who stands by, whose position falls with it (A3)', async () => {
    const { stage, first } = await opened();
    const run = stage.start();
    await first.send(put('1', 10, 'a'), watermark(10));
    await stage.clock.advance(2_000);
    const sink = new MemorySink(stage.sinkStore);
    await sink.claim({ owner: present(stage.sinkStore.owner, 'owner'), known: true }, never);
    const other = await sink.assign(0, never);
    const restore = stage.sinkStore.keep();
    const stored = present(other.start, 'progress');
    await first.send(put('2', 11, 'b'));
    const watermarkOf = { sequence: watermarkSequence(epochOf(1), 11n), sourceTime: epochMicrosOf(11_000_000) };
    await other.save({ ...stored, offset: (stored.offset + 1) as Offset, watermark: watermarkOf }, never);
    await stage.clock.advance(20_000);
    expect(run.status().position?.sourceTime).toBe(11_000_000);
    restore();
    await stage.clock.advance(20_000);
    expect(run.status().position?.sourceTime).toBe(10_000_000);
    await run.stop();
  });
});

describe('a sink that lost its last batch alone', () => {
  it('is given it again, though its progress is the same as before', async () => {
    const { stage, first } = await opened();
    const run = stage.start();
    await first.send(put('1', 10, 'a'), watermark(10));
    await stage.clock.advance(3_000);
    const restore = stage.sinkStore.keep();
    await first.send(put('1', 11, 'b'));
    await stage.clock.advance(50);
    expect(stage.rows()).toEqual({ 1: ['b', 'big'] });
    restore();
    await stage.clock.advance(5_000);
    expect(stage.rows()).toEqual({ 1: ['b', 'big'] });
    await run.stop();
    expect(run.code()).toBeNull();
  });
});

describe('a sink that went back behind what every sink had taken', () => {
  it('finds its records in the stretch that the log keeps, and holds them until it took them again', async () => {
    const { stage, first } = await opened({ keepBytes: 100_000 });
    await stage.log().retain(['s', 'other'], never);
    const reader = await stage.log().reader('other', never);
    const others = (await reader.assignments(never)[Symbol.asyncIterator]().next()).value as PartitionAssignment;
    const otherTakesAll = async (): Promise<void> => {
      await others.commit({ offset: stage.logStore.endOf(0) as Offset, pair: first.pair(0) }, never);
    };
    const run = stage.start();
    await first.send(put('1', 10, 'a'), watermark(10));
    await stage.clock.advance(2_000);
    const restore = stage.sinkStore.keep();
    const wentBackTo = present(stage.progress(), 'progress').offset;
    for (let commit = 11; commit < 20; commit += 1)
      await first.send(put('1', commit, `v${String(commit)}`), put('2', commit, 'b'), watermark(commit));
    await stage.clock.advance(2_000);
    await otherTakesAll();
    restore();
    // While the sink does not take anything, another one's commits free nothing of it, though the log would keep no stretch.
    let isDown = false;
    stage.sinkStore.onCall = (_stage, call) => {
      if (isDown && call.name === 'apply') throw new CausewayError('sink_unavailable', 'down');
      isDown = isDown || call.name === 'assign';
    };
    await first.send(put('3', 20, 'c'));
    await stage.clock.advance(2_000);
    await otherTakesAll();
    stage.logStore.trim(0);
    expect((await stage.log().ends(never))[0]?.start).toBe(wentBackTo);
    stage.sinkStore.onCall = null;
    await stage.clock.advance(60_000);
    expect(stage.rows()).toEqual({ 1: ['v19', 'big'], 2: ['b', 'big'], 3: ['c', 'big'] });
    await run.stop();
    expect(run.code()).toBeNull();
  });
});

describe('a partition that another worker took', () => {
  it('is left alone, and two appliers end with the same rows as one', async () => {
    const { stage, first } = await opened({ partitions: 2 });
    const one = stage.start();
    await stage.clock.advance(100);
    const two = stage.start();
    await stage.clock.advance(100);
    const fences = [...stage.sinkStore.fences.values()];
    for (let commit = 10; commit < 40; commit += 1) {
      await first.send(put(String(commit % 7), commit, `v${String(commit)}`), watermark(commit));
      await stage.clock.advance(3_000);
    }
    expect([...stage.sinkStore.fences.values()]).toEqual(fences);
    expect(one.status().partitions.map(({ state }) => state)).toEqual(['fenced', 'fenced']);
    expect(one.code()).toBeNull();
    expect(stage.rows()['4']).toEqual(['v39', 'big']);
    await two.kill();
    await first.send(put('4', 50, 'last'));
    await stage.clock.advance(90_000);
    expect(stage.rows()['4']).toEqual(['last', 'big']);
    await one.stop();
  });
});

describe('a sink that is configured later', () => {
  it('starts at the ends of the log where nothing has to be loaded', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 'a'));
    await stage.write('checkpoint/p' as never, { generation: 1 });
    const run = stage.start({ sinkName: 'later', snapshot: 'never' });
    await stage.clock.advance(1_000);
    const row = await stage.sinkRow('later');
    expect(row).toMatchObject({ state: 'known', startOffsets: [3], startGeneration: 1 });
    await first.send(put('2', 11, 'b'));
    await stage.clock.advance(1_000);
    await run.stop();
    expect(run.code()).toBeNull();
    expect(stage.rows()).toEqual({ 2: ['b', 'big'] });
    expect(stage.progress()?.pair).toEqual(first.pair(0));
  });

  it('that is known and lacks progress in a partition is an error, never a new start (counterexample 27)', async () => {
    const { stage } = await opened({ partitions: 2 });
    await stage.drain();
    stage.sinkStore.progress.delete(1);
    expect((await stage.drain()).code()).toBe('sink_unknown_progress');
  });

  it('whose first worker died before every partition had progress is still new, with the same start', async () => {
    const { stage, first } = await opened({ partitions: 3 });
    await first.send(...Array.from({ length: 9 }, (_, index) => put(String(index), 10, 'x')));
    let saves = 0;
    stage.sinkStore.onCall = (when, call) => {
      if (call.name === 'save' && when === 'after' && (saves += 1) === 2) throw new CausewayError('sink_misconfigured', 'crash');
    };
    expect((await stage.drain()).code()).toBe('sink_misconfigured');
    expect((await stage.sinkRow()).state).toBe('new');
    stage.sinkStore.onCall = null;
    await stage.drain();
    expect(Object.keys(stage.rows())).toHaveLength(9);
  });

  it('does not start over progress of an earlier life', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 'a'));
    await stage.drain();
    await stage.register();
    expect((await stage.drain()).code()).toBe('sink_misconfigured');
  });
});

describe('the order of generations in the log', () => {
  it('a superseded generation changes nothing (C6, counterexample 1)', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 101, 'a'));
    const second = new Publisher(stage, 2);
    await second.open({ acknowledged: [first.pair(0)] });
    await second.send(put('2', 102, 'b'));
    await first.send(put('3', 103, 'zombie'), put('1', 104, 'zombie'));
    await second.send(put('4', 105, 'c'));
    const run = await stage.drain();
    expect(run.code()).toBeNull();
    expect(stage.rows()).toEqual({ 1: ['a', 'big'], 2: ['b', 'big'], 4: ['c', 'big'] });
    expect(run.outcomes.get('fenced')).toBe(2);
    // They are sent again by the new generation, and take effect then.
    await second.send(put('3', 103, 'sent again'));
    await stage.drain();
    expect(stage.rows()['3']).toEqual(['sent again', 'big']);
  });

  it('a counter that was jumped, a tail that is missing and an opening that is missing stop it (C7, counterexample 5)', async () => {
    for (const break_ of ['gap', 'tail', 'opening'] as const) {
      const { stage, first } = await opened();
      await first.send(put('1', 10, 'a'));
      await stage.drain();
      const second = new Publisher(stage, 2);
      if (break_ === 'gap') await first.raw(0, 9_000, put('2', 11, 'b'));
      if (break_ === 'tail') await second.open({ acknowledged: [{ generation: fencingTokenOf(1), counter: 4 }] });
      if (break_ === 'opening') await second.raw(0, 2, put('2', 11, 'b'));
      expect((await stage.drain()).code(), break_).toBe('log_gap');
      expect(stage.rows(), break_).toEqual({ 1: ['a', 'big'] });
      expect(stage.progress()?.offset, break_).toBe(3);
    }
  });

  it('repeated sends are passed over, a late copy of an opening too; and so are openings that died', async () => {
    const { stage, first } = await opened({ partitions: 2 });
    await first.send(put('1', 10, 'a'));
    await first.raw(0, 1, { tag: 'generation-open', epoch: 1 as never, fork: 0n, partitions: 2, acknowledged: null });
    const partition = first.counters[0] === 3 ? 0 : 1;
    await first.raw(partition, 3, put('1', 10, 'a'));
    await new Publisher(stage, 2).open({ partitions: [0], acknowledged: [first.pair(0), first.pair(1)] });
    const third = new Publisher(stage, 3);
    await third.open({ acknowledged: [first.pair(0), first.pair(1)] });
    await third.send(put('1', 20, 'b'));
    const run = await stage.drain();
    expect(run.code()).toBeNull();
    expect(run.outcomes.get('duplicate')).toBe(1);
    expect(stage.rows()).toEqual({ 1: ['b', 'big'] });
  });

  it('a generation that was given out twice stops it, after a restart too (counterexample 32)', async () => {
    for (const restart of [false, true]) {
      const { stage, first } = await opened();
      await first.send(put('1', 10, 'a'), put('2', 10, 'b'));
      if (restart) await stage.drain();
      const twin = new Publisher(stage, 1, 'twin');
      await twin.open();
      await twin.send(put('3', 11, 'c'));
      expect((await stage.drain()).code()).toBe('generation_behind');
      expect(stage.rows()).toEqual({ 1: ['a', 'big'], 2: ['b', 'big'] });
    }
  });

  it('a log with another number of partitions stops it', async () => {
    const { stage, first } = await opened();
    await first.to(0, { tag: 'generation-open', epoch: 1 as never, fork: 0n, partitions: 1, acknowledged: null });
    const second = new Publisher(stage, 2);
    await second.to(0, { tag: 'generation-open', epoch: 1 as never, fork: 0n, partitions: 8, acknowledged: null });
    expect((await stage.drain()).code()).toBe('log_partitions_changed');
  });

  it('offsets that the log no longer holds stop it', async () => {
    const { stage, first } = await opened();
    await stage.drain();
    await first.send(...Array.from({ length: 5 }, (_, index) => put(String(index), 10, 'x')));
    const partition = stage.logStore.partition(0);
    partition.records.splice(0, 4);
    partition.start = 4;
    expect((await stage.drain()).code()).toBe('log_offset_gone');
  });
});

describe('epochs', () => {
  it('what the new history does not contain changes nothing, also after a restart (counterexamples 15, 18)', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 'kept'), put('2', 10, 'kept'));
    await stage.drain();
    const second = new Publisher(stage, 2);
    await second.open({ acknowledged: [first.pair(0)], epoch: 2, fork: 20n });
    await second.send({ tag: 'epoch-open', epoch: 2 as never, fork: 20n });
    await stage.drain();
    expect(stage.progress()?.epochs).toEqual([{ epoch: 2, fork: '0000000000000014' }]);
    await second.send(
      put('1', 19, 'below the fork'),
      put('2', 20, 'at the fork'),
      change({ id: '3', commit: 5, row: ['3', 'new', 'x'], epoch: 2 }),
    );
    const run = await stage.drain();
    expect(stage.rows()).toEqual({ 1: ['below the fork', 'big'], 2: ['kept', 'big'], 3: ['new', 'x'] });
    expect(run.outcomes.get('fenced')).toBe(1);
  });
});

describe('loads', () => {
  it('a partial image without a row is dropped while its table is being loaded, and only then (counterexample 24)', async () => {
    const { stage, first } = await opened();
    await first.send({ tag: 'load-open', table: schema.table, sink: null }, part('1', 10, 'a'));
    await stage.drain();
    expect(stage.progress()?.openLoads).toEqual([{ table: schema.table, sink: null }]);
    await first.send(part('2', 10, 'a'), { tag: 'load-close', table: schema.table, sink: null }, part('3', 11, 'a'));
    const run = await stage.drain();
    expect(stage.letters().map(({ key }) => key)).toEqual([keyOf('3')]);
    expect(run.outcomes.get('filtered')).toBe(1);
    expect(stage.progress()?.openLoads).toEqual([]);
  });
});
