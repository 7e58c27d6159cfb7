import type pg from 'pg';
import { CausewayError } from '#core/errors.ts';
import { positionOf, type Position } from '#core/position.ts';
import type { SlotFacts } from '#core/source.ts';
import { hasSqlstate, refusedStatement, SQLSTATE } from './errors.ts';
import { quoteLiteral } from '../lib/postgres/quote.ts';
import { parseLsn, positionOfLsn } from './lsn.ts';

const PLUGIN = 'pgoutput';

type SlotRow = {
  readonly plugin: string | null;
  readonly kind: string;
  readonly database: string | null;
  readonly here: boolean;
  readonly active: boolean;
  readonly status: string | null;
  readonly reason: string | null;
  readonly confirmed: string | null;
  readonly retained: string | null;
  readonly backlog: string | null;
  readonly headroom: string | null;
  readonly failover: boolean | null;
  readonly spilled: string | null;
  readonly open: string | null;
};

/** `failover` is null before version 17. */
export type Slot = { readonly facts: SlotFacts; readonly failover: boolean | null };

/**
 * A transaction has an id once it has written, and the slot's restart point stays before the oldest of them, whichever database it is
 * in. A role without pg_read_all_stats sees its own sessions alone, which would look like none.
 */
const OPEN_SECONDS = `CASE WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN (
         SELECT COALESCE(max(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - o.since)), 0) FROM (
           SELECT a.xact_start AS since FROM pg_catalog.pg_stat_activity a WHERE a.backend_xid IS NOT NULL
           UNION ALL SELECT p.prepared FROM pg_catalog.pg_prepared_xacts p) AS o) END::text`;

/** Null where there is no such slot. Errors: `source_misconfigured` for one of another kind or database. */
export async function readSlot(client: pg.ClientBase, version: number, name: string): Promise<Slot | null> {
  const { rows } = await client.query<SlotRow>(
    `SELECT s.plugin::text AS plugin, s.slot_type AS kind, s.database::text AS database, s.database = pg_catalog.current_database() AS here,
       s.active, s.wal_status AS status, s.confirmed_flush_lsn::text AS confirmed,
       ${reasonColumn(version)} AS reason,
       ${version >= 170_000 ? 's.failover' : 'NULL::bool'} AS failover,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::text AS retained,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.confirmed_flush_lsn)::text AS backlog,
       s.safe_wal_size::text AS headroom,
       (SELECT t.spill_bytes FROM pg_catalog.pg_stat_replication_slots t WHERE t.slot_name = s.slot_name)::text AS spilled,
       ${OPEN_SECONDS} AS open
     FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1`,
    [name],
  );
  const row = rows[0];
  if (row === undefined) return null;
  if (row.kind !== 'logical' || row.plugin !== PLUGIN || !row.here) {
    throw new CausewayError(
      'source_misconfigured',
      `the replication slot ${name} exists as a ${row.kind} one of ${row.plugin ?? 'no plugin'} in ${row.database ?? 'no database'}: set \`slot\` to another name`,
    );
  }
  const confirmed = parseLsn(row.confirmed ?? '0/0');
  return {
    failover: row.failover,
    facts: {
      name,
      position: confirmed === null ? positionOf('0/0') : positionOfLsn(confirmed),
      active: row.active,
      unusable: unusable(row),
      retainedBytes: bytesOf(row.retained),
      backlogBytes: bytesOf(row.backlog),
      headroomBytes: row.headroom === null ? null : Math.max(0, Number(row.headroom)),
      plugin: PLUGIN,
      failover: row.failover === true,
      spilledBytes: row.spilled === null ? null : Number(row.spilled),
      openTransactionSeconds: row.open === null ? null : Math.max(0, Number(row.open)),
      walStatus: row.status,
    },
  };
}

/** Why the server can no longer serve from the slot. */
function reasonColumn(version: number): string {
  if (version >= 170_000) return 's.invalidation_reason';
  if (version >= 160_000) return `CASE WHEN s.conflicting THEN 'conflicting with recovery' END`;
  return 'NULL::text';
}

function unusable(row: SlotRow): string | null {
  const reasons = [row.reason === null ? null : `invalidated: ${row.reason}`, row.status === 'lost' ? 'wal_status is lost' : null];
  const text = reasons.filter((reason) => reason !== null).join(', ');
  return text === '' ? null : text;
}

/** A slot that was moved by hand may stand beyond the end of the log for a moment. */
function bytesOf(text: string | null): number {
  return text === null ? 0 : Math.max(0, Number(text));
}

/**
 * Makes the slot. From 17 on it is one that a standby can take over (`failover`). Waits for every transaction that is running.
 * Returns where it begins.
 */
export async function createSlot(client: pg.ClientBase, version: number, name: string): Promise<Position> {
  const failover = version >= 170_000 ? ', failover => true' : '';
  const statement = `SELECT lsn::text AS lsn FROM pg_catalog.pg_create_logical_replication_slot(${quoteLiteral(name)}, '${PLUGIN}'${failover})`;
  try {
    // It waits for as long as the oldest transaction runs; the caller's signal ends it.
    await client.query('SET statement_timeout = 0');
    const { rows } = await client.query<{ lsn: string }>(statement);
    const begins = parseLsn(rows[0]?.lsn ?? '');
    if (begins === null) throw new CausewayError('source_misconfigured', 'the server made a replication slot without a position');
    return positionOfLsn(begins);
  } catch (error) {
    if (hasSqlstate(error, SQLSTATE.notInPrerequisiteState)) {
      throw new CausewayError('source_misconfigured', `a logical replication slot cannot be made: wal_level is not logical (PG-002)`);
    }
    if (hasSqlstate(error, SQLSTATE.tooManySlots)) {
      throw new CausewayError('source_misconfigured', 'all replication slots are in use: raise max_replication_slots (PG-005)');
    }
    throw refusedStatement(error, 'to make the replication slot', `ALTER ROLE … REPLICATION;`);
  } finally {
    await client.query('RESET statement_timeout').catch(() => undefined);
  }
}

/** The slot has to be free. Passes over one that is not there. */
export async function dropSlot(client: pg.ClientBase, name: string): Promise<void> {
  await client.query(`SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1`, [
    name,
  ]);
}
