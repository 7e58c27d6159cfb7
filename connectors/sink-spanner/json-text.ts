import { plainNumber } from '../lib/number/decimal-text.ts';
import { ValueRefused } from './errors.ts';

const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;
/** "JSON data can be nested to at most 80 levels" ("Work with JSON data", Cloud Spanner). */
const LEVELS_MAX = 80;
const INTEGER = /^-?\d+$/;

type Reviver = (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown;

/**
 * Refuses what JSON does not give back as the same value: a number that is neither a 64-bit integer nor exactly the shortest text of a
 * double, which the service rounds; a name that stands twice, of which it keeps one; text that is not Unicode; deep nesting.
 */
export function checkJson(text: string): void {
  const { levels, values } = countedIn(text);
  // First: to parse takes a frame of the stack for each level.
  if (levels > LEVELS_MAX) throw new ValueRefused(`json nested deeper than ${LEVELS_MAX} levels`);
  let members = 0;
  const reviver: Reviver = (key, value, { source }) => {
    members += 1;
    checkText(key);
    if (typeof value === 'string') checkText(value);
    if (typeof value === 'number' && !isKept(source ?? '')) throw new ValueRefused('a json number that a double does not hold');
    return value;
  };
  JSON.parse(text, reviver as (key: string, value: unknown) => unknown);
  if (values !== members) throw new ValueRefused('a json object with a name that stands twice');
}

declare global {
  interface JSON {
    /** https://tc39.es/proposal-json-parse-with-source/ */
    rawJSON(text: string): unknown;
    isRawJSON(value: unknown): boolean;
  }
}

/**
 * One text for all that the service may print of a value, and for what was stored: it keeps neither blanks, nor the order of names, nor the
 * spelling of numbers.
 */
export function sameJson(text: string): string {
  const reviver: Reviver = (_key, value, { source }) => {
    if (typeof value === 'number') return JSON.rawJSON(plainNumber(source ?? '') ?? String(value));
    return isObject(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value;
  };
  return JSON.stringify(JSON.parse(text, reviver as (key: string, value: unknown) => unknown));
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value);
}

function checkText(text: string): void {
  if (!text.isWellFormed() || text.includes('\0')) throw new ValueRefused('a text of a json value that is not Unicode, or holds a NUL');
}

function isKept(source: string): boolean {
  if (INTEGER.test(source)) {
    const integer = BigInt(source);
    if (integer >= INT64_MIN && integer <= UINT64_MAX) return source !== '-0';
  }
  const value = Number(source);
  if (!Number.isFinite(value) || Object.is(value, -0)) return false;
  return plainNumber(String(value)) === plainNumber(source);
}

/** Of a valid text: how deep it nests, and its values at every level, the text itself among them. */
function countedIn(text: string): { readonly levels: number; readonly values: number } {
  let levels = 0;
  let open = 0;
  let values = 0;
  // Names, which end with a colon, are no values. Strings are stepped over whole, for what stands in them.
  for (const [token] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"\s*:?|[[\]{}]|[^\s[\]{},":]+/g)) {
    if (token === ']' || token === '}') open -= 1;
    else if (!token.endsWith(':')) values += 1;
    if (token === '[' || token === '{') open += 1;
    levels = Math.max(levels, open);
  }
  return { levels, values };
}
