import { expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { partitionOf } from '#core/hash.ts';
import { MemorySink } from '../support/memory-sink.ts';
import { keyOf, never, opened, put, watermark } from './stage.ts';

it('a sink that goes back as soon as another worker has taken its partition takes the position of the first one back with it (A3)', async () => {
  const { stage, first } = await opened();
  const run = stage.start();
  await first.send(put('1', 10, 'a'), watermark(10));
  await stage.clock.advance(3_000);
  const restore = stage.sinkStore.keep();
  await first.send(put('1', 11, 'b'), watermark(11));
  await stage.clock.advance(3_000);
  expect(run.status().position?.sourceTime).toBe(11_000_000);
  const other = new MemorySink(stage.sinkStore);
  await other.claim({ owner: present(stage.sinkStore.owner, 'owner'), known: true }, never);
  await other.assign(0, never);
  // The other one dies, and the sink goes back before the first one looks how far it is.
  let back = false;
  stage.sinkStore.onCall = (when, call) => {
    if (back || when !== 'before' || call.name !== 'progress') return;
    back = true;
    restore();
  };
  await first.send(put('2', 12, 'c'), watermark(12));
  await stage.clock.advance(20_000);
  expect(stage.rows()).toEqual({ 1: ['a', 'big'] });
  expect(run.status().position?.sourceTime).toBe(10_000_000);
  // Nobody moves the partition, so it takes it back.
  await stage.clock.advance(100_000);
  expect(stage.rows()).toEqual({ 1: ['b', 'big'], 2: ['c', 'big'] });
  expect(run.status().position?.sourceTime).toBe(12_000_000);
  await run.stop();
  expect(run.code()).toBeNull();
});

it('a sink that was found to have gone back by one partition is believed of no other, before it has confirmed it', async () => {
  const { stage, first } = await opened({ partitions: 2, keepBytes: 1_000_000 });
  const idOf = (partition: number) =>
    present(
      ['1', '2', '3', '4', '5', '6'].find((id) => partitionOf(keyOf(id), 2) === partition),
      'id',
    );
  const run = stage.start();
  await first.send(put(idOf(0), 10, 'a'), put(idOf(1), 10, 'a'), watermark(10));
  await stage.clock.advance(5_000);
  const goBack = stage.sinkStore.keep();
  // Of the second partition a batch is stored and no progress: it carries the one from before it.
  let refused = ['save'];
  stage.sinkStore.onCall = (when, call) => {
    const isSecond = 'partition' in call && call.partition === 1;
    if (isSecond && when === 'before' && refused.includes(call.name)) throw new CausewayError('sink_unavailable', 'gone');
  };
  await first.send(put(idOf(0), 20, 'b'), put(idOf(1), 20, 'b'), watermark(20));
  await stage.clock.advance(3_000);
  expect(run.status().position?.sourceTime).toBe(20_000_000);
  refused = ['save', 'apply'];
  goBack();
  await first.send(put(idOf(0), 21, 'c'));
  await stage.clock.advance(5_000);
  expect(run.status().position?.sourceTime ?? 0).toBeLessThanOrEqual(10_000_000);
  refused = [];
  await stage.clock.advance(30_000);
  expect(stage.rows()).toEqual({ [idOf(0)]: ['c', 'big'], [idOf(1)]: ['b', 'big'] });
  expect(run.status().position?.sourceTime).toBe(20_000_000);
  await run.stop();
});
