import type { LeaseRow } from '#core/control-rows.ts';
import type { RowVersion } from '#core/control.ts';
import { backoffMs, CausewayError, codeOf, policyFor } from '#core/errors.ts';
import type { FencingToken, MonoMs, WallMs } from '#core/position.ts';
import { marginOf, type Lease, type LeaseDeps, type LeaseEnd, type LeaseEnding } from './lease.ts';
import { rowOf, type LeaseClaim } from './standby.ts';

const RENEWALS_PER_TTL = 3;
const RETRIES_PER_TTL = 30;
const RETRY_MS_MAX = 1_000;

/** Renews the claimed lease every third of its ttl, until it is released, lost, or its deadline passes. */
export function keep(deps: LeaseDeps, claim: LeaseClaim): Lease {
  return new HeldLease(deps, claim);
}

class HeldLease implements Lease {
  readonly token: FencingToken;
  readonly holder: string;
  readonly ended: AbortSignal;
  readonly #deps: LeaseDeps;
  readonly #end = new AbortController();
  /** Stops the two loops below without ending the lease. */
  readonly #stopped = new AbortController();
  readonly #loops: Promise<unknown>;
  #state: LeaseEnd = { tag: 'held' };
  #row: LeaseRow;
  #version: RowVersion;
  #deadline: MonoMs;
  #left = false;

  constructor(deps: LeaseDeps, claim: LeaseClaim) {
    this.#deps = deps;
    this.#row = claim.row;
    this.#version = claim.version;
    this.#deadline = this.#deadlineOf(claim.requestedAt);
    this.token = claim.row.token;
    this.holder = claim.row.holder ?? '';
    this.ended = this.#end.signal;
    this.#report(true);
    // Neither loop ends with an error that is not in `#state`: stopping them is their only other end.
    this.#loops = Promise.allSettled([this.#renewing(), this.#expiring()]);
  }

  get end(): LeaseEnd {
    return this.#state;
  }

  get deadline(): MonoMs {
    return this.#deadline;
  }

  async abandon(): Promise<void> {
    await this.#leave('stepdown');
  }

  async release(signal: AbortSignal): Promise<void> {
    await this.#leave('released');
    if (this.#state.tag !== 'held') return;
    try {
      const value: LeaseRow = { ...this.#row, holder: null, describedAs: null };
      const swap = await this.#deps.control.swap({ key: this.#deps.key, value, expected: this.#version }, signal);
      if (swap.tag === 'conflict' && this.#isOwn(rowOf(swap.current)) && swap.current !== null) {
        // A renewal of which the outcome was unknown moved the row.
        await this.#deps.control.swap({ key: this.#deps.key, value, expected: swap.current.version }, signal);
      }
    } catch (error) {
      // Nothing is wrong with a lease that was not released: others wait for its ttl.
      this.#deps.observer?.trouble(error);
    }
  }

  async #leave(how: LeaseEnding): Promise<void> {
    this.#stopped.abort(new CausewayError('lease_lost', 'the lease was given up'));
    await this.#loops;
    this.#report(false);
    if (this.#state.tag !== 'held' || this.#left) return;
    this.#left = true;
    this.#deps.observer?.ended(how);
  }

  async #renewing(): Promise<void> {
    const { runtime, ttlMs } = this.#deps;
    const pauseMs = ttlMs / RENEWALS_PER_TTL;
    const stopped = this.#stopped.signal;
    let failures = 0;
    let waitMs = pauseMs;
    while (true) {
      await runtime.sleep(waitMs, stopped);
      if (this.#state.tag !== 'held') return;
      try {
        await this.#renew(stopped);
        failures = 0;
        waitMs = pauseMs;
      } catch (error) {
        stopped.throwIfAborted();
        if (policyFor(codeOf(error)).retry !== 'timed') {
          this.#finish(error instanceof CausewayError && error.code === 'lease_lost' ? { tag: 'lost', error } : { tag: 'failed', error });
          return;
        }
        this.#deps.observer?.trouble(error);
        const firstMs = Math.min(ttlMs / RETRIES_PER_TTL, RETRY_MS_MAX);
        waitMs = backoffMs({ attempt: failures, firstMs, maxMs: 2 * firstMs, random: runtime.random() });
        failures += 1;
      }
    }
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const { control, runtime, key } = this.#deps;
    while (true) {
      const row: LeaseRow = { ...this.#row, renewals: this.#row.renewals + 1 };
      const requestedAt = runtime.monotonicMs();
      const swap = await control.swap({ key, value: row, expected: this.#version }, signal);
      if (swap.tag === 'stored') {
        this.#row = row;
        this.#version = swap.version;
        this.#deadline = this.#deadlineOf(requestedAt);
        this.#deps.observer?.renewed(runtime.monotonicMs() - requestedAt);
        this.#report(true);
        return;
      }
      const current = rowOf(swap.current);
      if (swap.current === null || current === null || !this.#isOwn(current)) {
        const whose = current === null ? 'its row is gone' : `generation ${current.token} is held by another process`;
        throw new CausewayError('lease_lost', `the capture lease was lost: ${whose}`);
      }
      // An earlier renewal whose outcome was unknown did take effect. Which request that was is not known, so the deadline
      // stays as it is and the row is written once more.
      this.#row = current;
      this.#version = swap.current.version;
    }
  }

  /** A pure deadline: it needs no answer from anybody, so it also ends a request that hangs. */
  async #expiring(): Promise<void> {
    const { runtime } = this.#deps;
    while (this.#state.tag === 'held') {
      const leftMs = this.#deadline - runtime.monotonicMs();
      if (leftMs <= 0) {
        this.#finish({ tag: 'expired' });
        return;
      }
      await runtime.sleep(leftMs, this.#stopped.signal);
    }
  }

  #finish(end: Exclude<LeaseEnd, { readonly tag: 'held' }>): void {
    if (this.#state.tag !== 'held') return;
    this.#state = end;
    const reason =
      end.tag === 'lost' || end.tag === 'failed'
        ? end.error
        : new CausewayError('control_unavailable', 'the capture lease ended because the control store could not be reached in time');
    this.#end.abort(reason);
    this.#stopped.abort(reason);
    this.#report(false);
    this.#deps.observer?.ended(end.tag === 'failed' ? 'stepdown' : end.tag);
  }

  #isOwn(row: LeaseRow | null): boolean {
    return row !== null && row.holder === this.holder && row.token === this.token;
  }

  #deadlineOf(requestedAt: MonoMs): MonoMs {
    return (requestedAt + this.#row.ttlMs - marginOf(this.#deps)) as MonoMs;
  }

  #report(held: boolean): void {
    const { runtime, observer } = this.#deps;
    observer?.facts({
      held: held && this.#state.tag === 'held',
      generation: this.token,
      holder: this.#row.describedAs ?? this.holder,
      ttlMs: this.#row.ttlMs,
      expiresAtWallMs: held ? ((runtime.wallMs() + (this.#deadline - runtime.monotonicMs())) as WallMs) : null,
    });
  }
}
