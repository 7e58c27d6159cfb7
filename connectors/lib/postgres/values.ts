import { unreachable } from '#core/assert.ts';
import type { CanonicalType } from '#core/value.ts';
import { arrayFromCanonical, arrayToCanonical } from './array-text.ts';
import { ValueTextError } from './value-text-error.ts';

/**
 * Postgres's types and texts to canonical ones and back. The texts are those that the server prints in a session with
 * `valueSettings`: for most types they are the canonical text already, and `identity` stands for that, so that callers can leave
 * those columns alone.
 */
export type PostgresType = {
  readonly schema: string;
  /** `pg_type.typname`. */
  readonly name: string;
  /** `pg_type.typtype`: base, composite, domain, enum, pseudo, range, multirange. */
  readonly kind: 'b' | 'c' | 'd' | 'e' | 'p' | 'r' | 'm';
  /** `pg_attribute.atttypmod`; for the type below a domain, the domain's `typtypmod`. -1 where there is none. */
  readonly typmod: number;
  /** The element of an array that `array_out` prints; null for all other types, int2vector and oidvector among them. */
  readonly element: PostgresType | null;
  /** `pg_type.typdelim`: what stands between elements in an array of this type. */
  readonly delimiter: string;
  /** What a domain is over. */
  readonly base: PostgresType | null;
  /** An enum's labels, in its order. */
  readonly labels: readonly string[];
};

export type TextConverter = (text: string) => string;

/** Given for the types whose Postgres text is the canonical text. Compare with `===` to leave the call out. */
export const identity: TextConverter = (text) => text;

const VARIABLE_HEADER_BYTES = 4;

export function canonicalType(type: PostgresType): CanonicalType {
  if (type.kind === 'd' && type.base !== null) return canonicalType(type.base);
  if (type.kind === 'e') return { tag: 'enum', labels: type.labels };
  if (type.element !== null) return arrayType(type, type.element);
  if (type.kind === 'b' && type.schema === 'pg_catalog') return builtInType(type) ?? otherType(type);
  return otherType(type);
}

function otherType(type: PostgresType): CanonicalType {
  const name = type.element === null ? type.name : `${type.element.name}[]`;
  return { tag: 'other', name: type.schema === 'pg_catalog' ? name : `${type.schema}.${name}` };
}

function arrayType(type: PostgresType, element: PostgresType): CanonicalType {
  // The array's modifier is its element's; a domain as element has its own.
  const canonical = canonicalType(element.kind === 'd' ? element : { ...element, typmod: type.typmod });
  // A canonical type has no room for an unusual delimiter (PostGIS has one), so such an array stays the text that it is.
  return delimiterOf(canonical) === element.delimiter ? { tag: 'array', element: canonical } : otherType(type);
}

/** Of all types built into Postgres only box has a delimiter other than the comma. */
function delimiterOf(element: CanonicalType): string {
  return element.tag === 'other' && element.name === 'box' ? ';' : ',';
}

function builtInType(type: PostgresType): CanonicalType | null {
  switch (type.name) {
    case 'bool':
      return { tag: 'bool' };
    case 'int2':
      return { tag: 'int', bits: 16, unsigned: false };
    case 'int4':
      return { tag: 'int', bits: 32, unsigned: false };
    case 'int8':
      return { tag: 'int', bits: 64, unsigned: false };
    case 'oid':
      return { tag: 'int', bits: 32, unsigned: true };
    case 'float4':
      return { tag: 'float', bits: 32 };
    case 'float8':
      return { tag: 'float', bits: 64 };
    case 'numeric':
      return decimalType(type.typmod);
    case 'text':
    case 'varchar':
    case 'name':
      return { tag: 'text' };
    case 'bpchar':
      // Without a length the server keeps trailing blanks and yet calls 'a' and 'a ' equal, so it is no text (and no key).
      return type.typmod > VARIABLE_HEADER_BYTES ? { tag: 'text' } : null;
    case 'bytea':
      return { tag: 'bytes' };
    case 'date':
      return { tag: 'date' };
    case 'time':
      return { tag: 'time' };
    case 'timestamp':
      return { tag: 'timestamp' };
    case 'timestamptz':
      return { tag: 'timestamptz' };
    case 'interval':
      return { tag: 'interval' };
    case 'uuid':
      return { tag: 'uuid' };
    case 'json':
    case 'jsonb':
      return { tag: 'json' };
    case 'bit':
    case 'varbit':
      return { tag: 'bit' };
    default:
      return null;
  }
}

/** The modifier holds the precision in its upper half and the scale, signed since PostgreSQL 15, in its lowest 11 bits. */
function decimalType(typmod: number): CanonicalType {
  if (typmod < VARIABLE_HEADER_BYTES) return { tag: 'decimal', precision: null, scale: null };
  const packed = typmod - VARIABLE_HEADER_BYTES;
  return { tag: 'decimal', precision: (packed >> 16) & 0xffff, scale: ((packed & 0x7ff) ^ 0x400) - 0x400 };
}

/** What the server prints for a value of this type, to canonical text. The converter throws ValueTextError. */
export function toCanonical(type: CanonicalType): TextConverter {
  switch (type.tag) {
    case 'bool':
      return boolToCanonical;
    case 'bytes':
      return bytesToCanonical;
    case 'timestamp':
      return timestampToCanonical;
    case 'timestamptz':
      return timestamptzToCanonical;
    case 'array': {
      const element = toCanonical(type.element);
      const delimiter = delimiterOf(type.element);
      return (text) => arrayToCanonical(text, delimiter, element);
    }
    case 'int':
    case 'float':
    case 'decimal':
    case 'text':
    case 'date':
    case 'time':
    case 'interval':
    case 'uuid':
    case 'json':
    case 'enum':
    case 'bit':
    case 'other':
      return identity;
    default:
      return unreachable(type);
  }
}

/** Canonical text to a text that the type's input function reads as the same value. The converter throws ValueTextError. */
export function fromCanonical(type: CanonicalType): TextConverter {
  switch (type.tag) {
    case 'bytes':
      return bytesFromCanonical;
    case 'timestamp':
      return timestampFromCanonical;
    case 'timestamptz':
      return timestamptzFromCanonical;
    case 'array': {
      const element = fromCanonical(type.element);
      const delimiter = delimiterOf(type.element);
      return (text) => arrayFromCanonical(text, delimiter, element);
    }
    // The input function of bool reads `true` and `false`.
    case 'bool':
    case 'int':
    case 'float':
    case 'decimal':
    case 'text':
    case 'date':
    case 'time':
    case 'interval':
    case 'uuid':
    case 'json':
    case 'enum':
    case 'bit':
    case 'other':
      return identity;
    default:
      return unreachable(type);
  }
}

function boolToCanonical(text: string): string {
  if (text === 't') return 'true';
  if (text === 'f') return 'false';
  throw new ValueTextError('a bool is neither t nor f');
}

const HEX_PREFIX = '\\x';

function bytesToCanonical(text: string): string {
  if (!text.startsWith(HEX_PREFIX)) throw new ValueTextError('bytes are not in hexadecimal: bytea_output was not applied');
  const bytes = Buffer.from(text.slice(HEX_PREFIX.length), 'hex');
  // Buffer.from stops at the first thing that is no digit instead of saying so.
  if (bytes.length * 2 !== text.length - HEX_PREFIX.length) throw new ValueTextError('bytes are not in hexadecimal');
  return bytes.toString('base64');
}

function bytesFromCanonical(text: string): string {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw new ValueTextError('bytes are not in base64 with padding');
  return HEX_PREFIX + bytes.toString('hex');
}

const TIMESTAMP_FORM = /^(\d{4,6}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,6})?)(\+00)?( BC)?$/;
const CANONICAL_TIMESTAMP_FORM = /^(\d{4,6}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d{1,6})?)(Z)?( BC)?$/;

function isInfinite(text: string): boolean {
  return text === 'infinity' || text === '-infinity';
}

function timestampToCanonical(text: string): string {
  if (isInfinite(text)) return text;
  const match = TIMESTAMP_FORM.exec(text);
  if (match === null || match[3] !== undefined) throw new ValueTextError('a timestamp is not in ISO form: DateStyle was not applied');
  return `${match[1] ?? ''}T${match[2] ?? ''}${match[4] ?? ''}`;
}

const UTC_SUFFIX = '+00';

/** The plain form, years 0000 to 9999 and no BC, without the expression: a third of the time, on a path that many rows take. */
function isPlainTimestamp(text: string): boolean {
  return text.charCodeAt(4) === DASH && text.charCodeAt(7) === DASH && text.charCodeAt(10) === BLANK && text.charCodeAt(13) === COLON;
}

const DASH = 0x2d;
const BLANK = 0x20;
const COLON = 0x3a;

function timestamptzToCanonical(text: string): string {
  if (isPlainTimestamp(text) && text.endsWith(UTC_SUFFIX)) return `${text.slice(0, 10)}T${text.slice(11, -UTC_SUFFIX.length)}Z`;
  if (isInfinite(text)) return text;
  const match = TIMESTAMP_FORM.exec(text);
  if (match?.[3] === undefined) throw new ValueTextError('a timestamptz is not in ISO form and UTC: DateStyle or TimeZone was not applied');
  return `${match[1] ?? ''}T${match[2] ?? ''}Z${match[4] ?? ''}`;
}

function timestampFromCanonical(text: string): string {
  if (isInfinite(text)) return text;
  const match = CANONICAL_TIMESTAMP_FORM.exec(text);
  if (match === null || match[3] !== undefined) throw new ValueTextError('a canonical timestamp cannot be read');
  return `${match[1] ?? ''} ${match[2] ?? ''}${match[4] ?? ''}`;
}

function timestamptzFromCanonical(text: string): string {
  if (isInfinite(text)) return text;
  const match = CANONICAL_TIMESTAMP_FORM.exec(text);
  if (match?.[3] === undefined) throw new ValueTextError('a canonical timestamptz cannot be read');
  return `${match[1] ?? ''} ${match[2] ?? ''}+00${match[4] ?? ''}`;
}
