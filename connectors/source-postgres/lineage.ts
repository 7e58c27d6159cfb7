import type pg from 'pg';
import { present } from '#core/assert.ts';
import type { LineageMark } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { LineageFacts } from '#core/source.ts';
import { hasSqlstate, SQLSTATE } from './errors.ts';
import { parseLsn, positionOfLsn } from './lsn.ts';

/*
 * What tells this server's history from that of a copy of it: random rows, and the counter of the heartbeats. A session of ours
 * commits without waiting for a standby, so both are durable on this server when they are told.
 */

const READABLE = `
SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE')
   AND COALESCE(pg_catalog.bool_and(pg_catalog.has_table_privilege(c.oid, 'SELECT')), true) AS readable,
   COALESCE(pg_catalog.array_agg(c.relname::text), '{}') AS tables
FROM pg_catalog.pg_namespace n
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname IN ('heartbeat', 'lineage') AND c.relkind = 'r'
WHERE n.nspname = 'causeway' GROUP BY n.oid`;

type Readable = { readonly readable: boolean; readonly tables: readonly string[] };

/** Null where the role may not look. Tables that are not there hold nothing: a copy from before they were made lacks them too. */
export async function readLineage(client: pg.ClientBase, slot: string): Promise<LineageFacts | null> {
  const { rows } = await client.query<Readable>(READABLE);
  const [found] = rows;
  if (found === undefined) return { marks: [], heartbeats: 0 };
  if (!found.readable) return null;
  const ask = async (table: string, text: string): Promise<readonly string[]> => {
    if (!found.tables.includes(table)) return [];
    return (await client.query<{ value: string }>(text, [slot])).rows.map(({ value }) => value);
  };
  const marks = await ask('lineage', 'SELECT id::text AS value FROM causeway.lineage WHERE slot = $1');
  const [heartbeats] = await ask('heartbeat', 'SELECT counter::text AS value FROM causeway.heartbeat WHERE slot = $1');
  return { marks, heartbeats: Number(heartbeats ?? 0) };
}

/** Null where the role may not write. */
export async function addMark(
  client: pg.ClientBase,
  of: { readonly slot: string; readonly publication: string },
): Promise<LineageMark | null> {
  try {
    const { rows } = await client.query<{ id: string }>(
      `INSERT INTO causeway.lineage (id, slot, publication, at) VALUES (pg_catalog.gen_random_uuid(), $1, $2, pg_catalog.clock_timestamp())
       RETURNING id::text AS id`,
      [of.slot, of.publication],
    );
    // Asked for after the commit, which was flushed by then.
    const at = await client.query<{ lsn: string }>('SELECT pg_catalog.pg_current_wal_flush_lsn()::text AS lsn');
    const lsn = parseLsn(at.rows[0]?.lsn ?? '');
    if (lsn === null) throw new CausewayError('source_misconfigured', 'the server does not say where its log ends');
    return { id: present(rows[0], 'a mark that was added').id, position: positionOfLsn(lsn) };
  } catch (error) {
    if (hasSqlstate(error, SQLSTATE.insufficientPrivilege, SQLSTATE.undefinedTable, SQLSTATE.undefinedSchema)) return null;
    throw error;
  }
}

/** Of other deployments that share the publication, by the marks that each start leaves. Null where the role may not look. */
export async function otherSlotsOf(
  client: pg.ClientBase,
  of: { readonly slot: string; readonly publication: string },
): Promise<readonly string[] | null> {
  const [found] = (await client.query<Readable>(READABLE)).rows;
  if (found === undefined) return [];
  if (!found.readable) return null;
  if (!found.tables.includes('lineage')) return [];
  const { rows } = await client.query<{ slot: string }>(
    'SELECT DISTINCT slot FROM causeway.lineage WHERE publication = $1 AND slot <> $2 ORDER BY slot',
    [of.publication, of.slot],
  );
  return rows.map(({ slot }) => slot);
}

export async function dropMarks(client: pg.ClientBase, of: { readonly slot: string; readonly ids: readonly string[] }): Promise<void> {
  await client.query('DELETE FROM causeway.lineage WHERE slot = $1 AND id = ANY ($2::pg_catalog.uuid[])', [of.slot, of.ids]);
}
