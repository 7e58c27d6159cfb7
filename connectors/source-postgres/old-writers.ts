import type pg from 'pg';
import type { TableId } from '#core/schema.ts';
import type { CatalogueTable } from './catalogue.ts';

/**
 * Transactions that wrote to a table before the publication carried it. What they wrote until then is decoded as of that time, and so left
 * out, though they commit later: rows may be read only when they are over. A transaction holds the lock of a table that it writes to
 * until its changes show in reads, also while its commit waits for a standby (PostgreSQL manual, "Explicit Locking" and "pg_locks").
 */
export class OldWriters {
  readonly #left = new Map<TableId, ReadonlySet<string>>();

  /** To be asked once the publication carries the tables. Returns those of which nobody is left. */
  async look(client: pg.ClientBase, tables: readonly CatalogueTable[]): Promise<readonly TableId[]> {
    const over: TableId[] = [];
    for (const { table, relation, partitions } of tables) {
      const now = await writersOf(client, [relation.oid, ...partitions.map((partition) => partition.relation.oid)]);
      const before = this.#left.get(table) ?? now;
      const left = new Set([...before].filter((transaction) => now.has(transaction)));
      this.#left.set(table, left);
      if (left.size === 0) over.push(table);
    }
    return over;
  }
}

/** Whoever holds a lock under which rows are written; prepared transactions too. */
async function writersOf(client: pg.ClientBase, oids: readonly string[]): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ transaction: string }>(
    `SELECT DISTINCT virtualtransaction AS transaction FROM pg_catalog.pg_locks
     WHERE locktype = 'relation' AND granted AND relation = ANY ($1::pg_catalog.oid[])
       AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`,
    [oids],
  );
  return new Set(rows.map(({ transaction }) => transaction));
}
