import { controlKeys, type LeaseRow, type RequestRow, type StepDownArgs } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { codeOf, policyFor } from '#core/errors.ts';
import type { FencingToken } from '#core/position.ts';
import { type Logger, type Runtime, untilBeatMs } from '#core/runtime.ts';
import type { LeaseFacts } from '../lease/lease.ts';
import { isAborted } from './aborted.ts';
import { errorFields } from './logger.ts';

const POLL_MS = 2_000;
/** How often the row is looked at meanwhile. */
const LOOK_MS = 250;
/** A standby takes a released lease much sooner; where none does, this process takes it again. */
export const STEP_ASIDE_MS = 5_000;

export type StepDownDeps = {
  readonly pipeline: string;
  readonly control: ControlStore;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** The lease as this process knows it. */
  readonly lease: () => LeaseFacts | null;
  /** With true capture is to end in the gentle way, which releases the lease, and with false it may try to have it again. */
  readonly onAside: (aside: boolean) => void;
};

/**
 * While this process holds the lease, looks whether it is asked to give it up, and stands aside until another one has it. A
 * request that is not about the generation that is held has been answered by whoever took over since.
 */
export async function followStepDown(deps: StepDownDeps, signal: AbortSignal): Promise<void> {
  const { pipeline, control, runtime, logger, lease, onAside } = deps;
  while (!isAborted(signal)) {
    try {
      await runtime.sleep(untilBeatMs(POLL_MS, runtime.monotonicMs()), signal);
      const generation = lease()?.held === true ? (lease()?.generation ?? null) : null;
      if (generation === null) continue;
      const row = await control.get(controlKeys.stepDown(pipeline), signal);
      if (row === null || !asks(row.value as RequestRow, generation)) continue;
      logger.log('info', 'standing aside: asked by `causeway lease step-down`', { generation });
      onAside(true);
      try {
        await standAside(deps, generation, signal);
      } finally {
        onAside(false);
      }
    } catch (error) {
      if (isAborted(signal)) return;
      if (policyFor(codeOf(error)).retry === 'fatal') throw error;
      logger.log('debug', 'the control store does not say whether the lease is asked for', errorFields(error));
    }
  }
}

function asks(request: RequestRow, generation: FencingToken): boolean {
  return request.state === 'pending' && (request.args as StepDownArgs).generation === generation;
}

/** Until another generation began, or nobody has begun one for a while. What the control store does not tell is waited for no longer. */
async function standAside(deps: StepDownDeps, generation: FencingToken, signal: AbortSignal): Promise<void> {
  const { pipeline, control, runtime, lease } = deps;
  while (lease()?.held === true) await runtime.sleep(LOOK_MS, signal);
  const releasedAt = runtime.monotonicMs();
  while (runtime.monotonicMs() - releasedAt < STEP_ASIDE_MS) {
    const row = (await control.get(controlKeys.lease(pipeline), signal))?.value as LeaseRow | undefined;
    if (row !== undefined && row.token > generation) break;
    await runtime.sleep(LOOK_MS, signal);
  }
  await answer(deps, generation, signal);
}

async function answer({ pipeline, control }: StepDownDeps, generation: FencingToken, signal: AbortSignal): Promise<void> {
  const key = controlKeys.stepDown(pipeline);
  const row = await control.get(key, signal);
  if (row === null || !asks(row.value as RequestRow, generation)) return;
  const value: RequestRow = { ...(row.value as RequestRow), state: 'done', result: `generation ${generation} was given up` };
  // One that was written meanwhile asks anew.
  await control.swap({ key, value, expected: row.version }, signal);
}
