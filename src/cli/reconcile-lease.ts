import { controlKeys, type LeaseRow } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { acquireLease } from '../lease/acquire.ts';
import type { Lease } from '../lease/lease.ts';
import { describeProcess } from '../runtime/daemon.ts';
import type { CommandContext } from './context.ts';
import { valueOf } from './rows.ts';

const TTL_MS = 15_000;
/** A run that ended without a word is taken over after its ttl; one that lives renews its lease before. */
const WAIT_MS = TTL_MS + 5_000;

/**
 * The right to reconcile a sink, for as long as `work` takes: a job that is started twice does no harm. Errors: `lease_held` where another
 * one is at work, `lease_lost` where that took it over.
 */
export async function withReconcileLease<T>(
  { io, parts }: CommandContext,
  of: { readonly control: ControlStore; readonly pipeline: string; readonly sink: string },
  work: (lease: Lease, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { control, pipeline, sink } = of;
  const { runtime } = parts;
  const key = controlKeys.reconcileLease(pipeline, sink);
  const waiting = new AbortController();
  const either = AbortSignal.any([io.signal, waiting.signal]);
  const tooLong = runtime.sleep(WAIT_MS, either).then(
    () => waiting.abort(),
    () => undefined,
  );
  let lease: Lease;
  try {
    lease = await acquireLease({ control, runtime, key, describedAs: `${describeProcess()} (reconcile)`, ttlMs: TTL_MS }, either);
  } catch (error) {
    if (io.signal.aborted || !waiting.signal.aborted) throw error;
    const row = await valueOf<LeaseRow>(control, key, io.signal);
    throw new CausewayError('lease_held', `${row?.describedAs ?? 'another process'} reconciles the sink ${sink} of ${pipeline}`);
  } finally {
    waiting.abort();
    await tooLong;
  }
  try {
    return await work(lease, AbortSignal.any([io.signal, lease.ended]));
  } finally {
    await lease.release(AbortSignal.any([]));
  }
}
