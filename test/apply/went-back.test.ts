import { expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import { MemorySink } from '../support/memory-sink.ts';
import { never, opened, put, watermark } from './stage.ts';

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
