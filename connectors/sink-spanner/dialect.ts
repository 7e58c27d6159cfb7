import type { Column } from '#core/schema.ts';
import type { CanonicalType } from '#core/value.ts';

export type Dialect = 'GOOGLE_STANDARD_SQL' | 'POSTGRESQL';

/** How values are kept. */
export type Encoding = { readonly json: 'text' | 'native'; readonly arrays: 'text' | 'native'; readonly dialect: Dialect };

export type TypeCode = 'BOOL' | 'INT64' | 'FLOAT32' | 'FLOAT64' | 'NUMERIC' | 'STRING' | 'BYTES' | 'DATE' | 'TIMESTAMP' | 'JSON';

/** Type of a column: of its values, or of the elements of its arrays. */
export type ColumnType = { readonly code: TypeCode; readonly isArray: boolean };

/** GoogleSQL's NUMERIC: 29 digits before the point and 9 behind it ("Data types", Decimal type). */
export const NUMERIC_SCALE = 9;
export const NUMERIC_WHOLE_DIGITS = 29;

const LENGTH = /\((\d+|max)\)/i;
const CHARACTERS = /^character(?: varying)?\((\d+)\)/;
const UUID_LENGTH = 36;

/** In GoogleSQL, as its information schema spells them. */
const GOOGLE: Readonly<Record<TypeCode, string>> = {
  BOOL: 'BOOL',
  INT64: 'INT64',
  FLOAT32: 'FLOAT32',
  FLOAT64: 'FLOAT64',
  NUMERIC: 'NUMERIC',
  STRING: 'STRING(MAX)',
  BYTES: 'BYTES(MAX)',
  DATE: 'DATE',
  TIMESTAMP: 'TIMESTAMP',
  JSON: 'JSON',
};
const POSTGRES: Readonly<Record<TypeCode, string>> = {
  BOOL: 'boolean',
  INT64: 'bigint',
  FLOAT32: 'real',
  FLOAT64: 'double precision',
  NUMERIC: 'numeric',
  STRING: 'character varying',
  BYTES: 'bytea',
  DATE: 'date',
  TIMESTAMP: 'timestamp with time zone',
  JSON: 'jsonb',
};

/** The type in DDL, as the information schema spells it. */
export function typeText({ code, isArray }: ColumnType, dialect: Dialect): string {
  if (dialect === 'POSTGRESQL') return POSTGRES[code] + (isArray ? '[]' : '');
  return isArray ? `ARRAY<${GOOGLE[code]}>` : GOOGLE[code];
}

/**
 * Of a column, as the information schema has it. Case counts for nothing. A length of its own has to be no less than `lengthMax`, which is
 * that of the source's values: null where they have none.
 */
export function holdsType(found: string, wanted: ColumnType, lengthMax: number | null, dialect: Dialect): boolean {
  const isLong = wanted.code === 'STRING' || wanted.code === 'BYTES';
  const anyLength = (text: string): string => (isLong ? text.replace(LENGTH, '') : text);
  if (anyLength(found.toLowerCase()) !== anyLength(typeText(wanted, dialect).toLowerCase())) return false;
  const length = isLong ? Number(LENGTH.exec(found)?.[1] ?? Number.NaN) : Number.NaN;
  return Number.isNaN(length) || (lengthMax !== null && length >= lengthMax);
}

/** How many characters a column's values have at most by its source, where the column holds them as they are; null where nothing says so. */
export function lengthMaxOf({ type, sourceType }: Column, { isArray }: ColumnType): number | null {
  const own = isArray && type.tag === 'array' ? type.element : type;
  if (own.tag === 'uuid') return UUID_LENGTH;
  const length = own.tag === 'text' ? CHARACTERS.exec(sourceType)?.[1] : undefined;
  return length === undefined ? null : Number(length);
}

/** A column of a key has one value for each key text: its type compares as the text does. */
export function columnType(type: CanonicalType, encoding: Encoding, isKey: boolean): ColumnType {
  if (type.tag === 'array' && encoding.arrays === 'native' && type.element.tag !== 'array') {
    return { code: scalarCode(type.element, encoding, false), isArray: true };
  }
  return { code: scalarCode(type, encoding, isKey), isArray: false };
}

function scalarCode(type: CanonicalType, { dialect, json }: Encoding, isKey: boolean): TypeCode {
  // Postgres's numeric cannot be a key there ("Work with NUMERIC data", PostgreSQL dialect).
  const numeric = dialect === 'POSTGRESQL' && isKey ? 'STRING' : 'NUMERIC';
  switch (type.tag) {
    case 'bool':
      return 'BOOL';
    case 'int':
      return type.unsigned && type.bits === 64 ? numeric : 'INT64';
    case 'float':
      return type.bits === 32 ? 'FLOAT32' : 'FLOAT64';
    case 'decimal':
      return dialect === 'POSTGRESQL' || fitsNumeric(type) ? numeric : 'STRING';
    case 'bytes':
      return 'BYTES';
    case 'date':
      return 'DATE';
    case 'timestamptz':
      return 'TIMESTAMP';
    case 'json':
      return json === 'native' && !isKey ? 'JSON' : 'STRING';
    default:
      return 'STRING';
  }
}

function fitsNumeric({ precision, scale }: CanonicalType & { readonly tag: 'decimal' }): boolean {
  return precision !== null && scale !== null && scale <= NUMERIC_SCALE && precision - scale <= NUMERIC_WHOLE_DIGITS;
}
