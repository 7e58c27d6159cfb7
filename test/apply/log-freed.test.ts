import { expect, it } from 'vitest';
import { readThrough } from './read-through.ts';
import { never, opened, put } from './stage.ts';

it('a worker that was held while another one took its partition takes what the log has freed since for no loss', async () => {
  const { stage, first } = await opened();
  await stage.log().retain(['s'], never);
  await first.send(put('1', 10, 'a'));
  const held = Promise.withResolvers<undefined>();
  const log = readThrough(stage.log(), async function* (batch) {
    yield batch;
    await held.promise;
  });
  const ownLog = stage.log.bind(stage);
  stage.log = () => log;
  const zombie = stage.start();
  await stage.clock.advance(5_000);
  stage.log = ownLog;
  const successor = stage.start();
  await stage.clock.advance(1_000);
  await first.send(put('1', 11, 'b'), put('1', 12, 'c'));
  await stage.clock.advance(5_000);
  expect(stage.logStore.partition(0).start).toBeGreaterThan(zombie.status().partitions[0]?.offset ?? Infinity);

  held.resolve(undefined);
  await stage.clock.advance(1_000);
  expect(zombie.code()).toBeNull();
  expect(zombie.status().partitions[0]?.state).toBe('fenced');
  await zombie.stop();
  await successor.stop();
  expect(stage.rows()).toEqual({ 1: ['c', 'big'] });
});
