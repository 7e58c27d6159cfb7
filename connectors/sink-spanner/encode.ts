import type { CanonicalType } from '#core/value.ts';
import { decimalParts, padded, plainNumber } from '../lib/number/decimal-text.ts';
import { floatText } from '../lib/number/float-text.ts';
import { NUMERIC_SCALE, NUMERIC_WHOLE_DIGITS, type ColumnType, type Dialect } from './dialect.ts';
import { ValueRefused } from './errors.ts';
import { checkJson, sameJson } from './json-text.ts';
import { flagWire, NULL, textWire, type Received, type Wire } from './wire.ts';

/** https://cloud.google.com/spanner/quotas, "Tables" and "Columns". */
const CHARACTERS_MAX = 2_621_440;
const BYTES_MAX = 10 * 1024 * 1024;
/** PostgreSQL's own limits of numeric, which the dialect has too. */
const PG_WHOLE_DIGITS = 147_455;
const PG_SCALE = 16_383;
const SURROGATE_MASK = 0xfc00;
const LOW_SURROGATE = 0xdc00;
const YEARS = /^\d{4}-/;
const YEAR_ZERO = '0000-';

/** Errors: `ValueRefused`. */
export function encoded(text: string, column: ColumnType, dialect: Dialect): Wire {
  if (!column.isArray) return scalar(text, column, dialect);
  const array = JSON.parse(text) as unknown;
  if (!Array.isArray(array) || array.some((one) => Array.isArray(one))) {
    throw new ValueRefused('an array of several dimensions, or whose lower bound is not 1');
  }
  const values = (array as readonly (string | null)[]).map((one) => (one === null ? NULL : scalar(one, column, dialect)));
  return { listValue: { values } };
}

function scalar(text: string, { code }: ColumnType, dialect: Dialect): Wire {
  switch (code) {
    case 'BOOL':
      return flagWire(text === 'true');
    case 'INT64':
      return textWire(text);
    case 'FLOAT32':
    case 'FLOAT64':
      return floatWire(text, code);
    case 'NUMERIC':
      checkNumeric(text, dialect);
      return textWire(text);
    case 'BYTES':
      if (Buffer.byteLength(text, 'base64') > BYTES_MAX) throw new ValueRefused('more than 10 MiB');
      return textWire(text);
    case 'DATE':
    case 'TIMESTAMP':
      if (!YEARS.test(text) || text.startsWith(YEAR_ZERO) || text.endsWith(' BC')) {
        throw new ValueRefused('a date or time that is infinite, or outside of the years 1 to 9999');
      }
      return textWire(text);
    case 'JSON':
      checkJson(text);
      checkText(text);
      return textWire(text);
    default:
      checkText(text);
      return textWire(text);
  }
}

function floatWire(text: string, code: 'FLOAT32' | 'FLOAT64'): Wire {
  const value = Number(text);
  // Infinities and NaN are texts, spelled alike.
  if (!Number.isFinite(value)) return textWire(text);
  return { numberValue: code === 'FLOAT32' ? Math.fround(value) : value };
}

function checkNumeric(text: string, dialect: Dialect): void {
  const isPostgres = dialect === 'POSTGRESQL';
  if (isPostgres && text === 'NaN') return;
  const parts = decimalParts(text);
  if (parts === null) throw new ValueRefused('a number that is not finite');
  const [whole, scale] = isPostgres ? [PG_WHOLE_DIGITS, PG_SCALE] : [NUMERIC_WHOLE_DIGITS, NUMERIC_SCALE];
  if (parts.digits === '') return;
  if (parts.digits.length + parts.exponent > whole || -parts.exponent > scale) {
    throw new ValueRefused(`a number with more than ${whole} digits before the point, or ${scale} behind it`);
  }
}

function checkText(text: string): void {
  if (!text.isWellFormed()) throw new ValueRefused('a text that is not Unicode');
  if (text.length > CHARACTERS_MAX && charactersIn(text) > CHARACTERS_MAX) throw new ValueRefused(`more than ${CHARACTERS_MAX} characters`);
  if (text.length > BYTES_MAX / 4 && Buffer.byteLength(text) > BYTES_MAX) throw new ValueRefused('more than 10 MiB');
}

/** Of UTF-16, two units can be one character. */
function charactersIn(text: string): number {
  let characters = 0;
  for (let at = 0; at < text.length; at += 1) if ((text.charCodeAt(at) & SURROGATE_MASK) !== LOW_SURROGATE) characters += 1;
  return characters;
}

/**
 * What `decoded` gives back of a value that was stored, without asking the service: it alone changes the texts of GoogleSQL's NUMERIC, which it
 * keeps without the zeros at the end. Errors: `ValueRefused`.
 */
export function readBack(
  type: CanonicalType,
  text: string,
  { column, dialect }: { readonly column: ColumnType; readonly dialect: Dialect },
) {
  return decoded(type, receivedOf(encoded(text, column, dialect), column, dialect), column);
}

function receivedOf(wire: Wire, column: ColumnType, dialect: Dialect): Received {
  if ('listValue' in wire) {
    const values = wire.listValue.values.map((one) => receivedOf(one, column, dialect));
    return { kind: 'listValue', listValue: { values } };
  }
  if ('nullValue' in wire) return { kind: 'nullValue' };
  const isPlain = column.code === 'NUMERIC' && dialect === 'GOOGLE_STANDARD_SQL' && 'stringValue' in wire;
  return isPlain ? { stringValue: plainNumber(wire.stringValue) ?? wire.stringValue } : wire;
}

/** The canonical text; null for null. */
export function decoded(type: CanonicalType, value: Received | undefined, column: ColumnType): string | null {
  if (value === undefined || value.kind === 'nullValue') return null;
  if (!column.isArray) return scalarText(type, value, column);
  const element = type.tag === 'array' ? type.element : type;
  const elements = value.listValue?.values ?? [];
  return JSON.stringify(elements.map((one) => (one.kind === 'nullValue' ? null : scalarText(element, one, column))));
}

function scalarText(type: CanonicalType, value: Received, { code }: ColumnType): string {
  const text = value.stringValue ?? '';
  switch (code) {
    case 'BOOL':
      return String(value.boolValue ?? false);
    case 'FLOAT32':
    case 'FLOAT64':
      return floatText(typeof value.numberValue === 'number' ? value.numberValue : Number(text), code === 'FLOAT32' ? 32 : 64);
    case 'NUMERIC':
      return type.tag === 'decimal' && type.scale !== null && text !== 'NaN' ? padded(text, type.scale) : text;
    case 'JSON':
      return sameJson(text);
    case 'TIMESTAMP':
      return text.replace(/\.(\d*?)0*Z$/, (_all, fraction: string) => (fraction === '' ? 'Z' : `.${fraction}Z`));
    default:
      return text;
  }
}
