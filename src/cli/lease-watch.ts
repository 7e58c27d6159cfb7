import { controlKeys, type LeaseRow } from '#core/control-rows.ts';
import type { ControlStore, RowVersion } from '#core/control.ts';
import type { MonoMs } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';

const LOOK_MS = 100;
/** A holder renews every third of its ttl, so that one which lives has done so by then. */
const LOOK_PART_OF_TTL = 2;

/**
 * What can be told of a lease from outside. Its row has no clock, and the clocks of two machines cannot be compared, so only what
 * moved while it was looked at is known of its age.
 */
export type WatchedLease = {
  readonly row: LeaseRow;
  readonly version: RowVersion;
  /** When the first look was taken. */
  readonly since: MonoMs;
  /** When it was seen to have moved; null where it did not. */
  readonly movedAt: MonoMs | null;
};

/** Looks until the row moves, for half of its ttl; no longer where nobody holds it. Null where there is no row. */
export async function watchLease(
  deps: { readonly control: ControlStore; readonly runtime: Runtime; readonly pipeline: string },
  signal: AbortSignal,
): Promise<WatchedLease | null> {
  const { control, runtime, pipeline } = deps;
  const key = controlKeys.lease(pipeline);
  const first = await control.get(key, signal);
  if (first === null) return null;
  const since = runtime.monotonicMs();
  const row = first.value as LeaseRow;
  while (row.holder !== null && runtime.monotonicMs() - since < row.ttlMs / LOOK_PART_OF_TTL) {
    await runtime.sleep(LOOK_MS, signal);
    const now = await control.get(key, signal);
    if (now === null) return null;
    if (now.version !== first.version) {
      return { row: now.value as LeaseRow, version: now.version, since, movedAt: runtime.monotonicMs() };
    }
  }
  return { row, version: first.version, since, movedAt: null };
}

export type LeaseAge = {
  /** Since it was renewed; null where it was not while it was looked at. */
  readonly renewedAgoMs: number | null;
  /** For how long it was seen not to move. */
  readonly stillForMs: number;
  /** It ends by then at the latest, unless it is renewed. */
  readonly expiresWithinMs: number;
};

/** Null where nobody holds it. */
export function ageOf({ row, since, movedAt }: WatchedLease, now: MonoMs): LeaseAge | null {
  if (row.holder === null) return null;
  const stillForMs = now - (movedAt ?? since);
  return { renewedAgoMs: movedAt === null ? null : stillForMs, stillForMs, expiresWithinMs: Math.max(0, row.ttlMs - stillForMs) };
}
