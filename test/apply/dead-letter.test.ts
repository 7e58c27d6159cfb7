import { describe, expect, it } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import type { DeadLetters, HeldLetters } from '#core/log.ts';
import { tableSchema } from '#core/schema.ts';
import { refuseBad, request } from './letters.ts';
import { at, change, del, keyOf, opened, part, put, schema, textColumn, truncate, watermark } from './stage.ts';

describe('a row that the sink refuses', () => {
  it('parks its key and nothing else, and the next whole image releases it', async () => {
    const { stage, first } = await opened({ partitions: 3 });
    refuseBad(stage);
    await first.send(put('1', 10, 'ok'), put('2', 10, 'bad'), put('3', 10, 'ok'), watermark(10));
    const run = await stage.drain();
    expect(stage.rows()).toEqual({ 1: ['ok', 'big'], 3: ['ok', 'big'] });
    expect(stage.letters()).toEqual([{ key: keyOf('2'), sequence: at(10), code: 'value_refused', whole: true }]);
    expect(run.outcomes.get('dead_lettered')).toBe(1);
    expect(run.status().parked).toEqual({ keys: 1, awaitingRepair: 0, oldestSequence: at(10), oldestCommittedAt: 10_000_000 });
    expect(run.status().position?.sourceTime).toBe(10_000_000);
    await first.send(put('2', 20, 'good'));
    await stage.drain();
    expect(stage.letters()).toEqual([]);
    expect(stage.rows()['2']).toEqual(['good', 'big']);
  });

  it('a delete releases it too', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'));
    await stage.drain();
    await first.send(del('1', 11));
    await stage.drain();
    expect(stage.letters()).toEqual([]);
    expect(stage.sequenceOf('1')).toBe(at(11));
  });

  it('leaves a tombstone once a truncate has ended it, for writes of an earlier holder that arrive late (counterexample 3)', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(put('1', 10, 'late'), put('1', 11, 'bad'), truncate(20), watermark(20));
    await stage.drain();
    expect(stage.letters()).toEqual([]);
    expect(stage.sequenceOf('1')).toBe(at(20));
    expect(stage.rows()).toEqual({});
  });

  it('is buried by the columns that the table has, though a version with another key stands further on', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(put('1', 11, 'bad'));
    await stage.drain();
    const renamed = tableSchema({ ...schema, columns: [textColumn('uid', { nullable: false }), ...schema.columns.slice(1)] });
    await stage.tables([[schema, renamed]]);
    const versions = new Set<string>();
    stage.sinkStore.onCall = (_, call) => {
      if (call.name === 'apply') for (const row of call.rows) versions.add(row.schema.version);
    };
    await first.send(truncate(20), watermark(20));
    const run = await stage.drain();
    expect([...versions]).toEqual([schema.version]);
    expect(run.code()).toBeNull();
    expect(stage.letters()).toEqual([]);
    expect(stage.sequenceOf('1')).toBe(at(20));
  });

  it('a partial image of a parked key only marks it, whoever works on the partition (counterexample 14)', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(put('1', 10, 's1'), put('1', 11, 'bad', 'new large'));
    await stage.drain();
    // Another worker comes, and more of them: they know of the parked key from the queue alone.
    await first.send(part('1', 12, 's3'));
    await stage.drain();
    expect(stage.rows()['1']).toBeUndefined();
    expect(stage.letters()).toEqual([{ key: keyOf('1'), sequence: at(12), code: 'value_refused', whole: false }]);
    await first.send(part('1', 13, 's4'));
    await stage.drain();
    expect(stage.rows()['1']).toBeUndefined();
    await first.send(put('1', 14, 'whole'));
    await stage.drain();
    expect(stage.rows()['1']).toEqual(['whole', 'big']);
    expect(stage.letters()).toEqual([]);
  });

  it('that took effect before stays, and only the newer change is parked', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(put('1', 10, 's1'));
    await stage.drain();
    await first.send(put('1', 11, 's2', 'bad'), part('1', 12, 's3'));
    await stage.drain();
    expect(stage.sequenceOf('1')).toBe(at(10));
    // Sent again by another generation: the older image is no reason to release the key.
    await first.send(put('1', 10, 's1'));
    await stage.drain();
    expect(stage.letters()).toHaveLength(1);
    expect(stage.sequenceOf('1')).toBe(at(10));
  });

  it('a hot parked key does not fill the queue', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'));
    const run = stage.start();
    await stage.clock.advance(100);
    let parks = 0;
    const letters = stage.logStore.letters;
    for (let commit = 11; commit < 60; commit += 1) {
      await first.send(part('1', commit, 'x'));
      await stage.clock.advance(100);
      const letter = letters.get('s')?.get(0)?.get(keyOf('1'));
      if (letter?.sequence === at(commit)) parks += 1;
    }
    expect(parks).toBe(1);
    await run.stop();
  });

  it.each(['before', 'after'])(
    'that an earlier worker parks late, %s its successor takes the letters, does not stay behind a newer row (counterexample 29)',
    async (when) => {
      const { stage, first } = await opened();
      refuseBad(stage);
      await first.send(put('1', 10, 'bad'));
      const log = stage.log();
      const queue = log.deadLetters('s');
      const arrives = Promise.withResolvers<undefined>();
      const parked = Promise.withResolvers<undefined>();
      let takes = 0;
      const take: DeadLetters['take'] = async (partition, signal) => {
        takes += 1;
        if (takes === 2 && when === 'before') {
          arrives.resolve(undefined);
          await parked.promise;
        }
        const held = await queue.take(partition, signal);
        const park: HeldLetters['park'] = (...letters) =>
          arrives.promise.then(() => held.park(...letters).finally(() => parked.resolve(undefined)));
        return { ...held, park };
      };
      stage.log = () => Object.assign(log, { deadLetters: () => ({ ...queue, take }) });
      const zombie = stage.start();
      await stage.clock.advance(1_000);
      await first.send(put('1', 11, 'good'));
      const run = stage.start();
      await stage.clock.advance(3_000);
      arrives.resolve(undefined);
      await stage.clock.advance(1_000);
      expect(stage.rows()['1']).toEqual(['good', 'big']);
      expect(stage.letters()).toEqual([]);
      await zombie.stop();
      await run.stop();
      expect([zombie.code(), run.code()]).toEqual([null, null]);
    },
  );

  it('is durable before the offset passes it: a crash between the two meets it again', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'), put('2', 10, 'ok'));
    const broken = stage.log();
    const queue = broken.deadLetters('s');
    stage.log = () =>
      Object.assign(broken, {
        deadLetters: () => ({
          ...queue,
          take: async (...given: Parameters<DeadLetters['take']>): Promise<HeldLetters> => ({
            ...(await queue.take(...given)),
            park: () => Promise.reject(new CausewayError('log_damaged', 'crash')),
          }),
        }),
      });
    expect((await stage.drain()).code()).toBe('log_damaged');
    expect(stage.progress()?.offset).toBeLessThan(3);
    delete (stage as { log?: unknown }).log;
    Object.assign(broken, { deadLetters: () => queue });
    await stage.drain();
    expect(stage.letters()).toHaveLength(1);
  });
});

describe('a change that was withheld', () => {
  it('parks its key, and leaves what stands before and behind it', async () => {
    const { stage, first } = await opened();
    await first.send(
      put('1', 10, 'a'),
      change({ id: '1', commit: 11, withheld: 'record_too_large: 20 MB' }),
      part('1', 12, 'c'),
      put('2', 12, 'x'),
    );
    await stage.drain();
    expect(stage.rows()).toEqual({ 1: ['a', 'big'], 2: ['x', 'big'] });
    expect(stage.letters()).toMatchObject([{ key: keyOf('1'), sequence: at(12), code: 'record_too_large', whole: false }]);
    await first.send(put('1', 13, 'd'));
    await stage.drain();
    expect(stage.rows()['1']).toEqual(['d', 'big']);
    expect(stage.letters()).toEqual([]);
  });
});

describe('a partial image without a row', () => {
  it('parks its key; behind a delete in the same batch too (counterexample 2)', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 'old', 'OLD'));
    await stage.drain();
    await first.send(del('1', 11), part('1', 12, 'key change'), part('2', 12, 'no base'));
    await stage.drain();
    expect(stage.rows()).toEqual({});
    expect(stage.sequenceOf('1')).toBe(at(11));
    expect(stage.letters().map(({ key, code }) => [key, code])).toEqual([
      [keyOf('1'), 'partial_without_base'],
      [keyOf('2'), 'partial_without_base'],
    ]);
  });

  it('is merged over the whole image before it in one batch, and over the row in two (counterexample 2)', async () => {
    const { stage, first } = await opened();
    await first.send(put('1', 10, 's1', 'A'));
    await stage.drain();
    await first.send(put('1', 11, 's2', 'B'), part('1', 12, 's3'));
    await stage.drain();
    expect(stage.rows()['1']).toEqual(['s3', 'B']);
    await first.send(part('1', 13, 's4'));
    await stage.drain();
    expect(stage.rows()['1']).toEqual(['s4', 'B']);
  });
});

describe('too many parked keys', () => {
  it('stop the sink, and a replay after the cause is mended lets it go on', async () => {
    const { stage, first } = await opened({ partitions: 2 });
    refuseBad(stage);
    await first.send(...['1', '2', '3', '4', '5', '6'].map((id) => put(id, 10, 'bad')));
    const run = await stage.drain({ parkedKeysMax: 4 });
    expect(run.code()).toBe('parked_keys_max');
    expect(stage.letters().length).toBeLessThanOrEqual(4);
    expect((await stage.drain({ parkedKeysMax: 4 })).code()).toBe('parked_keys_max');
    stage.sinkStore.poison = () => null;
    const asked = await request(stage, 'dlq-replay', null);
    const last = await stage.drain({ parkedKeysMax: 4 });
    expect(last.code()).toBeNull();
    expect(stage.letters()).toEqual([]);
    expect(Object.keys(stage.rows())).toHaveLength(6);
    expect(await asked()).toMatchObject({ state: 'done' });
  });
});

describe('requests', () => {
  it('replay writes whole letters again and leaves partial ones parked', async () => {
    const { stage, first } = await opened({ partitions: 2 });
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'), put('2', 10, 'bad'), put('3', 10, 'bad'));
    const run = stage.start();
    await stage.clock.advance(500);
    await first.send(part('3', 11, 'x'), part('4', 11, 'x'));
    await stage.clock.advance(500);
    stage.sinkStore.poison = (_schema, row) => (row[0] === '2' ? 'still' : null);
    const asked = await request(stage, 'dlq-replay', null);
    await stage.clock.advance(3_000);
    expect(await asked()).toMatchObject({ state: 'done', result: expect.stringContaining('1 key released') as string });
    expect(stage.rows()).toEqual({ 1: ['bad', 'big'] });
    expect(
      stage
        .letters()
        .map(({ key }) => key)
        .sort(),
    ).toEqual(['2', '3', '4'].map((id) => keyOf(id)).sort());
    await run.stop();
  });

  it('a replay never puts a partial image on a row that came since: its base may have been another one', async () => {
    const { stage, first } = await opened();
    await first.send(part('1', 12, 's3'));
    await stage.drain();
    await first.send(put('1', 10, 's1', 'A'));
    const run = stage.start();
    await stage.clock.advance(500);
    const asked = await request(stage, 'dlq-replay', ['1']);
    await stage.clock.advance(3_000);
    expect(await asked()).toMatchObject({ state: 'done', result: '0 keys released; 1 key stays parked: partial_without_base' });
    expect(stage.rows()['1']).toEqual(['s1', 'A']);
    expect(stage.letters()).toHaveLength(1);
    await run.stop();
  });

  it('a replay of a letter that was merged from several records writes what the sink refused', async () => {
    const { stage, first } = await opened();
    stage.sinkStore.poison = () => 'refused';
    await first.send(put('1', 10, 'a', 'BIG'), part('1', 11, 'b'));
    const run = stage.start();
    await stage.clock.advance(500);
    stage.sinkStore.poison = () => null;
    await request(stage, 'dlq-replay', ['1']);
    await stage.clock.advance(3_000);
    expect(stage.rows()).toEqual({ 1: ['b', 'BIG'] });
    expect(stage.sequenceOf('1')).toBe(at(11));
    await run.stop();
  });

  it('an error that nobody knows, at a replay, stops the sink and is no refusal of the row', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'));
    await stage.drain();
    stage.sinkStore.poison = () => null;
    stage.sinkStore.onCall = (when, call) => {
      if (when === 'before' && call.name === 'apply' && call.rows.length > 0)
        throw new CausewayError('sink_failed', 'an error without a code');
    };
    const asked = await request(stage, 'dlq-replay', null);
    const run = stage.start();
    await stage.clock.advance(3_000);
    expect(run.code()).toBe('sink_failed');
    expect(await asked()).toMatchObject({ state: 'pending' });
  });

  it('a replay of a letter whose version the table takes no more keeps it parked, and the sink goes on', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(put('1', 10, 'a', 'bad'), part('2', 10, 'bad'), change({ id: '3', commit: 10, row: ['3', 'bad', 'B'] }));
    await stage.drain();
    stage.sinkStore.poison = () => null;
    // The column is gone from the source and, once that was approved, from the sink.
    const narrower = tableSchema({ ...schema, columns: schema.columns.slice(0, 2) });
    stage.sinkStore.table(schema.table).columns.delete('big');
    await stage.tables([[schema, narrower]]);
    const asked = await request(stage, 'dlq-replay', null);
    const run = stage.start();
    await stage.clock.advance(3_000);
    expect(await asked()).toMatchObject({
      state: 'done',
      result: '0 keys released; 1 key stays parked: partial_without_base; 2 keys stay parked: sink_misconfigured',
    });
    expect(stage.letters()).toHaveLength(3);
    await first.send(change({ id: '4', commit: 12, row: ['4', 'after'], of: narrower }));
    await stage.clock.advance(3_000);
    expect(run.code()).toBeNull();
    expect(stage.rows(narrower)).toEqual({ 4: ['after'] });
    await run.stop();
  });

  it('discard releases the named keys and writes nothing', async () => {
    const { stage, first } = await opened();
    refuseBad(stage);
    await first.send(put('1', 10, 'bad'), put('2', 10, 'bad'));
    const run = stage.start();
    await stage.clock.advance(500);
    const asked = await request(stage, 'dlq-discard', ['1']);
    await stage.clock.advance(3_000);
    expect(await asked()).toMatchObject({ state: 'done', result: '1 key released' });
    expect(run.outcomes.get('released discarded')).toBe(1);
    expect(stage.letters().map(({ key }) => key)).toEqual([keyOf('2')]);
    expect(stage.rows()).toEqual({});
    await run.stop();
  });
});
