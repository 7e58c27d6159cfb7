/*
 * Durations and sizes as people write them in the configuration. A bare number is refused on purpose: nobody can tell
 * whether `30` means seconds or milliseconds.
 */

const DURATION_UNITS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

const SIZE_UNITS: ReadonlyMap<string, number> = new Map([
  ['B', 1],
  ['KB', 1e3],
  ['MB', 1e6],
  ['GB', 1e9],
  ['TB', 1e12],
  ['KiB', 2 ** 10],
  ['MiB', 2 ** 20],
  ['GiB', 2 ** 30],
  ['TiB', 2 ** 40],
]);

/** `250ms`, `30s`, `1.5h` as whole milliseconds; null for anything else. */
export function parseDurationMs(text: string): number | null {
  return quantity(text, DURATION_UNITS);
}

/** `512MiB`, `8GB`, `100B` as whole bytes; null for anything else. */
export function parseBytes(text: string): number | null {
  return quantity(text, SIZE_UNITS);
}

function quantity(text: string, units: ReadonlyMap<string, number>): number | null {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]{1,3})$/.exec(text.trim());
  const unit = units.get(match?.[2] ?? '');
  if (match === null || unit === undefined) return null;
  const value = Math.round(Number(match[1]) * unit);
  return Number.isSafeInteger(value) ? value : null;
}
