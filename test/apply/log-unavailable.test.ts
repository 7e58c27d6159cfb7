import { expect, it } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import { opened, put } from './stage.ts';

it.each([
  ['in the middle', 3],
  ['behind its last record', 4],
])('after the log did not answer %s it is read on from where it stood, and not waited for any more', async (_where, times) => {
  const { stage, first } = await opened();
  await first.send(put('1', 10, 'a'), put('2', 11, 'b'));
  const log = stage.log();
  const reader = log.reader.bind(log);
  let failures = times;
  log.reader = async (consumer, signal) => {
    const real = await reader(consumer, signal);
    return {
      async *assignments(until) {
        for await (const assignment of real.assignments(until)) {
          const batches = assignment.batches.bind(assignment);
          yield Object.assign(assignment, {
            async *batches(...given: Parameters<typeof batches>) {
              for await (const batch of batches(...given)) {
                yield { ...batch, records: batch.records.slice(0, 1) };
                if ((failures -= 1) >= 0) throw new CausewayError('log_unavailable', 'gone');
                yield { ...batch, records: batch.records.slice(1) };
              }
            },
          });
        }
      },
      [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](),
    };
  };
  stage.log = () => log;
  const run = stage.start();
  await stage.clock.advance(5_000);
  expect(run.waiting()).toBe(0);
  await run.stop();
  expect(run.code()).toBeNull();
  expect(run.outcomes.get('retry log_unavailable')).toBe(times);
  expect(stage.rows()).toEqual({ 1: ['a', 'big'], 2: ['b', 'big'] });
});
