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
  deps: Pick<ApplyDeps, 'runtime' | 'observer' | 'logger' | 'options'>,
  work: () => Promise<T>,
  options: { readonly signal: AbortSignal; readonly onWait?: (waiting: boolean) => void },
): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const result = await work();
      if (attempt > 0) options.onWait?.(false);
      return result;
    } catch (error) {
      if (options.signal.aborted || !passesByItself(error)) throw error;
      const code = codeOf(error);
      options.onWait?.(true);
      deps.observer.retry(code);
      const { backoffFirstMs: firstMs, backoffMaxMs: maxMs } = deps.options;
      const delayMs = backoffMs({ attempt, firstMs, maxMs, random: deps.runtime.random() });
      // Once is enough for people; the metric counts every attempt.
      if (attempt === 0) deps.logger.log('warn', 'waiting for what does not answer', { code, reason: messageOf(error) });
      await deps.runtime.sleep(delayMs, options.signal);
    }
  }
}

export function passesByItself(error: unknown): boolean {
  const code = codeOf(error);
  return policyFor(code).retry === 'timed' && !ENDS_THE_HOLD.has(code);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown';
}
