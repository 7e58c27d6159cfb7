import type { Dialect } from './dialect.ts';
import type { Reader, ReadRow } from './transaction.ts';
import { textOf } from './wire.ts';

export type FoundColumn = {
  readonly name: string;
  /** As DDL spells it. */
  readonly type: string;
  readonly nullable: boolean;
  readonly isGenerated: boolean;
  readonly hasDefault: boolean;
  readonly takesCommitTimestamp: boolean;
};

/** A table as it is now. */
export type FoundTable = {
  readonly name: string;
  readonly columns: readonly FoundColumn[];
  /** Names of the columns, in the key's order. */
  readonly key: readonly string[];
  /** Those of them that fall. */
  readonly descending: readonly string[];
  readonly parent: string | null;
  /** Tables that are interleaved in it. */
  readonly children: readonly string[];
  readonly uniqueIndexes: readonly string[];
  /** Its own, and those of other tables that refer to it. */
  readonly foreignKeys: readonly string[];
  /** Other than NOT NULL. */
  readonly checks: readonly string[];
  readonly rowDeletionPolicy: string | null;
};

/** By their names in lower case: two that differ in case alone are one. */
export type Catalogue = ReadonlyMap<string, FoundTable>;

const NOT_NULL_CHECK = 'CK_IS_NOT_NULL_';

export async function readDialect(reader: Reader): Promise<Dialect> {
  const [row] = await reader.query({
    sql: "SELECT option_value FROM information_schema.database_options WHERE option_name = 'database_dialect'",
  });
  return textOf(row?.[0]) === 'POSTGRESQL' ? 'POSTGRESQL' : 'GOOGLE_STANDARD_SQL';
}

/** Names of the tables, by the same in lower case. */
export async function readNames(reader: Reader, dialect: Dialect): Promise<ReadonlyMap<string, string>> {
  const rows = await reader.query({
    sql: `SELECT table_name FROM information_schema.tables WHERE table_schema = '${schemaOf(dialect)}' AND table_type = 'BASE TABLE'`,
  });
  return new Map(rows.map((row) => textOf(row[0]) ?? '').map((name) => [name.toLowerCase(), name]));
}

function schemaOf(dialect: Dialect): string {
  return dialect === 'POSTGRESQL' ? 'public' : '';
}

/** Every table of the default schema. The columns of the information schema are named alike in both dialects. */
export async function readCatalogue(reader: Reader, dialect: Dialect): Promise<Catalogue> {
  const schema = schemaOf(dialect);
  const select = async (columns: string, from: string, order = ''): Promise<readonly (readonly (string | null)[])[]> =>
    (await reader.query({ sql: `SELECT ${columns} FROM information_schema.${from} ${order}` })).map((row) => texts(row));
  const tables = await select(
    'table_name, parent_table_name, row_deletion_policy_expression',
    `tables WHERE table_schema = '${schema}' AND table_type = 'BASE TABLE'`,
  );
  const columns = await select(
    'table_name, column_name, spanner_type, is_nullable, is_generated, column_default',
    `columns WHERE table_schema = '${schema}'`,
    'ORDER BY table_name, ordinal_position',
  );
  const stamped = await select(
    'table_name, column_name',
    `column_options WHERE table_schema = '${schema}' AND option_name = 'allow_commit_timestamp' AND option_value = 'TRUE'`,
  );
  const keys = await select(
    'table_name, column_name, column_ordering',
    `index_columns WHERE table_schema = '${schema}' AND index_type = 'PRIMARY_KEY'`,
    'ORDER BY table_name, ordinal_position',
  );
  const unique = await select(
    'table_name, index_name',
    `indexes WHERE table_schema = '${schema}' AND index_type <> 'PRIMARY_KEY' AND ${dialect === 'POSTGRESQL' ? "is_unique = 'YES'" : 'is_unique'}`,
  );
  const constraints = await select('table_name, constraint_name, constraint_type', `table_constraints WHERE table_schema = '${schema}'`);
  const referred = await select(
    'u.table_name, u.constraint_name',
    `constraint_table_usage AS u JOIN information_schema.referential_constraints AS r ON r.constraint_name = u.constraint_name WHERE u.table_schema = '${schema}'`,
  );
  const stampedNames = new Set(stamped.map((row) => row.join('.')));
  const of = (rows: readonly (readonly (string | null)[])[], name: string | null) => rows.filter((row) => row[0] === name);
  const second = (rows: readonly (readonly (string | null)[])[]): readonly string[] => [...new Set(rows.map((row) => row[1] ?? ''))];
  const found = tables.map(([name = null, parent = null, policy = null]): FoundTable => {
    const own = of(constraints, name);
    return {
      name: name ?? '',
      columns: of(columns, name).map((row) => foundColumn(row, stampedNames)),
      key: second(of(keys, name)),
      descending: second(of(keys, name).filter((row) => row[2]?.startsWith('DESC') === true)),
      parent: parent === '' ? null : parent,
      children: tables.filter((row) => row[1] === name && name !== null).map((row) => row[0] ?? ''),
      uniqueIndexes: second(of(unique, name)),
      foreignKeys: second([...own.filter((row) => row[2] === 'FOREIGN KEY'), ...of(referred, name)]),
      checks: second(own.filter((row) => row[2] === 'CHECK' && row[1]?.startsWith(NOT_NULL_CHECK) !== true)),
      rowDeletionPolicy: policy === '' ? null : policy,
    };
  });
  return new Map(found.map((table) => [table.name.toLowerCase(), table]));
}

function foundColumn(row: readonly (string | null)[], stamped: ReadonlySet<string>): FoundColumn {
  const [table, name, type, nullable, generated, fallback] = row;
  return {
    name: name ?? '',
    type: type ?? '',
    nullable: nullable === 'YES',
    isGenerated: generated === 'ALWAYS',
    hasDefault: fallback !== null && fallback !== undefined,
    // The PostgreSQL dialect has a type for it.
    takesCommitTimestamp: stamped.has(`${table ?? ''}.${name ?? ''}`) || type === 'spanner.commit_timestamp',
  };
}

function texts(row: ReadRow): readonly (string | null)[] {
  return row.map((value) => textOf(value));
}
