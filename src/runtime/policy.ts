import { AssertionError } from '#core/assert.ts';
import { backoffMs, codeOf, policyFor } from '#core/errors.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import { isAbort, isAborted } from './aborted.ts';
import { errorFields } from './logger.ts';
import { Reminder } from './reminder.ts';

/** Two stages of a stop: finish what is in hand, then drop everything. */
export type StopSignals = { readonly stop: AbortSignal; readonly kill: AbortSignal };

export type Loop = (signals: StopSignals) => Promise<void>;

export type PolicyDeps = {
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** Told why the loop does not run, and with null that it was started again. */
  readonly onTrouble: (error: unknown) => void;
};

const RETRY_FIRST_MS = 500;
/** A source, a sink or a store that is back is met within this. */
const RETRY_MS_MAX = 5_000;
/** How often a state that waits for a person is looked at again. */
export const MANUAL_RETRY_MS = 10_000;
/** A loop that ran for this long begins with short pauses again: it did not fail at once. */
const HEALTHY_AFTER_MS = 10_000;

/**
 * Runs a loop until it is told to stop. What passes by itself is tried again with backoff; what needs a person is shown, and
 * tried again every ten seconds; what is fatal is thrown.
 */
export async function keepRunning(loop: Loop, deps: PolicyDeps, signals: StopSignals): Promise<void> {
  const { runtime, logger, onTrouble } = deps;
  let attempt = 0;
  const reminder = new Reminder(runtime);
  while (!isAborted(signals.stop) && !isAborted(signals.kill)) {
    const startedAt = runtime.monotonicMs();
    try {
      await loop(signals);
      if (isAborted(signals.stop) || isAborted(signals.kill)) return;
      throw new AssertionError('a loop ends only when it is told to');
    } catch (error) {
      const policy = policyFor(codeOf(error)).retry;
      if (isAborted(signals.kill)) return;
      if (policy === 'fatal' && !(isAborted(signals.stop) && isAbort(error))) throw error;
      if (isAborted(signals.stop)) {
        // A stop that could not finish its work: what was not stored is done again after the next start.
        if (!isAbort(error)) logger.log('warn', 'stopped before everything was finished', errorFields(error));
        return;
      }
      attempt = runtime.monotonicMs() - startedAt >= HEALTHY_AFTER_MS ? 0 : attempt;
      onTrouble(error);
      const text = `${codeOf(error)} ${error instanceof Error ? error.message : ''}`;
      if (reminder.isDue('loop', text)) logger.log(policy === 'timed' ? 'warn' : 'error', 'waiting to try again', errorFields(error));
      const delayMs =
        policy === 'timed'
          ? backoffMs({ attempt, firstMs: RETRY_FIRST_MS, maxMs: RETRY_MS_MAX, random: runtime.random() })
          : MANUAL_RETRY_MS;
      attempt += 1;
      await pause(runtime, delayMs, signals);
    }
  }
}

async function pause(runtime: Runtime, ms: number, { stop, kill }: StopSignals): Promise<void> {
  const either = AbortSignal.any([stop, kill]);
  try {
    await runtime.sleep(ms, either);
  } catch (error) {
    if (!either.aborted) throw error;
  }
}
