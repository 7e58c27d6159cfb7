import type pg from 'pg';
import { quoteIdentifier } from '../lib/postgres/quote.ts';
import type { RelationRow, TreeRow } from './catalogue-queries.ts';

/** Tables asked in one statement, so that none grows without bound. */
const TABLES_PER_STATEMENT = 100;

/**
 * Rows from before the attachment stand in a table's first pages, as the table was empty then: so many are looked at. Had all of
 * them been deleted since, that would have gone through the stream.
 */
const FIRST_PAGES = 16;

/**
 * Whether a partition may hold rows from before it was one, which the stream has never shown. A table that was made by another
 * transaction than the one that attached it may. Made and attached by one transaction, only rows that this transaction wrote
 * before its attaching command are in question. `unknown` where the role cannot look.
 */
export type Birth = 'as_partition' | 'before' | 'unknown';

export class Births {
  /** What was found, by table and attachment: it never changes. */
  readonly #known = new Map<string, Birth>();

  async of(
    client: pg.ClientBase,
    nodes: readonly TreeRow[],
    relations: ReadonlyMap<string, RelationRow>,
  ): Promise<ReadonlyMap<string, Birth>> {
    const births = new Map<string, Birth>();
    const toAsk: TreeRow[] = [];
    for (const node of nodes) {
      const relation = relations.get(node.oid);
      const known = this.#known.get(keyOf(node));
      if (known !== undefined) births.set(node.oid, known);
      else if (!node.made_with_it) births.set(node.oid, 'before');
      else if (relation?.kind !== 'r') births.set(node.oid, 'as_partition');
      else if (!relation.readable) births.set(node.oid, 'unknown');
      else toAsk.push(node);
    }
    for (let at = 0; at < toAsk.length; at += TABLES_PER_STATEMENT) {
      const chunk = toAsk.slice(at, at + TABLES_PER_STATEMENT);
      const older = await withOlderRows(client, chunk, relations);
      for (const node of chunk) births.set(node.oid, older.has(node.oid) ? 'before' : 'as_partition');
    }
    for (const node of nodes) {
      const birth = births.get(node.oid);
      if (birth !== undefined && birth !== 'unknown') this.#known.set(keyOf(node), birth);
    }
    return births;
  }
}

function keyOf(node: TreeRow): string {
  return `${node.oid}/${node.attached_by}/${node.attached_at}`;
}

async function withOlderRows(
  client: pg.ClientBase,
  nodes: readonly TreeRow[],
  relations: ReadonlyMap<string, RelationRow>,
): Promise<ReadonlySet<string>> {
  const parts = nodes.map((node) => {
    const relation = relations.get(node.oid);
    const name = `${quoteIdentifier(relation?.schema ?? '')}.${quoteIdentifier(relation?.name ?? '')}`;
    return `SELECT '${node.oid}' AS oid WHERE EXISTS (
      SELECT FROM ONLY ${name} AS t WHERE t.ctid < '(${FIRST_PAGES},0)'::pg_catalog.tid
      AND t.xmin = '${node.attached_by}'::pg_catalog.xid AND t.cmin::text::int8 < ${node.attached_at})`;
  });
  const { rows } = await client.query<{ oid: string }>(parts.join('\nUNION ALL\n'));
  return new Set(rows.map((row) => row.oid));
}

/** Which of the tables hold a row. A table that the role cannot read counts as holding some if it has any bytes. */
export async function tablesWithRows(client: pg.ClientBase, relations: readonly RelationRow[]): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  const toAsk: RelationRow[] = [];
  for (const relation of relations) {
    if (relation.kind === 'r' && relation.bytes === '0') continue;
    if (relation.readable) toAsk.push(relation);
    else found.add(relation.oid);
  }
  for (let at = 0; at < toAsk.length; at += TABLES_PER_STATEMENT) {
    const parts = toAsk.slice(at, at + TABLES_PER_STATEMENT).map(({ oid, schema, name, kind }) => {
      // A parent of plain inheritance shows its children's rows otherwise, which are not its own.
      const only = kind === 'p' ? '' : 'ONLY ';
      return `SELECT '${oid}' AS oid WHERE EXISTS (SELECT FROM ${only}${quoteIdentifier(schema)}.${quoteIdentifier(name)})`;
    });
    const { rows } = await client.query<{ oid: string }>(parts.join('\nUNION ALL\n'));
    for (const row of rows) found.add(row.oid);
  }
  return found;
}
