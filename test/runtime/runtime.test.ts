import { expect, test } from 'vitest';
import { systemRuntime } from '../../src/runtime/runtime.ts';

test("a sleep ends with the signal's own reason", async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  const sleeping = systemRuntime.sleep(60_000, controller.signal);
  controller.abort(reason);
  await expect(sleeping).rejects.toBe(reason);
  await expect(systemRuntime.sleep(1, controller.signal)).rejects.toBe(reason);
});

test('a sleep that is longer than a timer can be does not end at once', async () => {
  const controller = new AbortController();
  let ended = false;
  const sleeping = systemRuntime.sleep(2 ** 40, controller.signal).then(
    () => void (ended = true),
    () => undefined,
  );
  await systemRuntime.sleep(20, new AbortController().signal);
  expect(ended).toBe(false);
  controller.abort();
  await sleeping;
});
