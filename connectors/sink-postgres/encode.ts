import type { CanonicalType, Value } from '#core/value.ts';

import { fromCanonical, identity, type TextConverter } from '../lib/postgres/values.ts';
/** Writes the texts of one column as the literal of a one-dimensional array: `{1,NULL,"a,b"}`. */
export type ColumnEncoder = (count: number, at: (index: number) => Value) => string;

const NEEDS_ESCAPE = /["\\]/;
const ESCAPED = /["\\]/g;

/**
 * Numbers stand bare; everything else is quoted, so that an empty text, blanks and the word NULL stay what they are. Throws
 * ValueTextError for what is no canonical text of the type.
 */
export function columnEncoder(type: CanonicalType): ColumnEncoder {
  const convert = fromCanonical(type);
  const bare = type.tag === 'int' || type.tag === 'bool';
  if (bare && convert === identity) return encodeBare;
  return (count, at) => encodeQuoted(count, at, convert);
}

/** A number that is none would end the element early, so it is quoted, and the server refuses it. */
const BARE_FORM = /^[-+\w.]+$/;

function encodeBare(count: number, at: (index: number) => Value): string {
  let literal = '{';
  for (let index = 0; index < count; index += 1) {
    if (index > 0) literal += ',';
    const value = at(index) ?? null;
    literal += value === null ? 'NULL' : BARE_FORM.test(value) && value !== 'NULL' ? value : quoted(value);
  }
  return `${literal}}`;
}

function encodeQuoted(count: number, at: (index: number) => Value, convert: TextConverter): string {
  let literal = '{';
  for (let index = 0; index < count; index += 1) {
    if (index > 0) literal += ',';
    const value = at(index) ?? null;
    literal += value === null ? 'NULL' : quoted(convert(value));
  }
  return `${literal}}`;
}

function quoted(text: string): string {
  return NEEDS_ESCAPE.test(text) ? `"${text.replace(ESCAPED, '\\$&')}"` : `"${text}"`;
}

/** Texts as the database printed them. */
export function encodeTexts(texts: readonly string[]): string {
  return `{${texts.map(quoted).join(',')}}`;
}

/** Sequences as an array of bytea. */
export function encodeSequences(count: number, at: (index: number) => string): string {
  let literal = '{';
  for (let index = 0; index < count; index += 1) literal += `${index > 0 ? ',' : ''}"\\\\x${at(index)}"`;
  return `${literal}}`;
}

export function encodeFlags(count: number, at: (index: number) => boolean): string {
  let literal = '{';
  for (let index = 0; index < count; index += 1) literal += `${index > 0 ? ',' : ''}${at(index) ? 't' : 'f'}`;
  return `${literal}}`;
}
