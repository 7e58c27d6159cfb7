import type { MonoMs, WallMs } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';

/** The longest that a timer of Node can wait; a longer one would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The machine's own time and chance. */
export const systemRuntime: Runtime = {
  wallMs: () => Date.now() as WallMs,
  monotonicMs: () => performance.now() as MonoMs,
  random: () => Math.random(),
  // Node's own, of `node:timers/promises`, makes an error with its stack at each abort, and most sleeps are cut short.
  async sleep(ms, signal) {
    signal.throwIfAborted();
    const slept = Promise.withResolvers<null>();
    const cut = (): void => slept.reject(signal.reason);
    const timer = setTimeout(() => slept.resolve(null), Math.min(Math.max(ms, 0), TIMER_MS_MAX));
    signal.addEventListener('abort', cut, { once: true });
    try {
      await slept.promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', cut);
    }
  },
};

/** Tells of each sleep that came to its end how much later that was than it was to be. */
export function tellingLateness(runtime: Runtime, onLate: (ms: number) => void): Runtime {
  return {
    ...runtime,
    async sleep(ms, signal) {
      const dueMs = runtime.monotonicMs() + Math.max(ms, 0);
      await runtime.sleep(ms, signal);
      onLate(Math.max(0, runtime.monotonicMs() - dueMs));
    },
  };
}
