import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { keyColumnText, parseRowKey, rowKeyOf, type RowKey } from '#core/key.ts';
import type { Column, TableId, TableSchema } from '#core/schema.ts';
import { parseSequence, type Sequence } from '#core/sequence.ts';
import type { Row } from '#core/value.ts';
import type { SinkConfig } from './config.ts';
import { columnType, type ColumnType, type Dialect } from './dialect.ts';
import { decoded, encoded, readBack } from './encode.ts';
import { ValueRefused } from './errors.ts';
import { IDENTIFIER, SEQUENCE_COLUMN, DELETED_COLUMN, tableNameOf, versionNameOf, type Place } from './names.ts';
import type { ReadRow } from './transaction.ts';
import { NULL, sizeOf, textOf, textWire, type Received, type Wire } from './wire.ts';

/** "Keys: 8 KiB" (https://cloud.google.com/spanner/quotas). */
const KEY_BYTES_MAX = 8 * 1024;
/** Written to a column with `allow_commit_timestamp`, it becomes the time of the commit. */
const COMMIT_TIMESTAMP = textWire('spanner.commit_timestamp()');

/** Of the version table, behind the key. */
export const VERSION_COLUMNS = [SEQUENCE_COLUMN, DELETED_COLUMN] as const;

export type ColumnShape = {
  readonly column: Column;
  /** In the schema's columns. */
  readonly index: number;
  readonly type: ColumnType;
  readonly isKey: boolean;
};

/** How rows of a source table stand in a table of Spanner, with their register in its version table. */
export type Shape = {
  readonly schema: TableSchema;
  readonly dialect: Dialect;
  readonly table: string;
  readonly versionTable: string;
  readonly columns: readonly ColumnShape[];
  /** In the key's order. */
  readonly key: readonly ColumnShape[];
  readonly commitTimestampColumn: string | null;
};

export type ShapeInput = Place & { readonly config: SinkConfig; readonly dialect: Dialect; readonly target: TableId };

/** Errors: `sink_misconfigured` where no table can hold the rows. */
export function shapeOf(schema: TableSchema, { config, dialect, target, ...place }: ShapeInput): Shape {
  const seen = new Set(config.commitTimestampColumn === undefined ? [] : [config.commitTimestampColumn.toLowerCase()]);
  const columns = schema.columns.map((column, index): ColumnShape => {
    const name = column.name.toLowerCase();
    const isTaken = seen.has(name) || VERSION_COLUMNS.some((own) => own === name);
    if (isTaken || !IDENTIFIER.test(column.name)) {
      throw new CausewayError(
        'sink_misconfigured',
        `the column ${JSON.stringify(column.name)} of ${schema.table} ` +
          (isTaken ? 'has the name of another one there, where case counts for nothing' : 'has a name that Spanner does not take') +
          ': leave it out by a column list of the publication, or rename it',
      );
    }
    seen.add(name);
    const isKey = schema.key.includes(index);
    return { column, index, isKey, type: columnType(column.type, { ...config, dialect }, isKey) };
  });
  const table = tableNameOf(target, config.tables, place);
  return {
    schema,
    dialect,
    table,
    versionTable: versionNameOf(table),
    columns,
    key: schema.key.map((index) => present(columns[index], 'a column of the key')),
    commitTimestampColumn: config.commitTimestampColumn ?? null,
  };
}

export function columnNames(columns: readonly ColumnShape[]): readonly string[] {
  return columns.map(({ column }) => column.name);
}

/**
 * The key as the columns of both tables hold it: by its key texts, which are one for keys that the source holds equal. Errors:
 * `ValueRefused` for a key that Spanner does not take.
 */
export function keyWires(shape: Shape, rowKey: RowKey): readonly Wire[] {
  return wiresOf(shape, parseRowKey(rowKey).columns);
}

/** Of the key's texts, in the key's order. */
export function wiresOf({ key, dialect }: Shape, texts: readonly string[]): readonly Wire[] {
  const wires = key.map(({ column, type }, place) =>
    inColumn(column, () => encoded(present(texts[place], 'a text of the key'), type, dialect)),
  );
  const bytes = wires.reduce((sum, wire, place) => sum + keyBytes(wire, key[place]?.type), 0);
  if (bytes > KEY_BYTES_MAX) throw new ValueRefused(`a key of more than ${KEY_BYTES_MAX} bytes`);
  return wires;
}

/** As the service counts them. Bytes travel in base64, which is a third longer. */
function keyBytes(wire: Wire, type: ColumnType | undefined): number {
  return 'stringValue' in wire ? Buffer.byteLength(wire.stringValue, type?.code === 'BYTES' ? 'base64' : 'utf8') : sizeOf(wire);
}

/** A whole row, or the columns that a partial one has. Errors: `ValueRefused`. */
export function rowWires(
  shape: Shape,
  change: { readonly key: RowKey; readonly row: Row },
): { readonly columns: readonly string[]; readonly wires: readonly Wire[] } {
  const key = keyWires(shape, change.key);
  const columns: string[] = [];
  const wires: Wire[] = [];
  for (const one of shape.columns) {
    const value = change.row[one.index];
    if (value === undefined && !one.isKey) continue;
    columns.push(one.column.name);
    if (one.isKey) wires.push(present(key[shape.key.indexOf(one)], 'a column of the key'));
    else if (value === null || value === undefined) wires.push(NULL);
    else wires.push(inColumn(one.column, () => encoded(value, one.type, shape.dialect)));
  }
  if (shape.commitTimestampColumn !== null) {
    columns.push(shape.commitTimestampColumn);
    wires.push(COMMIT_TIMESTAMP);
  }
  return { columns, wires };
}

/** What a scan gives back of a row, whose key stands there by its key texts. */
export function readBackOf({ columns, dialect }: Shape): (row: Row) => Row | null {
  return (row) => {
    try {
      return columns.map(({ column, type, index, isKey }) => {
        const value = row[index];
        if (value === null || value === undefined) return null;
        const text = isKey ? keyColumnText(column.type, value) : value;
        return readBack(column.type, text, { column: type, dialect });
      });
    } catch (error) {
      if (error instanceof ValueRefused) return null;
      throw error;
    }
  };
}

function inColumn<T>({ name }: Column, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof ValueRefused) throw new ValueRefused(`column ${name}: ${error.message}`);
    throw error;
  }
}

/** A row that was read with all of the shape's columns. */
export function rowIn({ columns }: Shape, found: ReadRow): Row {
  return columns.map(({ column, type }, at) => decoded(column.type, found[at], type));
}

/** The key of a row of either table that was read with the key's columns first. */
export function rowKeyIn({ schema, key }: Shape, found: ReadRow): RowKey {
  const texts = key.map(({ column, type }, at) => keyColumnText(column.type, decoded(column.type, found[at], type) ?? ''));
  return JSON.stringify([schema.table, ...texts]) as RowKey;
}

/** Of a whole row. */
export function keyOfRow({ schema }: Shape, row: Row): RowKey {
  return present(rowKeyOf(schema, row), 'a stored row has a key');
}

/** Errors: `sink_misconfigured` for what is no sequence. */
export function sequenceIn(value: Received | undefined): Sequence {
  const sequence = parseSequence(Buffer.from(textOf(value) ?? '', 'base64').toString('hex'));
  if (sequence === null) throw new CausewayError('sink_misconfigured', 'a stored sequence is damaged: it has not 24 bytes');
  return sequence;
}

/** Values that were read, to be sent again: as a key, or as a bound of the next page. */
export function sentAgain(values: readonly Received[]): readonly Wire[] {
  return values as readonly Wire[];
}
