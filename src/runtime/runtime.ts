import { setTimeout as delay } from 'node:timers/promises';
import type { MonoMs, WallMs } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';

/** The longest that a timer of Node can wait; a longer one would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The machine's own time and chance. */
export const systemRuntime: Runtime = {
  wallMs: () => Date.now() as WallMs,
  monotonicMs: () => performance.now() as MonoMs,
  random: () => Math.random(),
  async sleep(ms, signal) {
    signal.throwIfAborted();
    try {
      await delay(Math.min(Math.max(ms, 0), TIMER_MS_MAX), undefined, { signal });
    } catch (error) {
      // Node rejects with an error of its own and keeps the signal's reason as its cause.
      signal.throwIfAborted();
      throw error;
    }
  },
};
