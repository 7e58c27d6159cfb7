import type { LeaseRow } from '#core/control-rows.ts';
import type { WallMs } from '#core/position.ts';

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

const DAY_MS = 86_400_000;
/** From 0000-03-01 to 1970-01-01. */
const DAYS_FROM_ERA = 719_468;
/** Of four hundred years. */
const DAYS_OF_ERA = 146_097;

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

/**
 * UTC, with the six digits of a second that the API asks for. The calendar is civil_from_days of Howard Hinnant's "chrono-Compatible
 * Low-Level Date Algorithms".
 */
export function microTime(ms: WallMs): string {
  const days = Math.floor(ms / DAY_MS);
  const fromEra = days + DAYS_FROM_ERA;
  const era = Math.floor(fromEra / DAYS_OF_ERA);
  const dayOfEra = fromEra - era * DAYS_OF_ERA;
  const leaps = Math.floor(dayOfEra / 1_460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor((dayOfEra - leaps) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  // Months from March, so that the leap day is the last of a year.
  const fromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * fromMarch + 2) / 5) + 1;
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const within = ms - days * DAY_MS;
  const part = (unitMs: number, modulus: number): string => digits(Math.floor(within / unitMs) % modulus, 2);
  const time = `${part(3_600_000, 24)}:${part(60_000, 60)}:${part(1_000, 60)}.${digits(Math.floor(within % 1_000), 3)}000`;
  return `${digits(year, 4)}-${digits(month, 2)}-${digits(day, 2)}T${time}Z`;
}

function digits(value: number, count: number): string {
  return String(value).padStart(count, '0');
}
