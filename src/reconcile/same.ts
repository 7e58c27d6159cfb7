import type { TableSchema } from '#core/schema.ts';
import type { CanonicalType, Row, Value } from '#core/value.ts';

/** Names of the columns in which two rows of one schema differ. Both are in the sink's own value domain. */
export function differingColumns(schema: TableSchema, expected: Row, stored: Row): readonly string[] {
  return schema.columns.filter(({ type }, at) => !isSame(type, expected[at], stored[at])).map(({ name }) => name);
}

export function isSameRow(schema: TableSchema, expected: Row, stored: Row): boolean {
  for (let at = 0; at < schema.columns.length; at += 1) {
    const a = expected[at];
    const b = stored[at];
    if (a === b) continue;
    const type = schema.columns[at]?.type;
    if (type === undefined || !isSame(type, a, b)) return false;
  }
  return true;
}

/** A row in a form in which rows that are the same are the same text. */
export function normalText(schema: TableSchema, row: Row): string {
  return JSON.stringify(schema.columns.map(({ type }, at) => normal(type, row[at] ?? null)));
}

function isSame(type: CanonicalType, a: Value, b: Value): boolean {
  if (a === b) return true;
  if (typeof a !== 'string' || typeof b !== 'string' || !holdsJson(type)) return false;
  return normal(type, a) === normal(type, b);
}

function holdsJson(type: CanonicalType): boolean {
  return type.tag === 'json' || (type.tag === 'array' && holdsJson(type.element));
}

function normal(type: CanonicalType, text: string | null): string | null {
  if (text === null || !holdsJson(type)) return text;
  try {
    if (type.tag === 'json') return jsonValue(text);
    return JSON.stringify(elements(type, JSON.parse(text)));
  } catch (error) {
    // Deeper than the parser goes, or not JSON: two texts are then the same only where they are equal.
    if (error instanceof SyntaxError || error instanceof RangeError) return text;
    throw error;
  }
}

/** An array's canonical text is itself JSON; what it holds are texts, nulls, arrays of them, or the form with lower bounds. */
function elements(type: CanonicalType, value: unknown): unknown {
  const inner = type.tag === 'array' ? type.element : type;
  if (typeof value === 'string') return normal(inner, value);
  if (Array.isArray(value)) return value.map((one) => elements(type, one));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, name === 'values' ? elements(type, one) : one]));
}

/** A JSON number, by its own digits: a parsed one would be rounded. */
class Digits {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** One text for all JSON texts of the same value: members in the order of their names, the last of two with one name, numbers by value. */
function jsonValue(text: string): string {
  const reviver = (_name: string, value: unknown, context?: { readonly source?: string }): unknown =>
    typeof value === 'number' ? new Digits(numberText(context?.source ?? String(value))) : value;
  return printed(JSON.parse(text, reviver));
}

function printed(value: unknown): string {
  if (value instanceof Digits) return value.text;
  if (Array.isArray(value)) return `[${value.map(printed).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : Number(a > b)));
  return `{${members.map(([name, one]) => `${JSON.stringify(name)}:${printed(one)}`).join(',')}}`;
}

const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/** Digits without zeros at either end, and a power of ten: `1`, `1.0` and `10e-1` have one text. */
function numberText(source: string): string {
  const parts = NUMBER.exec(source);
  if (parts === null) return source;
  const [, sign = '', whole = '', fraction = '', power = '0'] = parts;
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  const trimmed = digits.replace(/0+$/, '');
  if (trimmed === '') return '0';
  const exponent = BigInt(power) - BigInt(fraction.length) + BigInt(digits.length - trimmed.length);
  return `${sign}${trimmed}e${exponent}`;
}
