import { controlKeys } from '#core/control-rows.ts';
import { acquireLease } from '../lease/acquire.ts';
import type { Lease, LeaseObserver } from '../lease/lease.ts';
import type { CaptureDeps } from './deps.ts';
import { runGeneration, type Signals } from './generation.ts';

/** How long a release may take at the end: whoever waits for the lease loses no more than this by it. */
const RELEASE_MS_MAX = 2_000;

/**
 * Captures one pipeline: waits for its lease, then reads the source's log into ours under a generation of its own. Ends when
 * `stop` aborts, after what is in hand was brought to its end, stored and acknowledged, and when `kill` aborts, at once.
 *
 * An unreachable source is ridden out inside a generation; a control store that stays unreachable past the lease's deadline
 * ends the generation and makes this a standby again. Everything else is thrown as a CausewayError: `fenced` and `lease_lost`
 * end the process, codes with the policy `timed` or `manual` are for the caller to call this again.
 */
export async function runCapture(deps: CaptureDeps, signals: Signals): Promise<void> {
  const ending = AbortSignal.any([signals.stop, signals.kill]);
  let formerHolder: string | null = null;
  while (!ending.aborted) {
    const lease = await standBy(deps, formerHolder, ending);
    if (lease === null) break;
    const outcome = await holdAndCapture(deps, lease, signals);
    if (outcome === 'ended') break;
    formerHolder = lease.holder;
  }
  deps.observer.state({ tag: 'stopped' });
}

async function standBy(deps: CaptureDeps, formerHolder: string | null, signal: AbortSignal): Promise<Lease | null> {
  const { control, runtime, observer, options, describedAs } = deps;
  observer.state({ tag: 'standby' });
  const leaseObserver: LeaseObserver = {
    facts: (facts) => observer.lease(facts),
    renewed: (durationMs) => observer.leaseRenewed(durationMs),
    ended: (how) => observer.leaseEnded(how),
    trouble: (error) => observer.trouble(error, 'lease'),
  };
  try {
    const key = controlKeys.lease(deps.pipeline);
    return await acquireLease(
      { control, runtime, key, describedAs, ttlMs: options.leaseTtlMs, formerHolder, observer: leaseObserver },
      signal,
    );
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  }
}

async function holdAndCapture(deps: CaptureDeps, lease: Lease, signals: Signals): Promise<'ended' | 'expired'> {
  const { logger } = deps;
  try {
    await runGeneration(deps, lease, signals);
  } catch (error) {
    switch (lease.end.tag) {
      case 'expired':
        logger.log('warn', 'capture dropped its slot: the control store could not be reached before the lease ended', {
          generation: lease.token,
        });
        return signals.stop.aborted ? 'ended' : 'expired';
      case 'lost':
      case 'failed':
        throw lease.end.error;
      case 'held':
        if (!signals.kill.aborted && !isStop(error, signals.stop)) throw error;
    }
  } finally {
    await giveBack(deps, lease, signals.kill);
  }
  return 'ended';
}

/** While opening, `stop` shows as its own reason. */
function isStop(error: unknown, stop: AbortSignal): boolean {
  return stop.aborted && error === stop.reason;
}

async function giveBack(deps: CaptureDeps, lease: Lease, kill: AbortSignal): Promise<void> {
  if (kill.aborted) {
    await lease.abandon();
    return;
  }
  const limit = new AbortController();
  const done = new AbortController();
  const limited = deps.runtime
    .sleep(RELEASE_MS_MAX, AbortSignal.any([done.signal, kill]))
    .finally(() => limit.abort(new Error('no time left')));
  limited.catch(() => undefined);
  await lease.release(AbortSignal.any([limit.signal, kill]));
  done.abort(new Error('released'));
}
