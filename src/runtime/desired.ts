import { controlKeys, type DesiredRow } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { codeOf, policyFor } from '#core/errors.ts';
import { type Logger, type Runtime, untilBeatMs } from '#core/runtime.ts';
import { isAborted } from './aborted.ts';
import { errorFields } from './logger.ts';

const POLL_MS = 2_000;

export const nothingPaused: DesiredRow = { paused: false, pausedSinks: [] };

/** Follows what the operator wants. While the control store does not answer, what was wanted last still holds. */
export async function followDesired(
  deps: {
    readonly pipeline: string;
    readonly control: ControlStore;
    readonly runtime: Runtime;
    readonly logger: Logger;
    readonly onDesired: (desired: DesiredRow) => void;
    /** Told at each look that fails. */
    readonly onTrouble: (error: unknown) => void;
  },
  signal: AbortSignal,
): Promise<void> {
  const { pipeline, control, runtime, logger, onDesired, onTrouble } = deps;
  let answered = true;
  while (!signal.aborted) {
    try {
      const row = await control.get(controlKeys.desired(pipeline), signal);
      onDesired(row === null ? nothingPaused : (row.value as DesiredRow));
      answered = true;
    } catch (error) {
      if (isAborted(signal)) return;
      if (policyFor(codeOf(error)).retry === 'fatal') throw error;
      onTrouble(error);
      if (answered) logger.log('warn', 'the control store does not say what is paused', errorFields(error));
      answered = false;
    }
    try {
      await runtime.sleep(untilBeatMs(POLL_MS, runtime.monotonicMs()), signal);
    } catch (error) {
      if (!isAborted(signal)) throw error;
    }
  }
}
