// What a process does with the partitions of a sink that others work on too.
import { expect, it } from 'vitest';
import { controlKeys } from '#core/control-rows.ts';
import type { RequestRow } from '#core/control-rows.ts';
import { present } from '#core/assert.ts';
import { MemorySink } from '../support/memory-sink.ts';
import { keyOf, never, opened, put, watermark, type Stage } from './stage.ts';

/** Another process takes the partition. */
async function taken(stage: Stage, partition = 0) {
  const sink = new MemorySink(stage.sinkStore);
  await sink.claim({ owner: 'o', known: true }, never);
  return sink.assign(partition, never);
}

it('a worker that another one has followed does not answer a request for it', async () => {
  const { stage, first } = await opened();
  await first.send(put('1', 10, 'ok'));
  const stale = stage.start();
  await stage.clock.advance(3_000);
  await taken(stage);
  const letters = await stage.log().deadLetters('s').take(0, never);
  const record = new TextEncoder().encode('{}');
  await letters.park(
    [{ key: keyOf('1'), sequence: '0'.repeat(48) as never, code: 'value_refused', reason: '', record, committedAtMicros: 1 }],
    never,
  );
  const key = controlKeys.request('p', 'r1');
  await stage.write(key, { kind: 'dlq-discard', args: { sink: 's', keys: null }, state: 'pending', result: null } satisfies RequestRow);
  await stage.clock.advance(3_000);
  expect(stale.status().partitions[0]?.state).toBe('fenced');
  expect(present(await stage.control.get(key, never), 'request').value).toMatchObject({ state: 'pending' });
  expect(stage.letters()).toHaveLength(1);
  await stale.stop();
});

it('a sink that went back is noticed though the partition is another process by then', async () => {
  const { stage, first } = await opened({ partitions: 2 });
  const run = stage.start();
  await first.send(watermark(10));
  await stage.clock.advance(3_000);
  const goBack = stage.sinkStore.keep();
  await first.send(watermark(20));
  await stage.clock.advance(3_000);
  expect(run.status().position?.sourceTime).toBe(20_000_000);
  goBack();
  // Taken with the progress that is left, before this process has written anything.
  for (const partition of [0, 1]) await taken(stage, partition);
  await first.send(watermark(30));
  await stage.clock.advance(5_000);
  expect(run.status().partitions.map(({ state }) => state)).toEqual(['fenced', 'fenced']);
  expect(run.status().position?.sourceTime).toBe(10_000_000);
  await run.stop();
});

it('a partition that comes back is worked on once its first worker has left', async () => {
  const { stage, first } = await opened();
  stage.sinkStore.poison = (_schema, row) => (row.includes('bad') ? 'the sink does not take it' : null);
  await first.send(put('1', 10, 'bad'), put('2', 10, 'bad'));
  const log = stage.log();
  const revoked = new AbortController();
  const again = Promise.withResolvers<undefined>();
  log.reader = async (consumer, signal) => {
    const real = await stage.log().reader(consumer, signal);
    return {
      async *assignments(until) {
        for await (const assignment of real.assignments(until)) {
          yield { ...assignment, revoked: revoked.signal };
          await again.promise;
          yield assignment;
        }
      },
      [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](),
    };
  };
  const ownLog = stage.log.bind(stage);
  stage.log = () => log;
  const run = stage.start({ parkedKeysMax: 3 });
  stage.log = ownLog;
  await stage.clock.advance(3_000);
  expect(stage.letters()).toHaveLength(2);
  const slow = Promise.withResolvers<undefined>();
  let atOnce = 0;
  let mostAtOnce = 0;
  stage.sinkStore.onCall = (when, { name }) => {
    if (name !== 'apply') return undefined;
    atOnce += when === 'before' ? 1 : -1;
    mostAtOnce = Math.max(mostAtOnce, atOnce);
    return when === 'before' ? slow.promise : undefined;
  };
  await first.send(put('3', 11, 'bad'));
  await stage.clock.advance(1_000);
  revoked.abort(new Error('given away'));
  again.resolve(undefined);
  await stage.clock.advance(1_000);
  expect(run.status().parked.keys).toBe(2);
  slow.resolve(undefined);
  await stage.clock.advance(3_000);
  expect(run.code()).toBeNull();
  expect(mostAtOnce).toBe(1);
  expect(stage.letters()).toHaveLength(3);
  await run.stop();
});

it.each([
  [true, 6_000, 'running'],
  [false, 6_000, 'fenced'],
  [false, 60_000, 'running'],
])('a partition that nobody moves is taken back: where the log shares them (%s) soon', async (sharesPartitions, afterMs, state) => {
  const { stage, first } = await opened({ sharesPartitions });
  const run = stage.start();
  await stage.clock.advance(3_000);
  // By a process that was told late that the partition is another one's, and is gone.
  await taken(stage);
  await first.send(put('1', 10, 'a'));
  await stage.clock.advance(100);
  expect(run.status().partitions[0]?.state).toBe('fenced');
  await stage.clock.advance(afterMs);
  expect(run.status().partitions[0]?.state).toBe(state);
  await run.stop();
});
