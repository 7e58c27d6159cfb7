// Whether two databases hold the same rows, asked in SQL alone: nothing of Causeway takes part, so that it can judge Causeway.
import type pg from 'pg';

export interface TableDigest {
  readonly table: string;
  readonly rows: number;
  /** Sum of two 64-bit halves of each row's MD5: the order in which rows lie does not matter. */
  readonly digest: string;
}

/** Both sides write values the same way, whatever their defaults are. */
const session = `SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = 1; SET bytea_output = 'hex'`;

export async function digests(client: pg.Client, tables: readonly string[]): Promise<TableDigest[]> {
  await client.query(session);
  // One snapshot for all tables.
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY');
  try {
    const found: TableDigest[] = [];
    for (const table of tables) found.push(await digestOf(client, table));
    return found;
  } finally {
    await client.query('COMMIT');
  }
}

async function digestOf(client: pg.Client, table: string): Promise<TableDigest> {
  const [schema, name] = table.split('.');
  // By name: a copy may hold its columns in another order.
  const columns = await client.query<{ list: string | null }>(
    `SELECT string_agg(quote_ident(column_name), ', ' ORDER BY column_name COLLATE "C") AS list
     FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2`,
    [schema, name],
  );
  const list = columns.rows[0]?.list;
  if (list === null || list === undefined) return { table, rows: 0, digest: 'no such table' };
  const { rows } = await client.query<{ rows: string; digest: string }>(
    `SELECT count(*) AS rows,
            coalesce(sum(('x' || left(hash, 16))::bit(64)::bigint::numeric), 0) || '/' ||
            coalesce(sum(('x' || right(hash, 16))::bit(64)::bigint::numeric), 0) AS digest
     FROM (SELECT md5(ROW(${list})::text) AS hash FROM ${table}) hashes`,
  );
  const [found] = rows;
  return { table, rows: Number(found?.rows), digest: found?.digest ?? '' };
}
