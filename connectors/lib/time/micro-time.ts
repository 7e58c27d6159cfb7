import type { WallMs } from '#core/position.ts';

const DAY_MS = 86_400_000;
/** From 0000-03-01 to 1970-01-01. */
const DAYS_FROM_ERA = 719_468;
/** Of four hundred years. */
const DAYS_OF_ERA = 146_097;

/**
 * UTC, `2026-01-02T03:04:05.678000Z`: with six digits of a second, of which a clock of milliseconds gives three. The calendar is civil_from_days of Howard Hinnant's "chrono-Compatible
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
