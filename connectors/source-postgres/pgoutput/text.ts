import { isUtf8 } from 'node:buffer';

/** How the texts of a stream are read. The server converts none of them: see encoding.ts. */
export type TextForm = {
  /** Null where the bytes are no text of the database's encoding, or too many. */
  readonly value: (frame: Buffer, start: number, end: number) => string | null;
  /** With U+FFFD for what is no text: a name that holds one is no name that the catalogue could have told us. */
  readonly name: (frame: Buffer, start: number, end: number) => string;
};

/** The UTF-8 form of each byte as one UTF-16 unit; 0 where it has none. */
export type ByteForms = Uint16Array;

export const BYTES = 256;

/** No record of a log may be larger, and from twice as much on there is no string in this language that could hold the value. */
const VALUE_BYTES_MAX = 256 * 1024 * 1024;

const REPLACEMENT = 0xfffd;
const UNIT_BYTES = 2;

export const utf8Form: TextForm = {
  value: utf8Between,
  name: (frame, start, end) => frame.toString('utf8', start, end),
};

/** Null where it is not UTF-8: the decoder puts U+FFFD in the place of what is wrong, which can also stand there rightly. */
function utf8Between(frame: Buffer, start: number, end: number): string | null {
  if (end - start > VALUE_BYTES_MAX) return null;
  const text = frame.toString('utf8', start, end);
  return text.includes('\ufffd') && !isUtf8(frame.subarray(start, end)) ? null : text;
}

/** Of an encoding with one byte for each character. */
export function singleByteForm(forms: ByteForms): TextForm {
  const lenient = forms.map((unit) => (unit === 0 ? REPLACEMENT : unit));
  return {
    value: (frame, start, end) => (end - start > VALUE_BYTES_MAX ? null : mapped(forms, frame, start, end)),
    name: (frame, start, end) => mapped(lenient, frame, start, end) ?? '',
  };
}

function mapped(forms: ByteForms, frame: Buffer, start: number, end: number): string | null {
  const units = Buffer.allocUnsafe((end - start) * UNIT_BYTES);
  for (let at = start, to = 0; at < end; at += 1, to += UNIT_BYTES) {
    const unit = forms[frame[at] ?? 0] ?? 0;
    if (unit === 0) return null;
    units[to] = unit & 0xff;
    units[to + 1] = unit >> 8;
  }
  return units.toString('utf16le');
}
