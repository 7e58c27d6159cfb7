import { CausewayError } from '#core/errors.ts';
import type { TextForm } from './text.ts';

/**
 * Reads one frame of the stream from front to back. All numbers are big-endian. Each read is checked against the frame's end;
 * what does not fit is `source_stream_invalid`, with the message's name and never with its content.
 */
export type Cursor = {
  frame: Buffer;
  at: number;
  /** The message's name, for errors. */
  message: string;
  readonly text: TextForm;
};

export function invalid(cursor: Cursor, what: string): CausewayError {
  return new CausewayError('source_stream_invalid', `the source sent a ${cursor.message} message that ${what}`);
}

function advance(cursor: Cursor, bytes: number): number {
  const start = cursor.at;
  if (bytes > cursor.frame.length - start) throw invalid(cursor, 'ends too early');
  cursor.at = start + bytes;
  return start;
}

export function readUint8(cursor: Cursor): number {
  return cursor.frame.readUInt8(advance(cursor, 1));
}

export function readUint16(cursor: Cursor): number {
  return cursor.frame.readUInt16BE(advance(cursor, 2));
}

export function readUint32(cursor: Cursor): number {
  return cursor.frame.readUInt32BE(advance(cursor, 4));
}

export function readInt32(cursor: Cursor): number {
  return cursor.frame.readInt32BE(advance(cursor, 4));
}

export function readUint64(cursor: Cursor): bigint {
  return cursor.frame.readBigUInt64BE(advance(cursor, 8));
}

export function readInt64(cursor: Cursor): bigint {
  return cursor.frame.readBigInt64BE(advance(cursor, 8));
}

export function readBytes(cursor: Cursor, length: number): Buffer {
  const start = advance(cursor, length);
  return cursor.frame.subarray(start, start + length);
}

/** A text that ends with a zero byte. Names only: their bytes are not checked. */
export function readCString(cursor: Cursor): string {
  const end = cursor.frame.indexOf(0, cursor.at);
  if (end === -1) throw invalid(cursor, 'ends within a name');
  const text = cursor.text.name(cursor.frame, cursor.at, end);
  cursor.at = end + 1;
  return text;
}

export function expectEnd(cursor: Cursor): void {
  if (cursor.at !== cursor.frame.length) throw invalid(cursor, `has ${cursor.frame.length - cursor.at} bytes too many`);
}
