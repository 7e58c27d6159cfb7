import type { LeaseRow } from '#core/control-rows.ts';
import type { WallMs } from '#core/position.ts';
import { microTime } from '../lib/time/micro-time.ts';

/** The fields of a Lease that `kubectl get lease` and `kubectl describe lease` show. Nothing here reads them. */
export type LeaseSpec = {
  readonly holderIdentity: string | null;
  readonly leaseDurationSeconds: number;
  /** The fencing token: one more at each take-over. */
  readonly leaseTransitions: number;
  readonly renewTime: string;
  /** Only where a holder has just taken it. */
  readonly acquireTime?: string;
};

/** An int32 in the API. */
const TRANSITIONS_MAX = 2 ** 31 - 1;

/** Null for a value that is no row of a lease. */
export function leaseSpec(value: unknown, now: WallMs): LeaseSpec | null {
  if (!isLeaseRow(value)) return null;
  const time = microTime(now);
  return {
    holderIdentity: value.holder === null ? null : (value.describedAs ?? value.holder),
    leaseDurationSeconds: Math.max(1, Math.ceil(value.ttlMs / 1_000)),
    leaseTransitions: Math.min(value.token, TRANSITIONS_MAX),
    renewTime: time,
    ...(value.holder !== null && value.renewals === 0 ? { acquireTime: time } : {}),
  };
}

function isLeaseRow(value: unknown): value is LeaseRow {
  if (typeof value !== 'object' || value === null) return false;
  const { token, ttlMs, holder, renewals } = value as Partial<LeaseRow>;
  return (
    typeof token === 'number' &&
    typeof ttlMs === 'number' &&
    typeof renewals === 'number' &&
    (holder === null || typeof holder === 'string')
  );
}
