import type { Codec } from '#core/codec.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { ChangeRecord, LogRecord } from '#core/record.ts';
import type { TableSchema } from '#core/schema.ts';

/** Key texts are mostly ASCII; three bytes is the most that a UTF-16 code unit takes. */
const BYTES_PER_UNIT_MAX = 3;

/**
 * A change as bytes that a record may hold. One that is too large, or cannot be encoded, stops nothing: its key and the reason
 * are published in its place. `withheld` is true of what goes without its row, for this reason or an earlier one.
 */
export function encodeChange(
  { codec, recordBytesMax }: { readonly codec: Codec; readonly recordBytesMax: number },
  record: LogRecord & ChangeRecord,
  schema: TableSchema,
): { readonly value: Uint8Array; readonly withheld: boolean } {
  const { key } = record;
  const whole = valueOf(codec, record, schema);
  if (whole !== null && !tooLarge(key, whole, recordBytesMax)) return { value: whole, withheld: record.withheld !== null };
  const size = whole === null ? 0 : whole.length + Buffer.byteLength(key);
  const withheld =
    whole === null
      ? withheldText('value_unreadable', 'the row could not be encoded')
      : withheldText('record_too_large', `the record would take ${size} bytes of at most ${recordBytesMax}`);
  const value = codec.encode({ ...record, row: null, withheld }, schema);
  if (tooLarge(key, value, recordBytesMax)) {
    throw new CausewayError('record_too_large', `a key of ${schema.table} alone is larger than a record may be`);
  }
  return { value, withheld: true };
}

/** Begins with the error's code, so that whoever parks the key need not guess. Never holds a value. */
export function withheldText(code: ErrorCode, words: string): string {
  return `${code}: ${words}`;
}

/** Null for a row that cannot be encoded. */
function valueOf(codec: Codec, record: LogRecord & ChangeRecord, schema: TableSchema): Uint8Array | null {
  try {
    return codec.encode(record, schema);
  } catch (error) {
    // A change without values has nothing that could be left out: the fault is ours.
    if (record.row === null) throw error;
    return null;
  }
}

function tooLarge(key: string, value: Uint8Array, bytesMax: number): boolean {
  if (value.length + key.length * BYTES_PER_UNIT_MAX <= bytesMax) return false;
  return value.length + Buffer.byteLength(key) > bytesMax;
}
