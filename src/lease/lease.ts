import type { ControlKey, ControlStore } from '#core/control.ts';
import type { CausewayError } from '#core/errors.ts';
import type { FencingToken, MonoMs, WallMs } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';

export type LeaseDeps = {
  readonly control: ControlStore;
  readonly runtime: Runtime;
  /** The LeaseRow's key. */
  readonly key: ControlKey;
  /** For people: host and process id. Null where nobody should know. */
  readonly describedAs: string | null;
  readonly ttlMs: number;
  /** Subtracted from ttl for the holder's own deadline, for clocks that run at slightly different speeds. Default: a tenth of ttl. */
  readonly marginMs?: number;
  /**
   * Name under which this process held the lease before and has dropped everything that it protected. Such a row is taken over
   * at once, as if it had been released.
   */
  readonly formerHolder?: string | null;
  readonly observer?: LeaseObserver;
};

export type LeaseFacts = {
  readonly held: boolean;
  /** The row's token; null while there is no row. */
  readonly generation: FencingToken | null;
  /** What the holder is called for people: its description, else its random name; null while nobody holds the lease. */
  readonly holder: string | null;
  readonly ttlMs: number;
  /** When the held lease ends unless it is renewed, on the local wall clock, for people; null where this process does not hold it. */
  readonly expiresAtWallMs: WallMs | null;
};

export interface LeaseObserver {
  facts(facts: LeaseFacts): void;
  /** A renewal was stored; how long the request took. */
  renewed(durationMs: number): void;
  /** Once for each lease that was held: how it ended. */
  ended(how: LeaseEnding): void;
  /** The control store could not be asked; it is tried again. */
  trouble(error: unknown): void;
}

/** `stepdown`: given up by its holder without a release, so that others wait for its ttl. */
export type LeaseEnding = 'released' | 'expired' | 'lost' | 'stepdown';

export type LeaseEnd =
  | { readonly tag: 'held' }
  /** The deadline passed while the control store could not be reached: drop what the lease protects and stand by again. */
  | { readonly tag: 'expired' }
  /** Another holder stands in the row, or the row is gone. Ends the process. */
  | { readonly tag: 'lost'; readonly error: CausewayError }
  /** The control store answered with an error that waiting does not mend. */
  | { readonly tag: 'failed'; readonly error: unknown };

/** The right to act as the holder of `token`, for as long as `ended` has not aborted. */
export interface Lease {
  readonly token: FencingToken;
  /** Random name of this holder, 16 hex digits, another one for each acquisition. */
  readonly holder: string;
  /** Aborts when the lease ends by itself, with a CausewayError as the reason: `lease_lost` or `control_unavailable`, or what failed. */
  readonly ended: AbortSignal;
  readonly end: LeaseEnd;
  /** Time of the request that renewed it last + ttl − margin, on the local monotonic clock. */
  readonly deadline: MonoMs;
  /** Stops renewing, and lets others take over at once. The row stays, so that its token never starts again. Never throws. */
  release(signal: AbortSignal): Promise<void>;
  /** Stops renewing and leaves the row as it is: others wait for ttl. */
  abandon(): Promise<void>;
}

export function marginOf(deps: LeaseDeps): number {
  return deps.marginMs ?? deps.ttlMs / 10;
}
