import { CausewayError } from '#core/errors.ts';
import type { Column } from '#core/schema.ts';
import type { Catalogue, FoundTable } from './catalogue.ts';
import { columnType, holdsType, lengthMaxOf, typeText, type ColumnType, type Dialect, type Encoding } from './dialect.ts';
import { encoded } from './encode.ts';
import { ValueRefused } from './errors.ts';
import { DELETED_COLUMN, quoted, SEQUENCE_COLUMN } from './names.ts';
import { ownTables } from './own-rows.ts';
import { columnNames, type Shape } from './shape.ts';

/** A table as it has to be. */
export type WantedTable = {
  readonly name: string;
  readonly columns: readonly WantedColumn[];
  readonly key: readonly string[];
};

type WantedColumn = {
  readonly name: string;
  readonly type: ColumnType;
  readonly nullable: boolean;
  /** Of its values, where the source limits it. */
  readonly lengthMax?: number | null;
  readonly isStamp?: boolean;
};

export function wantedOwnTables(): readonly WantedTable[] {
  return ownTables;
}

/** The replicated table and its version table. */
export function wantedTables(shape: Shape): readonly WantedTable[] {
  const key = columnNames(shape.key);
  const columns = shape.columns.map(({ column, type, isKey }): WantedColumn => ({
    name: column.name,
    type,
    nullable: !isKey && column.nullable,
    lengthMax: lengthMaxOf(column, type),
  }));
  const stamp: WantedColumn[] =
    shape.commitTimestampColumn === null
      ? []
      : [{ name: shape.commitTimestampColumn, type: { code: 'TIMESTAMP', isArray: false }, nullable: true, isStamp: true }];
  const version: WantedColumn[] = [
    ...shape.key.map(({ column, type }): WantedColumn => ({
      name: column.name,
      type,
      nullable: false,
      lengthMax: lengthMaxOf(column, type),
    })),
    { name: SEQUENCE_COLUMN, type: { code: 'BYTES', isArray: false }, nullable: false },
    { name: DELETED_COLUMN, type: { code: 'BOOL', isArray: false }, nullable: false },
  ];
  return [
    { name: shape.table, columns: [...columns, ...stamp], key },
    { name: shape.versionTable, columns: version, key },
  ];
}

/** No interleaving, no foreign key, no other constraint: rows come in another order than they were written in. */
export function createStatement({ name, columns, key }: WantedTable, dialect: Dialect): string {
  const list = columns.map((column) => columnText(column, dialect));
  const primary = `PRIMARY KEY (${key.map((part) => quoted(part, dialect)).join(', ')})`;
  const table = `CREATE TABLE IF NOT EXISTS ${quoted(name, dialect)}`;
  return dialect === 'POSTGRESQL' ? `${table} (${[...list, primary].join(', ')})` : `${table} (${list.join(', ')}) ${primary}`;
}

function columnText({ name, type, nullable, isStamp = false }: WantedColumn, dialect: Dialect): string {
  const own = isStamp && dialect === 'POSTGRESQL' ? 'spanner.commit_timestamp' : typeText(type, dialect);
  const options = isStamp && dialect === 'GOOGLE_STANDARD_SQL' ? ' OPTIONS (allow_commit_timestamp = true)' : '';
  return `${quoted(name, dialect)} ${own}${nullable ? '' : ' NOT NULL'}${options}`;
}

/** For the columns that are not there yet. Errors: `schema_blocked` for a default that no statement gives. */
export function addStatements(shape: Shape, added: readonly Column[], catalogue: Catalogue, encoding: Encoding): readonly string[] {
  const found = catalogue.get(shape.table.toLowerCase());
  if (found === undefined) throw new CausewayError('sink_misconfigured', `the sink has no table ${shape.table}`);
  const there = new Set(found.columns.map(({ name }) => name.toLowerCase()));
  return added
    .filter(({ name }) => !there.has(name.toLowerCase()))
    .map((column) => {
      const { dialect } = shape;
      const type = columnType(column.type, encoding, false);
      const text = columnText({ name: column.name, type, nullable: column.nullable }, dialect);
      const add = `ALTER TABLE ${quoted(shape.table, dialect)} ADD COLUMN IF NOT EXISTS ${text}`;
      if (column.constantDefault === null) return add;
      const literal = literalOf(column.constantDefault, type, dialect);
      if (literal !== null) return `${add} DEFAULT ${dialect === 'POSTGRESQL' ? literal : `(${literal})`}`;
      throw new CausewayError(
        'schema_blocked',
        `the column ${column.name} of ${shape.schema.table} has a default that the sink cannot give to the rows that are there: ` +
          'copy the rows as docs/resync.md tells, or take the default away at the source',
      );
    });
}

/** Null for a type of which a default is not written here. */
function literalOf(text: string, type: ColumnType, dialect: Dialect): string | null {
  try {
    encoded(text, type, dialect);
  } catch (error) {
    if (error instanceof ValueRefused) return null;
    throw error;
  }
  const escaped =
    dialect === 'POSTGRESQL'
      ? `'${text.replaceAll("'", "''")}'`
      : `'${text
          .replaceAll('\\', String.raw`\\`)
          .replaceAll("'", String.raw`\'`)
          .replaceAll('\n', String.raw`\n`)
          .replaceAll('\r', String.raw`\r`)}'`;
  if (type.isArray || type.code === 'JSON' || type.code === 'BYTES') return null;
  if (type.code === 'BOOL' || type.code === 'INT64') return text;
  if (type.code === 'STRING') return escaped;
  return dialect === 'POSTGRESQL' ? `${escaped}::${typeText(type, dialect)}` : `CAST(${escaped} AS ${typeText(type, dialect)})`;
}

/** What keeps rows from being written to the table, or could; empty where nothing does. */
export function differencesOf(wanted: WantedTable, catalogue: Catalogue, dialect: Dialect): readonly string[] {
  const found = catalogue.get(wanted.name.toLowerCase());
  if (found === undefined) return [`the table ${wanted.name} is missing`];
  return [...columnDifferences(wanted, found, dialect), ...hazards(found)];
}

function columnDifferences(wanted: WantedTable, found: FoundTable, dialect: Dialect): readonly string[] {
  const of = `of the table ${wanted.name}`;
  const differences: string[] = [];
  const columns = new Map(found.columns.map((column) => [column.name.toLowerCase(), column]));
  for (const { name, type, nullable, lengthMax = null, isStamp = false } of wanted.columns) {
    const column = columns.get(name.toLowerCase());
    columns.delete(name.toLowerCase());
    if (column === undefined) differences.push(`the column ${name} ${of} is missing`);
    else if (column.isGenerated) differences.push(`the column ${name} ${of} is generated, and takes no value`);
    else if (isStamp ? !column.takesCommitTimestamp : !holdsType(column.type, type, lengthMax, dialect))
      differences.push(
        `the column ${name} ${of} is ${column.type}, and not ${isStamp ? 'one that takes the time of the commit' : typeText(type, dialect)}`,
      );
    else if (nullable && !column.nullable) differences.push(`the column ${name} ${of} is NOT NULL, and the source's is not`);
  }
  for (const { name, nullable, hasDefault, isGenerated } of columns.values()) {
    if (!nullable && !hasDefault && !isGenerated)
      differences.push(`the column ${name} ${of} is NOT NULL without a default, and the source has no such column`);
  }
  const keys = [wanted.key, found.key].map((key) => key.join(', '));
  if (keys[0]?.toLowerCase() !== keys[1]?.toLowerCase())
    differences.push(`the key ${of} is (${keys[1] ?? ''}), and not (${keys[0] ?? ''})`);
  // Pages of a scan, and the order of tombstones among rows, are by rising keys.
  for (const name of found.descending) differences.push(`the column ${name} ${of} is DESC in its key, and has to rise`);
  return differences;
}

/** Rows come in another order than they were written in, a replaced row is deleted for a moment, and a row that goes by itself comes back. */
function hazards({ name, parent, children, foreignKeys, uniqueIndexes, checks, rowDeletionPolicy }: FoundTable): readonly string[] {
  return [
    ...(parent === null ? [] : [`the table ${name} is interleaved in ${parent}`]),
    ...children.map((child) => `the table ${child} is interleaved in ${name}`),
    ...foreignKeys.map((key) => `the foreign key ${key} holds the table ${name}`),
    ...uniqueIndexes.map((index) => `the index ${index} of the table ${name} is unique`),
    ...checks.map((check) => `the check constraint ${check} of the table ${name} can refuse a row`),
    ...(rowDeletionPolicy === null ? [] : [`the row deletion policy of the table ${name} deletes rows that their versions tell of`]),
  ];
}
