import { ValueTextError } from './value-text-error.ts';

/**
 * Arrays between Postgres's text and canonical text (docs/decisions/0010-array-text.md).
 *
 *     {1,NULL,"a b"}            ["1",null,"a b"]
 *     {{1,2},{3,4}}             [["1","2"],["3","4"]]
 *     [0:1]={1,2}               {"lower":[0],"values":["1","2"]}
 *
 * The server prints bounds only where one of them does not begin at 1, quotes an element that could be read as anything else,
 * and prints an absent one as a bare NULL: "PostgreSQL documentation, 8.15.6 Array Input and Output Syntax".
 */
export type ElementConverter = (text: string) => string;

const BOUNDS_FORM = /^(?:\[[+-]?\d+:[+-]?\d+\])+=/;
const BOUND_FORM = /\[([+-]?\d+):[+-]?\d+\]/g;

export function arrayToCanonical(text: string, delimiter: string, element: ElementConverter): string {
  if (!text.startsWith('[')) return elementsToJson(text, 0, delimiter, element);
  const bounds = BOUNDS_FORM.exec(text)?.[0];
  if (bounds === undefined) throw new ValueTextError('the bounds of an array cannot be read');
  const lower = [...bounds.matchAll(BOUND_FORM)].map((match) => String(Number(match[1])));
  return `{"lower":[${lower.join(',')}],"values":${elementsToJson(text, bounds.length, delimiter, element)}}`;
}

/** Translates brace for brace and element for element, so that no tree is built. */
function elementsToJson(text: string, start: number, delimiter: string, element: ElementConverter): string {
  let json = '';
  let depth = 0;
  let at = start;
  // What may stand next: an element or an opening brace, or a delimiter or a closing brace.
  let expectsItem = true;
  const end = text.length;
  while (at < end) {
    const char = text[at];
    if (char === '{' && expectsItem) {
      depth += 1;
      at += 1;
      json += '[';
      if (text[at] === '}') expectsItem = false;
    } else if (char === '}' && !expectsItem) {
      depth -= 1;
      at += 1;
      json += ']';
      if (depth === 0) break;
    } else if (char === delimiter && !expectsItem) {
      at += 1;
      json += ',';
      expectsItem = true;
    } else if (char === '"' && expectsItem && depth > 0) {
      const close = closingQuote(text, at + 1);
      json += JSON.stringify(element(unescape(text, at + 1, close)));
      at = close + 1;
      expectsItem = false;
    } else if (expectsItem && depth > 0) {
      const close = endOfBare(text, at, delimiter);
      const bare = text.slice(at, close);
      if (bare === '') throw new ValueTextError('an element of an array is missing');
      json += bare === 'NULL' ? 'null' : JSON.stringify(element(bare));
      at = close;
      expectsItem = false;
    } else {
      throw new ValueTextError('an array cannot be read');
    }
  }
  if (depth !== 0 || at !== end || at === start) throw new ValueTextError('an array ends too early or too late');
  return json;
}

function closingQuote(text: string, start: number): number {
  for (let at = start; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '"') return at;
  }
  throw new ValueTextError('a quoted element of an array does not end');
}

function unescape(text: string, start: number, end: number): string {
  const quoted = text.slice(start, end);
  return quoted.includes('\\') ? quoted.replace(/\\(.)/gsu, '$1') : quoted;
}

function endOfBare(text: string, start: number, delimiter: string): number {
  for (let at = start; at < text.length; at += 1) {
    const char = text[at];
    if (char === delimiter || char === '}') return at;
    if (char === '"' || char === '{' || char === '\\') throw new ValueTextError('an element of an array is not quoted as it must be');
  }
  return text.length;
}

export function arrayFromCanonical(json: string, delimiter: string, element: ElementConverter): string {
  const parsed = parseJson(json);
  if (Array.isArray(parsed)) return elementsToText(parsed, delimiter, element);
  if (typeof parsed !== 'object' || parsed === null || !('lower' in parsed) || !('values' in parsed)) {
    throw new ValueTextError('a canonical array is a JSON array, or an object with lower and values');
  }
  const { lower, values } = parsed;
  if (!Array.isArray(lower) || !lower.every((bound) => Number.isInteger(bound)) || !Array.isArray(values)) {
    throw new ValueTextError('the lower bounds of a canonical array are whole numbers');
  }
  const sizes = dimensionsOf(values);
  if (sizes.length !== lower.length) throw new ValueTextError('a canonical array has one lower bound for each dimension');
  const bounds = (lower as number[]).map((bound, index) => `[${bound}:${bound + (sizes[index] ?? 0) - 1}]`);
  return `${bounds.join('')}=${elementsToText(values, delimiter, element)}`;
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    // The parser's own message quotes the text, which is a row's value.
    throw new ValueTextError(error instanceof SyntaxError ? 'a canonical array is not JSON' : 'a canonical array cannot be read');
  }
}

/** Postgres's arrays are rectangular, so the first item of each level tells all sizes. */
function dimensionsOf(values: readonly unknown[]): number[] {
  const sizes: number[] = [];
  for (let level: unknown = values; Array.isArray(level); level = level[0]) sizes.push(level.length);
  return sizes;
}

/** Every element that is there is quoted: that is always read back as itself, a text `NULL` and blanks at the ends included. */
function elementsToText(items: readonly unknown[], delimiter: string, element: ElementConverter): string {
  const texts = items.map((item) => {
    if (item === null) return 'NULL';
    if (Array.isArray(item)) return elementsToText(item, delimiter, element);
    if (typeof item !== 'string') throw new ValueTextError('an element of a canonical array is a text or null');
    return `"${element(item).replace(/["\\]/g, '\\$&')}"`;
  });
  return `{${texts.join(delimiter)}}`;
}
