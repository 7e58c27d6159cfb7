import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { parseRowKey, type RowKey } from '#core/key.ts';
import type { Column, TableId, TableSchema } from '#core/schema.ts';
import { parseSequence, type Sequence } from '#core/sequence.ts';
import type { Row } from '#core/value.ts';
import type { Item } from '../lib/dynamodb/send.ts';
import { plainNumber } from '../lib/number/decimal-text.ts';
import { nameBy, type NamedTable } from '../lib/sink/table-name.ts';
import type { SinkConfig } from './config.ts';
import { decoded, encoded, ValueRefused } from './encode.ts';

/** The change's sequence, 24 bytes: compared by the service as unsigned bytes. */
export const SEQUENCE = 'cw_seq';
/** True on a tombstone, which has no attribute but this, its key and its sequence, so that it stands in no sparse index. */
export const DELETED = 'cw_deleted';
/** The exact texts of values that their attributes do not give back: `1.00` of a `numeric`, say. By column. */
const TEXTS = 'cw_text';
const OWN_PREFIX = 'cw_';
const PARTITION_KEY = 'cw_pk';
const SORT_KEY = 'cw_sk';

/** https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html */
const PARTITION_KEY_BYTES_MAX = 2_048;
const SORT_KEY_BYTES_MAX = 1_024;
const TABLE_NAME = /^[a-zA-Z0-9_.-]{3,255}$/;

/** One of the two attributes of a table's key. */
export type KeyAttribute = {
  readonly name: string;
  readonly type: 'S' | 'N' | 'B';
  readonly role: 'partition' | 'sort';
  /** Places in the row key's texts. */
  readonly texts: readonly number[];
  /** Of one column, whose attribute it is; otherwise a JSON array of texts. */
  readonly isColumn: boolean;
};

/** How rows of a source table are items of a table of DynamoDB. */
export type Shape = {
  readonly schema: TableSchema;
  readonly tableName: string;
  readonly key: readonly KeyAttribute[];
  readonly config: SinkConfig;
  /** Attributes that key an index of the table: one that is null is left out, and its item stands in no such index. */
  readonly indexKeys: ReadonlySet<string>;
};

/** Errors: `sink_misconfigured` where no table can hold the rows. */
export function shapeOf(
  schema: TableSchema,
  of: { readonly config: SinkConfig; readonly pipeline: string; readonly sink: string; readonly target: TableId },
): Shape {
  const reserved = schema.columns.find(({ name }) => name.startsWith(OWN_PREFIX) || name === '__proto__');
  if (reserved !== undefined) {
    throw new CausewayError(
      'sink_misconfigured',
      `the column ${reserved.name} of ${schema.table} has a name that the sink cannot give to an attribute: __proto__, and what begins with ${OWN_PREFIX}`,
    );
  }
  return { schema, tableName: tableNameOf(of), key: keyAttributes(schema, of.config), config: of.config, indexKeys: new Set() };
}

function tableNameOf(of: NamedTable & { readonly config: SinkConfig }): string {
  const tableName = nameBy(of.config.tables, of);
  if (TABLE_NAME.test(tableName)) return tableName;
  throw new CausewayError(
    'sink_misconfigured',
    `${of.target} would be the table ${JSON.stringify(tableName)}, which is no name there (3 to 255 letters, digits, dots, underscores and ` +
      `dashes): give the table another \`target\`, or set \`tables\` of the sink ${of.sink}`,
  );
}

function keyAttributes(schema: TableSchema, config: SinkConfig): readonly KeyAttribute[] {
  const columns = schema.key.map((index) => present(schema.columns[index], 'a column of the key'));
  const names = columns.map(({ name }) => name);
  const wanted = config.keys[schema.table] ?? { partition: names.slice(0, 1), sort: names.slice(1) };
  const sort = wanted.sort ?? [];
  const all = [...wanted.partition, ...sort];
  if (all.toSorted().join('\n') !== names.toSorted().join('\n')) {
    throw new CausewayError(
      'sink_misconfigured',
      `\`keys\` of ${schema.table} names ${all.join(', ')}, and its primary key has the columns ${names.join(', ')}: each of them once`,
    );
  }
  const attribute = (role: KeyAttribute['role'], own: readonly string[]): KeyAttribute => {
    const texts = own.map((name) => names.indexOf(name));
    const only = own.length === 1 ? columns[texts[0] ?? -1] : undefined;
    const type = only === undefined ? null : nativeKeyType(only);
    if (only === undefined || type === null) {
      return { role, texts, name: role === 'partition' ? PARTITION_KEY : SORT_KEY, type: 'S', isColumn: false };
    }
    return { role, texts, name: only.name, type, isColumn: true };
  };
  return [attribute('partition', wanted.partition), ...(sort.length > 0 ? [attribute('sort', sort)] : [])];
}

/** Of Postgres, without a length: values that differ in the blanks at their end are equal. */
const BLANKS_IGNORED = 'bpchar';

/** Null for a type of which equal values can have several texts, or whose attribute cannot be a key. */
function nativeKeyType({ type, sourceType }: Column): 'S' | 'N' | 'B' | null {
  switch (type.tag) {
    case 'int':
      return 'N';
    case 'bytes':
      return 'B';
    // The blanks of a char(n) stand in the key's text as in the value, and by its length equal values have equally many of them.
    case 'text':
      return sourceType === BLANKS_IGNORED ? null : 'S';
    case 'uuid':
    case 'enum':
    case 'date':
    case 'time':
    case 'timestamp':
    case 'timestamptz':
      return 'S';
    default:
      return null;
  }
}

/** Errors: `ValueRefused` for a key that the service does not take. */
export function keyItem({ key }: Shape, rowKey: RowKey): Item {
  const { columns: texts } = parseRowKey(rowKey);
  return Object.fromEntries(key.map((attribute) => [attribute.name, keyValue(attribute, texts)]));
}

function keyValue({ role, type, texts: places, isColumn }: KeyAttribute, texts: readonly string[]): AttributeValue {
  const own = places.map((place) => present(texts[place], 'a text of the key'));
  const text = isColumn ? present(own[0], 'the text of the key') : JSON.stringify(own);
  if (type === 'N') return { N: text };
  const bytes = Buffer.from(text, type === 'B' ? 'base64' : 'utf8');
  const max = role === 'partition' ? PARTITION_KEY_BYTES_MAX : SORT_KEY_BYTES_MAX;
  if (bytes.length === 0) throw new ValueRefused(`an empty ${role} key`);
  if (bytes.length > max) throw new ValueRefused(`a ${role} key of more than ${max} bytes`);
  return type === 'B' ? { B: bytes } : { S: text };
}

/** One text for each key, however the service spells it. */
export function keyText({ key }: Pick<Shape, 'key'>, item: Item): string {
  return key
    .map(({ name }) => {
      const { S, N, B } = item[name] ?? {};
      return S ?? (N === undefined ? Buffer.from(B ?? []).toString('base64') : (plainNumber(N) ?? N));
    })
    .join('\u0000');
}

/** Errors: `ValueRefused`. */
export function rowItem(shape: Shape, change: { readonly key: RowKey; readonly sequence: Sequence; readonly row: Row }): Item {
  const { schema, config, indexKeys } = shape;
  const item: Item = {};
  const texts: Item = {};
  for (const [index, column] of schema.columns.entries()) {
    const value = change.row[index];
    if (value === undefined || value === null) {
      if (!indexKeys.has(column.name)) item[column.name] = { NULL: true };
      continue;
    }
    const { attribute, exact } = inColumn(column, () => encoded(column.type, value, config));
    item[column.name] = attribute;
    // A json value of null is not a null.
    if (!exact || attribute.NULL === true) texts[column.name] = { S: value };
  }
  if (Object.keys(texts).length > 0) item[TEXTS] = { M: texts };
  return Object.assign(item, keyItem(shape, change.key), { [SEQUENCE]: sequenceValue(change.sequence) });
}

export function tombstoneItem(shape: Shape, change: { readonly key: RowKey; readonly sequence: Sequence }): Item {
  return { ...keyItem(shape, change.key), [SEQUENCE]: sequenceValue(change.sequence), [DELETED]: { BOOL: true } };
}

function inColumn<T>({ name }: Column, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof ValueRefused) throw new ValueRefused(`column ${name}: ${error.message}`);
    throw error;
  }
}

export function sequenceValue(sequence: Sequence): AttributeValue {
  return { B: Buffer.from(sequence, 'hex') };
}

/** Null where the item is not ours: something else wrote it. */
export function sequenceOf(item: Item): Sequence | null {
  const bytes = item[SEQUENCE]?.B;
  return bytes === undefined ? null : parseSequence(Buffer.from(bytes).toString('hex'));
}

export function isTombstone(item: Item): boolean {
  return item[DELETED]?.BOOL === true;
}

/** The key of an item; null where one of its attributes is not as this sink writes it. */
export function rowKeyIn({ schema, key }: Shape, item: Item): RowKey | null {
  const texts: string[] = [];
  for (const { name, type, texts: places, isColumn } of key) {
    const value = item[name];
    const text = type === 'B' ? value?.B && Buffer.from(value.B).toString('base64') : type === 'N' ? numberIn(value?.N) : value?.S;
    if (text === undefined) return null;
    const own = isColumn ? [text] : textsIn(text);
    if (own?.length !== places.length) return null;
    for (const [at, place] of places.entries()) texts[place] = own[at] ?? '';
  }
  return JSON.stringify([schema.table, ...texts]) as RowKey;
}

function numberIn(number: string | undefined): string | undefined {
  return number === undefined ? undefined : (plainNumber(number) ?? number);
}

/** Null for what is no array of texts. */
function textsIn(json: string): readonly string[] | null {
  try {
    const parsed = JSON.parse(json) as unknown;
    return Array.isArray(parsed) && parsed.every((one) => typeof one === 'string') ? parsed : null;
  } catch {
    return null;
  }
}

/**
 * The row of a live item. A column that the item lacks was added after it was written. Errors: `sink_misconfigured` for an attribute that
 * is not as the settings make it.
 */
export function rowIn({ schema, config, tableName }: Shape, item: Item): Row {
  return schema.columns.map(({ name, type }) => {
    const exact = item[TEXTS]?.M?.[name]?.S;
    if (exact !== undefined) return exact;
    const attribute = item[name];
    if (attribute === undefined || attribute.NULL === true) return null;
    const text = decoded(type, attribute, config);
    if (text !== null) return text;
    throw new CausewayError(
      'sink_misconfigured',
      `the table ${tableName} holds the column ${name} in another form than \`numbers\`, \`json\` and \`arrays\` say now: set them as they were, or ` +
        'start the sink anew with other tables',
    );
  });
}
