import { expect, it } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import { readThrough } from './read-through.ts';
import { opened, put } from './stage.ts';

it.each([
  ['in the middle', 3],
  ['behind its last record', 4],
])('after the log did not answer %s it is read on from where it stood, and not waited for any more', async (_where, times) => {
  const { stage, first } = await opened();
  await first.send(put('1', 10, 'a'), put('2', 11, 'b'));
  let failures = times;
  const log = readThrough(stage.log(), function* (batch) {
    yield { ...batch, records: batch.records.slice(0, 1) };
    if ((failures -= 1) >= 0) throw new CausewayError('log_unavailable', 'gone');
    yield { ...batch, records: batch.records.slice(1) };
  });
  stage.log = () => log;
  const run = stage.start();
  await stage.clock.advance(5_000);
  expect(run.waiting()).toBe(0);
  await run.stop();
  expect(run.code()).toBeNull();
  expect(run.outcomes.get('retry log_unavailable')).toBe(times);
  expect(stage.rows()).toEqual({ 1: ['a', 'big'], 2: ['b', 'big'] });
});
