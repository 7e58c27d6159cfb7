import { backoffMs, codeOf, policyFor } from '#core/errors.ts';
import type { ErrorCode } from '#core/errors.ts';
import type { ApplyDeps } from './deps.ts';

/** These are timed too, but the same call would not mend them: the worker gives the partition up, or takes it again. */
const ENDS_THE_HOLD: ReadonlySet<ErrorCode> = new Set(['partition_fenced', 'sink_went_back']);

/** `rideOut` with everything but the work given. */
export type Ride = <T>(work: () => Promise<T>) => Promise<T>;

/**
 * Repeats `work` with backoff for as long as its errors are of the kind that passes by itself. A write is repeated unchanged, so
 * one whose reply was lost finds its own sequences and is a success.
 */
export async function rideOut<T>(
  deps: Pick<ApplyDeps, 'runtime' | 'observer' | 'options'>,
  work: () => Promise<T>,
  options: { readonly signal: AbortSignal; readonly onWait?: (waiting: boolean) => void },
): Promise<T> {
  const call = {};
  try {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const result = await work();
        if (attempt > 0) options.onWait?.(false);
        return result;
      } catch (error) {
        if (options.signal.aborted || !passesByItself(error)) throw error;
        options.onWait?.(true);
        deps.observer.retry(codeOf(error));
        deps.observer.waiting(call, error);
        const { backoffFirstMs: firstMs, backoffMaxMs: maxMs } = deps.options;
        await deps.runtime.sleep(backoffMs({ attempt, firstMs, maxMs, random: deps.runtime.random() }), options.signal);
      }
    }
  } finally {
    deps.observer.waiting(call, null);
  }
}

export function passesByItself(error: unknown): boolean {
  const code = codeOf(error);
  return policyFor(code).retry === 'timed' && !ENDS_THE_HOLD.has(code);
}
