import { decimalParts } from '../lib/number/decimal-text.ts';
import type { Dialect, TypeCode } from './dialect.ts';
import type { Shape } from './shape.ts';
import type { ReadRow } from './transaction.ts';
import type { Received } from './wire.ts';

/** Orders rows that begin with the columns of the key as Spanner does ("Data types", Ordering; PostgreSQL's texts compare by bytes there too). */
export function compareKeys({ key, dialect }: Shape, a: ReadRow, b: ReadRow): number {
  for (const [at, { type }] of key.entries()) {
    const order = compareValues(type.code, dialect, a[at] ?? {}, b[at] ?? {});
    if (order !== 0) return order;
  }
  return 0;
}

function compareValues(code: TypeCode, dialect: Dialect, a: Received, b: Received): number {
  const [one, two] = [a.stringValue ?? '', b.stringValue ?? ''];
  switch (code) {
    case 'BOOL':
      return Number(a.boolValue) - Number(b.boolValue);
    case 'INT64':
      return sign(BigInt(one) - BigInt(two));
    case 'NUMERIC':
      return compareDecimals(one, two);
    case 'FLOAT32':
    case 'FLOAT64':
      return compareFloats(floatOf(a), floatOf(b), dialect);
    case 'BYTES':
      return Buffer.compare(Buffer.from(one, 'base64'), Buffer.from(two, 'base64'));
    case 'TIMESTAMP':
      // Without the Z a time without a fraction is the first of its second.
      return Buffer.compare(Buffer.from(one.slice(0, -1)), Buffer.from(two.slice(0, -1)));
    default:
      return Buffer.compare(Buffer.from(one), Buffer.from(two));
  }
}

function floatOf({ numberValue, stringValue }: Received): number {
  return typeof numberValue === 'number' ? numberValue : Number(stringValue);
}

/** NaN is the lowest in GoogleSQL, and the greatest in PostgreSQL's dialect. */
function compareFloats(a: number, b: number, dialect: Dialect): number {
  const lowest = Number(Number.isNaN(b)) - Number(Number.isNaN(a));
  if (lowest !== 0 || Number.isNaN(a)) return dialect === 'POSTGRESQL' ? -lowest : lowest;
  return a < b ? -1 : a > b ? 1 : 0;
}

function compareDecimals(a: string, b: string): number {
  const [one, two] = [decimalParts(a), decimalParts(b)];
  if (one === null || two === null) return 0;
  const scale = Math.min(one.exponent, two.exponent);
  const whole = ({ sign: minus, digits, exponent }: typeof one): bigint =>
    BigInt(`${minus}${digits === '' ? '0' : digits}${'0'.repeat(exponent - scale)}`);
  return sign(whole(one) - whole(two));
}

function sign(value: bigint): number {
  return value < 0n ? -1 : value > 0n ? 1 : 0;
}
