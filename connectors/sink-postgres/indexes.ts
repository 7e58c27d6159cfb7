import { createHash } from 'node:crypto';

import { tableIdParts, type DescribedTable, type TableId } from '#core/schema.ts';

import { fromCompanions, type SourceIndex } from '../lib/postgres/companions.ts';
import { withoutTopLevel } from '../lib/postgres/definition-text.ts';
import { quoteIdentifier, quoteTable } from '../lib/postgres/quote.ts';
import { readTarget } from './catalogue.ts';
import { NAME_BYTES_MAX } from './names.ts';
import type { Session } from './session.ts';

/** An index of the source that the replicated table lacks. */
export type MissingIndex = { readonly index: SourceIndex; readonly name: string };

/** Tables that share a schema at the sink need not share one at the source, where indexes have their names. */
export function otherIndexName(name: string, target: TableId): string {
  const hash = createHash('sha256').update(`${target} ${name}`).digest('hex').slice(0, 8);
  let readable = '';
  for (const char of name) {
    if (Buffer.byteLength(readable + char) > NAME_BYTES_MAX - hash.length - 1) break;
    readable += char;
  }
  return `${readable}_${hash}`;
}

/** A unique index becomes a plain one: rows arrive in another order than they were written in. */
export function plainIndexStatement(target: TableId, name: string, index: SourceIndex): string {
  const definition = withoutTopLevel(index.definition, ' NULLS NOT DISTINCT');
  return `CREATE INDEX IF NOT EXISTS ${quoteIdentifier(name)} ON ${quoteTable(target)} ${definition}`;
}

/** Of a table that is not there yet. */
export function allIndexStatements(table: DescribedTable, target: TableId): string[] {
  return (fromCompanions(table.companions)?.indexes ?? []).map((index) => plainIndexStatement(target, index.name, index));
}

/** The name is that of the source, or another one where something else of the schema has it already. */
export async function missingIndexes(session: Session, table: DescribedTable, target: TableId): Promise<MissingIndex[]> {
  const indexes = fromCompanions(table.companions)?.indexes ?? [];
  if (indexes.length === 0) return [];
  const { schema, name: tableName } = tableIdParts(target);
  const others = new Map(indexes.map(({ name }) => [otherIndexName(name, target), name]));
  const names = [...indexes.map(({ name }) => name), ...others.keys()];
  const rows = await session.texts(
    `SELECT c.relname::text, (t.relname = $2)::text FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
WHERE n.nspname = $1 AND c.relname IN (SELECT pg_catalog.json_array_elements_text($3::pg_catalog.json))`,
    [schema, tableName, JSON.stringify(names)],
  );
  const ofTable = new Set<string>();
  const taken = new Set<string>();
  for (const [name = null, isOurs] of rows) if (name !== null) (isOurs === 'true' ? ofTable : taken).add(name);
  return indexes.flatMap((index) => {
    const other = otherIndexName(index.name, target);
    if (ofTable.has(index.name) || ofTable.has(other)) return [];
    return [{ index, name: taken.has(index.name) ? other : index.name }];
  });
}

/**
 * Makes the source's indexes on a table that holds no row yet. On one that does it could take longer than a connection lives, and
 * would hold writers up: there, and for an index that cannot be made, `check` prints the statement.
 */
export async function makeIndexes(
  session: Session,
  input: {
    readonly table: DescribedTable;
    readonly target: TableId;
    /** Tries a statement; what the server refuses changes nothing. */
    readonly tryStatement: (session: Session, statement: string) => Promise<void>;
  },
): Promise<void> {
  const { table, target, tryStatement } = input;
  const missing = await missingIndexes(session, table, target);
  if (missing.length === 0 || (await readTarget(session, target)) === null) return;
  if ((await session.texts(`SELECT 1::text FROM ${quoteTable(target)} LIMIT 1`)).length > 0) return;
  for (const { index, name } of missing) await tryStatement(session, plainIndexStatement(target, name, index));
}
