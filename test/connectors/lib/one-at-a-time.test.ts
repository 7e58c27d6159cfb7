// A partition takes one call at a time.
import { expect, test } from 'vitest';
import { OneAtATime } from '../../../connectors/lib/sink/one-at-a-time.ts';

test('a call beside another one is a defect of the caller; behind it, failed or not, the next one runs', async () => {
  const calls = new OneAtATime();
  const open = Promise.withResolvers<string>();
  const first = calls.run(() => open.promise);
  await expect(calls.run(() => Promise.resolve('beside'))).rejects.toThrow('one call at a time');
  open.resolve('first');
  expect(await first).toBe('first');
  await expect(calls.run(() => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
  expect(await calls.run(() => Promise.resolve('last'))).toBe('last');
});
