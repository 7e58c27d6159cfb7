import { brokenInvariantIn } from '#core/assert.ts';
import { CausewayError, codeOf } from '#core/errors.ts';
import { isAbort } from './aborted.ts';
import type { Loop } from './policy.ts';

/**
 * The loop of a sink, with `sink_failed` for whatever ends it without a code: a driver's error that its connector does not know is a
 * state of that sink and ends nothing else (DESIGN, section 5). A row is a register, and the progress says only what took effect, so
 * the loop may begin anew behind any error. A broken invariant of ours proves nothing of the kind, and is thrown as it is.
 */
export function sinkAlone(sinkName: string, loop: Loop): Loop {
  return async (signals) => {
    try {
      await loop(signals);
    } catch (error) {
      const broken = brokenInvariantIn(error);
      if (broken !== null) throw broken;
      if (codeOf(error) !== 'internal') throw error;
      const isTold = signals.stop.aborted || signals.kill.aborted;
      if (isTold && isAbort(error)) throw error;
      throw new CausewayError('sink_failed', `the sink ${sinkName} stopped at an error without a code: ${nameOf(error)}`, {
        cause: error instanceof CausewayError ? (error.cause ?? error) : error,
      });
    }
  };
}

/** The words of an error that is not ours can hold a row's value. */
function nameOf(error: unknown): string {
  if (error instanceof CausewayError) return error.message;
  return error instanceof Error ? error.name : typeof error;
}
