/**
 * The canonical types of values between source and sink. Each value is one canonical text, or null, or absent
 * (*unchanged*: a large column that the source's log did not repeat). Texts:
 *
 * - bool: `true`, `false`. int: decimal digits. float: the shortest text that reads back to the same bits, as the source
 *   prints it (`1e+20` and `1.5`), `NaN`, `Infinity`, `-Infinity`. decimal: digits with the source's scale, `NaN`, `Infinity`.
 * - text, enum, uuid (lower case): themselves. bytes: base64 with padding. bit: digits 0 and 1.
 * - date: `2026-01-02`, `0044-03-15 BC`, `infinity`, `-infinity`. time: `03:04:05.123456`, without trailing zeros.
 *   timestamp: `2026-01-02T03:04:05.123456`, with ` BC` behind or the infinities; timestamptz: the same in UTC, with `Z`
 *   before ` BC`. interval: ISO 8601 with designators, as Postgres prints `IntervalStyle iso_8601`.
 * - json: the source's own text. array: a JSON array of the elements' canonical texts and nulls, nested for dimensions;
 *   `{"lower":[0],"values":[…]}` where a lower bound is not 1. other: the source's text.
 */
export type CanonicalType =
  | { readonly tag: 'bool' }
  | { readonly tag: 'int'; readonly bits: 16 | 32 | 64; readonly unsigned: boolean }
  | { readonly tag: 'float'; readonly bits: 32 | 64 }
  | { readonly tag: 'decimal'; readonly precision: number | null; readonly scale: number | null }
  | { readonly tag: 'text' }
  | { readonly tag: 'bytes' }
  | { readonly tag: 'date' }
  | { readonly tag: 'time' }
  | { readonly tag: 'timestamp' }
  | { readonly tag: 'timestamptz' }
  | { readonly tag: 'interval' }
  | { readonly tag: 'uuid' }
  | { readonly tag: 'json' }
  | { readonly tag: 'enum'; readonly labels: readonly string[] }
  | { readonly tag: 'bit' }
  | { readonly tag: 'array'; readonly element: CanonicalType }
  | { readonly tag: 'other'; readonly name: string };

/** A canonical text, null, or undefined for a column that the event leaves as it is. */
export type Value = string | null | undefined;

/** Values in the order of the table schema's columns. */
export type Row = readonly Value[];

/** A row with an undefined column is right only on top of the event before it. */
export function isPartial(row: Row): boolean {
  return row.includes(undefined);
}

/** Fills the columns that `partial` leaves unchanged from `base`. Both follow one schema. */
export function mergePartial(base: Row, partial: Row): Row {
  return partial.map((value, index) => (value === undefined ? base[index] : value));
}
