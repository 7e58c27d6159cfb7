import { describe, expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import { OFFSET_FIRST } from '#core/position.ts';
import { tableSchema } from '#core/schema.ts';
import { refuseBad, request } from './letters.ts';
import { at, change, keyOf, never, opened, part, put, schema, textColumn } from './stage.ts';

describe('a sink that goes back', () => {
  /** The daemon runs on, or comes only once the sink was restored. */
  it.each(['under its worker', 'while nobody works'])('%s, to before an operator’s replay, has it again', async (when) => {
    const { stage, first } = await opened({ keepBytes: 1_000_000 });
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'), put('2', 10, 'bad'), put('3', 10, 'ok'));
    let run = stage.start();
    await stage.clock.advance(3_000);
    const goBack = stage.sinkStore.keep();
    stage.sinkStore.poison = () => null;
    const asked = await request(stage, 'dlq-replay', ['1']);
    await stage.clock.advance(3_000);
    await request(stage, 'dlq-discard', ['2']);
    await stage.clock.advance(3_000);
    expect(await asked()).toMatchObject({ state: 'done', result: '1 key released' });
    await first.send(put('4', 11, 'ok'));
    await stage.clock.advance(3_000);
    expect(stage.letters()).toEqual([]);
    if (when === 'while nobody works') await run.stop();
    goBack();
    if (when === 'while nobody works') run = stage.start();
    await first.send(put('5', 12, 'ok'));
    await stage.clock.advance(3_000);
    expect(stage.rows()).toEqual({ 1: ['bad', 'big'], 3: ['ok', 'big'], 4: ['ok', 'big'], 5: ['ok', 'big'] });
    expect(stage.letters()).toEqual([]);
    await run.stop();
  });

  it('to before a whole change released a key does not put a partial one on the row before it', async () => {
    const { stage, first } = await opened({ keepBytes: 1_000_000, limits: { batchRowsMax: 1 } });
    refuseBad(stage);
    await first.send(put('1', 10, 's1', 'A'), put('1', 11, 'bad', 'B'));
    const run = stage.start();
    await stage.clock.advance(3_000);
    const goBack = stage.sinkStore.keep();
    await first.send(part('1', 12, 's3'));
    await stage.clock.advance(3_000);
    await first.send(put('1', 13, 's4'));
    await stage.clock.advance(3_000);
    expect(stage.letters()).toEqual([]);
    await run.stop();
    goBack();
    const seen: (string | null | undefined)[] = [];
    stage.sinkStore.onCall = (when, call) => {
      if (when === 'after' && call.name === 'apply') seen.push(stage.rows()['1']?.join());
    };
    await stage.drain();
    expect(new Set(seen)).toEqual(new Set(['s4,big']));
    expect(stage.letters()).toEqual([]);
  });

  it('meets no limit that it had kept before: keys that the log releases again do not count until they are parked anew', async () => {
    const { stage, first } = await opened({ keepBytes: 1_000_000 });
    const withheld = (id: string, commit: number) => change({ id, commit, withheld: 'value_unreadable' });
    await first.send(withheld('1', 10), withheld('2', 10));
    const run = stage.start({ parkedKeysMax: 2 });
    await stage.clock.advance(3_000);
    const goBack = stage.sinkStore.keep();
    await first.send(put('1', 20, 'x'), put('2', 20, 'x'), withheld('3', 30), withheld('4', 30));
    await first.send(put('3', 40, 'x'), put('4', 40, 'x'), withheld('5', 50), withheld('6', 50));
    await first.send(put('5', 60, 'x'), put('6', 60, 'x'));
    await stage.clock.advance(3_000);
    expect(stage.letters()).toEqual([]);
    goBack();
    await first.send(put('7', 70, 'x'));
    await stage.clock.advance(3_000);
    await first.send(withheld('8', 80), withheld('9', 80));
    await stage.clock.advance(3_000);
    expect(run.code()).toBeNull();
    expect(Object.keys(stage.rows())).toEqual(['1', '2', '3', '4', '5', '6', '7']);
    expect(stage.letters().map(({ key }) => key)).toEqual([keyOf('8'), keyOf('9')]);
    expect(run.status().parked.keys).toBe(2);
    // One more is one too many.
    await first.send(withheld('7', 90));
    await stage.clock.runUntil(run.done);
    expect(run.code()).toBe('parked_keys_max');
  });

  it.each([
    [1, null],
    [2, 'parked_keys_max'],
  ])('counts the keys that are parked anew: %i of them', async (replayed, code) => {
    const { stage, first } = await opened({ keepBytes: 1_000_000 });
    const run = stage.start({ parkedKeysMax: 1 });
    await stage.clock.advance(3_000);
    const goBack = stage.sinkStore.keep();
    for (let id = 1; id <= replayed; id += 1) {
      refuseBad(stage);
      await first.send(put(String(id), 10 * id, 'bad'));
      await stage.clock.advance(3_000);
      stage.sinkStore.poison = () => null;
      await request(stage, 'dlq-replay', null);
      await stage.clock.advance(3_000);
    }
    expect(stage.letters()).toEqual([]);
    refuseBad(stage);
    goBack();
    await first.send(put('8', 80, 'ok'));
    await stage.clock.advance(3_000);
    expect(run.code()).toBe(code);
    expect(stage.letters()).toHaveLength(code === null ? 1 : 0);
    if (code !== null) return;
    await first.send(put('9', 90, 'bad'));
    await stage.clock.runUntil(run.done);
    expect(run.code()).toBe('parked_keys_max');
  });

  it('to before its worker took the partition finds what it released by what that worker had read, and an operator by what stood in the log', async () => {
    const { stage, first } = await opened({ keepBytes: 1_000_000 });
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'), put('2', 10, 'bad'));
    await stage.drain();
    const releasedAt = (id: string) => stage.logStore.released.get('s')?.get(0)?.get(keyOf(id))?.at;
    const last = () => stage.logStore.endOf(0) - 1;
    await first.send(put('3', 11, 'ok'), put('1', 11, 'good'), put('4', 11, 'ok'));
    const readWith = last();
    await stage.drain();
    expect(releasedAt('1')).toBe(readWith);
    // Whatever stands in the log by the time of an operator's replay, a worker that sleeps can have read.
    stage.sinkStore.poison = () => null;
    await request(stage, 'dlq-replay', ['2']);
    await first.send(put('5', 12, 'ok'), put('6', 12, 'ok'));
    await stage.drain();
    expect(releasedAt('2')).toBe(last());
  });

  it("to before an operator's replay finds what that released, also where who held the partition before has read on by itself", async () => {
    const { stage, first } = await opened({ keepBytes: 1_000_000 });
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'), put('2', 10, 'bad'));
    await stage.drain();
    const goBack = stage.sinkStore.keep();
    stage.sinkStore.poison = () => null;
    await request(stage, 'dlq-replay', null);
    await stage.drain();
    await first.send(put('3', 11, 'ok'));
    await stage.drain();
    const passed = present(stage.progress(), 'progress');
    expect([stage.letters(), passed.replays]).toEqual([[], 1]);
    goBack();
    // It knows nothing of the replay, and its hold is the newest that the sink has.
    stage.sinkStore.progress.set(0, { ...passed, replays: 0 });
    await first.send(put('4', 12, 'ok'));
    const counted: unknown[] = [];
    stage.sinkStore.onCall = (when, call) => {
      if (when === 'before' && call.name === 'save' && call.progress.replays > 0) counted.push(Object.keys(stage.rows()));
    };
    await stage.drain();
    expect(Object.keys(stage.rows())).toEqual(['1', '2', '4']);
    // Whoever takes the partition in between has to meet them too: the number says that the sink has all of them.
    expect(counted[0]).toEqual(['1', '2']);
    expect(stage.progress()?.replays).toBe(1);
    const run = await stage.drain();
    expect(run.outcomes.get('released replayed')).toBeUndefined();
  });

  it('that its old worker goes on with counts no replay of a worker that has lost the letters: its successor would miss what it never knew', async () => {
    const { stage, first } = await opened({ keepBytes: 1_000_000 });
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'), put('2', 10, 'bad'));
    const run = stage.start();
    await stage.clock.advance(3_000);
    // What a successor replayed at the sink that is gone.
    const successor = await stage.log().deadLetters('s').take(0, never);
    await successor.release([{ key: keyOf('1'), sequence: at(10), at: OFFSET_FIRST, replay: 1 }], never);
    stage.sinkStore.poison = () => null;
    await request(stage, 'dlq-replay', ['2']);
    await stage.clock.advance(3_000);
    expect(stage.progress()?.replays).toBe(0);
    expect(Object.keys(stage.rows())).toEqual(['2']);
    await run.stop();
    await stage.drain();
    // And the request once more.
    expect([Object.keys(stage.rows()), stage.progress()?.replays]).toEqual([['1', '2'], 2]);
  });

  it('forgets what it can never be asked for again: behind the start of the log', async () => {
    const { stage, first } = await opened();
    await stage.log().retain(['s'], never);
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'));
    await stage.drain();
    await first.send(put('1', 11, 'good'), put('2', 11, 'good'));
    await stage.drain();
    await first.send(put('2', 12, 'good'));
    await stage.drain();
    expect(stage.logStore.partition(0).start).toBeGreaterThan(3);
    expect(stage.logStore.released.get('s')?.get(0)?.size).toBe(0);
  });

  it('is told by nothing, where none was lost: a start looks at what was released last, and finds it', async () => {
    const { stage, first } = await opened({ keepBytes: 1_000_000 });
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'));
    await stage.drain();
    stage.sinkStore.poison = () => null;
    await request(stage, 'dlq-replay', ['1']);
    await stage.drain();
    const run = await stage.drain();
    expect(run.outcomes.get('released replayed')).toBe(1);
    expect([stage.letters(), stage.rows()]).toEqual([[], { 1: ['bad', 'big'] }]);
    // Once the progress has passed that, a sink that has it has the row too.
    await first.send(put('2', 11, 'good'));
    await stage.drain();
    expect((await stage.drain()).outcomes.get('released replayed')).toBeUndefined();
  });
});

describe('a hand-over', () => {
  it('takes the letters before it reads them, so that what the old worker would park then is met in the log (counterexample 29)', async () => {
    const { stage, first } = await opened({ limits: { batchRowsMax: 1 } });
    refuseBad(stage);
    await first.send(put('1', 10, 's1', 'A'));
    await stage.drain();
    await first.send(put('1', 11, 'bad', 'B'), part('1', 12, 's3'));
    // The old worker would park the key and move its progress, exactly while the new one reads the letters.
    const old = stage.start();
    const log = stage.log();
    const queue = log.deadLetters('s');
    let isNew = true;
    Object.assign(log, {
      deadLetters: () => ({
        ...queue,
        async *read(partition: number, signal: AbortSignal) {
          yield* queue.read(partition, signal);
          if (isNew) {
            isNew = false;
            await stage.clock.advance(2_000);
          }
        },
      }),
    });
    stage.log = () => log;
    const fresh = stage.start();
    await stage.clock.advance(5_000);
    await first.send(part('1', 13, 's5'));
    await stage.clock.advance(5_000);
    expect(stage.rows()['1']).toEqual(['s1', 'A']);
    expect(stage.letters()).toMatchObject([{ key: keyOf('1'), whole: false }]);
    await fresh.stop();
    await old.stop();
  });

  it('parks nothing anew by a worker that slept before it took the letters, while its successor released them', async () => {
    const { stage, first } = await opened({ keepBytes: 1_000_000, limits: { batchRowsMax: 1 } });
    refuseBad(stage);
    await first.send(put('1', 10, 's1', 'A'));
    await stage.drain();
    const asleep = stage.log();
    const queue = asleep.deadLetters('s');
    const awake = Promise.withResolvers<null>();
    Object.assign(asleep, {
      deadLetters: () => ({
        ...queue,
        readReleased: queue.readReleased.bind(queue),
        read: queue.read.bind(queue),
        async take(partition: number, signal: AbortSignal) {
          await awake.promise;
          return queue.take(partition, signal);
        },
      }),
    });
    const logOf = stage.log.bind(stage);
    stage.log = () => asleep;
    const old = stage.start();
    await stage.clock.advance(100);
    stage.log = logOf;
    // Of a version that the sleeper does not know: it cannot replay what it would meet.
    const wider = tableSchema({ ...schema, columns: [...schema.columns, textColumn('more')] });
    await stage.tables([[schema, wider]]);
    const wide = (commit: number, a: string) => change({ id: '1', commit, row: ['1', a, 'B', 'more'], of: wider });
    await first.send({ tag: 'schema', schema: wider }, wide(11, 'bad'), wide(12, 's2'));
    const fresh = stage.start();
    await stage.clock.advance(3_000);
    expect(stage.logStore.released.get('s')?.get(0)?.size).toBe(1);
    awake.resolve(null);
    await stage.clock.advance(3_000);
    expect(stage.letters()).toEqual([]);
    expect(stage.rows(wider)['1']).toEqual(['s2', 'B', 'more']);
    await old.stop();
    await fresh.stop();
  });
});
