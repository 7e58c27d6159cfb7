import { expect, test } from 'vitest';
import { AssertionError, brokenInvariantIn } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { allEnded } from '../../connectors/lib/sink/throttled.ts';
import { errorFields } from '../../src/runtime/logger.ts';
import { sinkAlone } from '../../src/runtime/sink-alone.ts';

const SECRET = 'jane@example.org';

function endsWith(error: unknown, stopped = false): Promise<unknown> {
  const stop = new AbortController();
  if (stopped) stop.abort();
  const loop = sinkAlone('warm', () => {
    const ended = Promise.withResolvers<undefined>();
    ended.reject(error);
    return ended.promise;
  });
  return loop({ stop: stop.signal, kill: new AbortController().signal }).catch((reason: unknown) => reason);
}

test('what ends the loop of a sink with a code keeps it', async () => {
  for (const code of ['sink_unavailable', 'sink_misconfigured', 'log_gap', 'fenced'] as const) {
    const error = new CausewayError(code, 'so it is');
    expect(await endsWith(error)).toBe(error);
  }
});

test.each([
  ['an error', new Error(SECRET), 'Error'],
  ['a defect', new TypeError(SECRET), 'TypeError'],
  ['a text', SECRET, 'string'],
  ['nothing at all', undefined, 'undefined'],
  ['a defect by a table of codes', new CausewayError('internal', 'a defect', { cause: new Error(SECRET) }), 'a defect'],
])('%s is told with its place and without its words, which can be a value', async (_, thrown, words) => {
  const failed = await endsWith(thrown);
  expect(failed).toMatchObject({ code: 'sink_failed', message: `the sink warm stopped at an error without a code: ${words}` });
  const fields = errorFields(failed);
  expect(JSON.stringify(fields)).not.toContain(SECRET);
  if (thrown instanceof Error) expect(fields['stack']).toContain('sink-alone.test.ts');
});

test('a broken invariant stays one, whoever wrapped it', async () => {
  const broken = new AssertionError('so it never is');
  expect(await endsWith(broken)).toBe(broken);
  expect(await endsWith(new CausewayError('sink_failed', 'odd', { cause: new Error('odder', { cause: broken }) }))).toBe(broken);
});

test('a call that was told to end is no failure, and one that ends so by itself is', async () => {
  const aborted = new DOMException('told', 'AbortError');
  expect(await endsWith(aborted, true)).toBe(aborted);
  expect(await endsWith(aborted)).toMatchObject({ code: 'sink_failed' });
});

test('a broken invariant is found behind a disposal that failed too, and among errors of work side by side', async () => {
  const broken = new AssertionError('an invariant');
  const wrapped = [
    new SuppressedError(new Error('of the disposal'), new CausewayError('sink_failed', 'wrapped', { cause: broken })),
    new SuppressedError(broken, new Error('of the work')),
    new AggregateError([new Error('another'), broken]),
  ];
  for (const error of wrapped) expect(brokenInvariantIn(error)).toBe(broken);
  expect(brokenInvariantIn(new SuppressedError(new Error('a'), new Error('b')))).toBeNull();
  const ended = allEnded([Promise.reject(new CausewayError('sink_unavailable', 'gone')), Promise.reject(broken)]);
  await expect(ended).rejects.toBe(broken);
});
