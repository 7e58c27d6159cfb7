import type { CanonicalType, Value } from '#core/value.ts';

import type { Bytes } from '../lib/postgres/flight.ts';
import { ValueTextError } from '../lib/postgres/value-text-error.ts';
import { fromCanonical, identity, type TextConverter } from '../lib/postgres/values.ts';

/** Writes the texts of one column as the literal of a one-dimensional array: `{1,NULL,"a,b"}`. */
export type ColumnEncoder = (count: number, at: (index: number) => Value) => Bytes;

/*
 * The bytes are written one by one into a buffer that all literals share: a text put together by `+=` is a tree of two nodes for
 * each value, which outlives a collection of the young generation and is written out again in the end.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const NON_ASCII = 0x80;
const SHARED_BYTES = 256 * 1024;
/** A longer text is written by the runtime at once; shorter ones are done before such a call has begun. */
const ASCII_LOOP_MAX = 512;
/** Of UTF-8, for a code unit of UTF-16; a quote or backslash takes two. */
const BYTES_FOR_UNIT_MAX = 3;

let buffer = Buffer.allocUnsafeSlow(SHARED_BYTES);
let end = 0;

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

/** A number that is none would end the element early, or be read as null, so it is quoted, and the server refuses it. */
const BARE_FORM = /^(?!null$)[-+\w.]+$/i;
const NULL_WORD = 'NULL';

function encodeBare(count: number, at: (index: number) => Value): Bytes {
  begin();
  for (let index = 0; index < count; index += 1) {
    if (index > 0) put(COMMA);
    const value = at(index) ?? null;
    if (value === null) putText(NULL_WORD);
    else if (BARE_FORM.test(value)) putText(value);
    else putQuoted(value);
  }
  return finish();
}

function encodeQuoted(count: number, at: (index: number) => Value, convert: TextConverter): Bytes {
  begin();
  for (let index = 0; index < count; index += 1) {
    if (index > 0) put(COMMA);
    const value = at(index) ?? null;
    if (value === null) putText(NULL_WORD);
    else putQuoted(convert === identity ? value : convert(value));
  }
  return finish();
}

/** Texts as the database printed them. */
export function encodeTexts(texts: readonly string[]): Bytes {
  begin();
  for (const [index, text] of texts.entries()) {
    if (index > 0) put(COMMA);
    putQuoted(text);
  }
  return finish();
}

/** Sequences as an array of bytea. */
export function encodeSequences(count: number, at: (index: number) => string): Bytes {
  begin();
  for (let index = 0; index < count; index += 1) {
    putText(index > 0 ? ',"\\\\x' : '"\\\\x');
    putText(at(index));
    put(QUOTE);
  }
  return finish();
}

export function encodeFlags(count: number, at: (index: number) => boolean): Bytes {
  begin();
  for (let index = 0; index < count; index += 1) {
    if (index > 0) put(COMMA);
    putText(at(index) ? 't' : 'f');
  }
  return finish();
}

function begin(): void {
  end = 0;
  put(OPEN);
}

function finish(): Bytes {
  put(CLOSE);
  const bytes = Buffer.from(buffer.subarray(0, end));
  // One that had to grow for large values is not kept for ever.
  if (buffer.length > SHARED_BYTES) buffer = Buffer.allocUnsafeSlow(SHARED_BYTES);
  return { bytes };
}

function put(byte: number): void {
  reserve(1);
  buffer[end] = byte;
  end += 1;
}

/** Of ASCII. */
function putText(text: string): void {
  reserve(text.length);
  const into = buffer;
  const from = end;
  for (let index = 0; index < text.length; index += 1) into[from + index] = text.charCodeAt(index);
  end = from + text.length;
}

function putQuoted(text: string): void {
  reserve(text.length * BYTES_FOR_UNIT_MAX + 2);
  if (text.length <= ASCII_LOOP_MAX && putPlain(text)) return;
  if (!text.isWellFormed()) throw new ValueTextError('half of a surrogate pair has no form in UTF-8');
  const escaped = NEEDS_ESCAPE.test(text) ? text.replace(ESCAPED, '\\$&') : text;
  put(QUOTE);
  end += buffer.write(escaped, end, 'utf8');
  put(QUOTE);
}

const NEEDS_ESCAPE = /["\\]/;
const ESCAPED = /["\\]/g;

/** False, with nothing written, for a text that is not plain ASCII or needs an escape. */
function putPlain(text: string): boolean {
  const into = buffer;
  let to = end;
  into[to] = QUOTE;
  to += 1;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code >= NON_ASCII || code === QUOTE || code === BACKSLASH) return false;
    into[to] = code;
    to += 1;
  }
  into[to] = QUOTE;
  end = to + 1;
  return true;
}

function reserve(bytes: number): void {
  if (end + bytes <= buffer.length) return;
  const larger = Buffer.allocUnsafeSlow(Math.max(buffer.length * 2, end + bytes));
  buffer.copy(larger, 0, 0, end);
  buffer = larger;
}
