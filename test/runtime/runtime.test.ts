import { expect, test } from 'vitest';
import { systemRuntime, tellingLateness } from '../../src/runtime/runtime.ts';
import { VirtualClock } from '../support/test-runtime.ts';

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

test('a sleep that came to its end tells how late that was, one that was cut short does not', async () => {
  const clock = new VirtualClock();
  const late: number[] = [];
  // A process that does something else for 40 ms whenever it is to be woken.
  const busy = { ...clock.runtime, sleep: (ms: number, signal: AbortSignal) => clock.runtime.sleep(ms + 40, signal) };
  const runtime = tellingLateness(busy, (ms) => late.push(ms));
  const controller = new AbortController();
  const cut = runtime.sleep(1_000, controller.signal);
  await clock.runUntil(runtime.sleep(100, new AbortController().signal));
  await clock.runUntil(runtime.sleep(-5, new AbortController().signal));
  controller.abort(new Error('enough'));
  await expect(cut).rejects.toThrow('enough');
  expect(late).toEqual([40, 35]);
});
