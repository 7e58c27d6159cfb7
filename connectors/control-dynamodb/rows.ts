import type { ControlKey, ControlRow, RowVersion } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import type { Item } from '../lib/dynamodb/send.ts';
import { pack, unpack } from '../lib/control/pack.ts';

/*
 * An item: pk (S, the store's name), sk (S, the row's key), version (S), format (N), and the row as JSON in value (S), or compressed
 * in packed (B).
 */

const FORMAT_VERSION = 1;
/** Of a whole item, names included; the rest of ours is far below the difference to 400 KiB. */
const VALUE_BYTES_MAX = 396 * 1024;

export async function itemOf(row: {
  readonly store: string;
  readonly key: ControlKey;
  readonly text: string;
  readonly version: RowVersion;
}): Promise<Item> {
  const { store, key, text, version } = row;
  const packed = await pack(text);
  const bytes = packed?.byteLength ?? Buffer.byteLength(text);
  if (bytes > VALUE_BYTES_MAX) {
    throw new CausewayError('control_row_too_large', `the row ${key} has ${bytes} bytes, and an item of DynamoDB takes ${VALUE_BYTES_MAX}`);
  }
  return {
    pk: { S: store },
    sk: { S: key },
    version: { S: version },
    format: { N: String(FORMAT_VERSION) },
    ...(packed === null ? { value: { S: text } } : { packed: { B: packed } }),
  };
}

export async function rowOf(item: Item, where: string): Promise<ControlRow> {
  const { sk, version, format, value, packed } = item;
  const key = sk?.S;
  if (key === undefined || version?.S === undefined || format?.N === undefined) {
    throw new CausewayError('control_foreign', `${where} holds an item that is no row of Causeway`);
  }
  if (format.N !== String(FORMAT_VERSION)) {
    const other = Number(format.N) > FORMAT_VERSION ? 'a newer' : 'an older';
    throw new CausewayError(
      'control_foreign',
      `${where} holds rows of format version ${format.N}, of ${other} release; this one knows ${FORMAT_VERSION}`,
    );
  }
  try {
    const text = packed?.B === undefined ? value?.S : await unpack(packed.B);
    return { key: key as ControlKey, value: JSON.parse(text ?? '') as unknown, version: version.S as RowVersion };
  } catch {
    throw new CausewayError('control_damaged', `${where} holds a row that is not JSON: ${key}`);
  }
}
