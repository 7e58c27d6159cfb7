import { CausewayError } from '#core/errors.ts';
import { present } from '#core/assert.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { CanonicalType } from '#core/value.ts';

import { quoteIdentifier, quoteTable } from '../lib/postgres/quote.ts';
import { fromCanonical, toCanonical, type TextConverter } from '../lib/postgres/values.ts';
import { readTarget, type TargetColumn } from './catalogue.ts';
import type { Register } from './config.ts';
import { columnEncoder, type ColumnEncoder } from './encode.ts';
import type { OwnTables } from './names.ts';
import type { Session } from './session.ts';

/** How one column of a schema is written and read at the target. */
export type ColumnShape = {
  /** In the schema's columns. */
  readonly index: number;
  /** Quoted. */
  readonly name: string;
  readonly type: CanonicalType;
  /** Type of the parameter that holds the column of a batch, such as `"pg_catalog"."_int8"`. */
  readonly parameterType: string;
  /** What makes a value of an element of that array, behind its name. */
  readonly cast: string;
  readonly encode: ColumnEncoder;
  /** Makes a value of an expression that is a text as the database prints it. */
  readonly fromText: (expression: string) => string;
  readonly decode: TextConverter;
  readonly toText: TextConverter;
  /** Texts that differ can be equal as a key: the newest spelling is written with the row. */
  readonly respelled: boolean;
  readonly isKey: boolean;
};

/** A table schema with the replicated table as it is now. */
export type Shape = {
  readonly schema: TableSchema;
  readonly target: TableId;
  /** Quoted names. */
  readonly table: string;
  readonly versionTable: string;
  readonly register: Register;
  /** Those that the replicated table has. */
  readonly columns: readonly ColumnShape[];
  /** Columns of the schema, none of the key, that the replicated table lacks: its rows can be looked up and deleted, but not written. */
  readonly missing: readonly string[];
  /** In the key's order. */
  readonly key: readonly ColumnShape[];
};

/** Throws `sink_misconfigured` where the table or a column of its key is missing. */
export async function readShape(
  session: Session,
  input: { readonly schema: TableSchema; readonly target: TableId; readonly register: Register; readonly own: OwnTables },
): Promise<Shape> {
  const { schema, target, register, own } = input;
  const table = await readTarget(session, target);
  if (table === null) throw new CausewayError('sink_misconfigured', `the sink has no table ${target}`);
  const keys = new Set(schema.key);
  const columns = new Map<number, ColumnShape>();
  const missing: string[] = [];
  for (const [index, column] of schema.columns.entries()) {
    const found = table.columns.get(column.name);
    if (found !== undefined) columns.set(index, columnShape({ index, type: column.type, found, isKey: keys.has(index) }));
    else if (keys.has(index)) throw missingColumns(target, [column.name]);
    else missing.push(column.name);
  }
  return {
    schema,
    target,
    table: quoteTable(target),
    versionTable: own.version(target),
    register,
    columns: [...columns.values()],
    missing,
    key: schema.key.map((index) => present(columns.get(index), 'a column of the key')),
  };
}

/** Throws `sink_misconfigured` where the replicated table lacks a column. */
export function checkComplete({ target, missing }: Shape): void {
  if (missing.length > 0) throw missingColumns(target, missing);
}

function missingColumns(target: TableId, names: readonly string[]): CausewayError {
  return new CausewayError(
    'sink_misconfigured',
    `the sink's table ${target} has no column ${names.join(', ')}: add it again (\`causeway check --only sink\` prints the statement)`,
  );
}

function columnShape(input: {
  readonly index: number;
  readonly type: CanonicalType;
  readonly found: TargetColumn;
  readonly isKey: boolean;
}): ColumnShape {
  const { index, type, found, isKey } = input;
  const collate = found.collation === null ? '' : ` COLLATE ${found.collation}`;
  return {
    index,
    name: quoteIdentifier(found.name),
    type,
    parameterType: found.arrayType ?? '"pg_catalog"."_text"',
    cast: (found.arrayType === null ? `::${found.castType}` : '') + collate,
    encode: columnEncoder(type),
    fromText: (expression) => `(${expression}::${found.castType}${collate})`,
    decode: toCanonical(type),
    toText: fromCanonical(type),
    respelled: isKey && (type.tag === 'decimal' || type.tag === 'float' || found.castType === '"pg_catalog"."bpchar"'),
    isKey,
  };
}
