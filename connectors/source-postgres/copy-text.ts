import type { Value } from '#core/value.ts';
import type { TextForm } from './pgoutput/text.ts';
import type { Tuple } from './pgoutput/tuple.ts';

const TAB = 0x09;
const NEWLINE = 0x0a;
const BACKSLASH = 0x5c;
const ASCII_BITS = 0x7f;
const NULL_TEXT = '\\N';
const NULL_UNIT = 0x4e; // N
const NONE: readonly number[] = [];

/** What stands behind a backslash for one byte ("PostgreSQL documentation, COPY, Text Format"); any other byte stands for itself. */
const ESCAPED: ReadonlyMap<number, number> = new Map([
  [0x62, 0x08], // \b
  [0x66, 0x0c], // \f
  [0x6e, NEWLINE], // \n
  [0x72, 0x0d], // \r
  [0x74, TAB], // \t
  [0x76, 0x0b], // \v
]);

/** Larger lines would only be copied twice: once as a string, then in parts. */
const WHOLE_LINE_BYTES_MAX = 4096;

/**
 * One row of `COPY … TO STDOUT` in its text format: fields as the types' output functions print them, as in the stream, with tabs
 * between them and a line break behind.
 */
export function readCopyLine(line: Buffer, form: TextForm): Tuple {
  const end = line.at(-1) === NEWLINE ? line.length - 1 : line.length;
  if (end <= WHOLE_LINE_BYTES_MAX && isPlain(line, end)) {
    const values: Value[] = line.toString('latin1', 0, end).split('\t');
    return { values, unreadable: NONE };
  }
  const values: Value[] = [];
  let unreadable = NONE;
  for (let start = 0; start <= end;) {
    const tab = line.indexOf(TAB, start);
    const stop = tab === -1 || tab > end ? end : tab;
    const text = readField(line.subarray(start, stop), form);
    if (text === undefined) unreadable = [...unreadable, values.length];
    values.push(text ?? null);
    start = stop + 1;
  }
  return { values, unreadable };
}

/** Without an escape, a null among them, and without a byte that only the encoding explains. */
function isPlain(line: Buffer, end: number): boolean {
  let bits = 0;
  for (let at = 0; at < end; at += 1) {
    const byte = line[at] ?? 0;
    if (byte === BACKSLASH) return false;
    bits |= byte;
  }
  return bits <= ASCII_BITS;
}

/** Undefined for bytes that are no text. */
function readField(field: Buffer, form: TextForm): string | null | undefined {
  if (field.length === NULL_TEXT.length && field[0] === BACKSLASH && field[1] === NULL_UNIT) return null;
  const bytes = field.includes(BACKSLASH) ? unescaped(field) : field;
  return form.value(bytes, 0, bytes.length) ?? undefined;
}

function unescaped(field: Buffer): Buffer {
  const out = Buffer.allocUnsafe(field.length);
  let to = 0;
  for (let at = 0; at < field.length; at += 1) {
    let byte = field[at] ?? 0;
    if (byte === BACKSLASH) {
      at += 1;
      const next = field[at] ?? BACKSLASH;
      byte = ESCAPED.get(next) ?? next;
    }
    out[to] = byte;
    to += 1;
  }
  return out.subarray(0, to);
}
