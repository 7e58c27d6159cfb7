import type pg from 'pg';
import type { Finding } from '#core/finding.ts';
import { quoteIdentifier, quoteLiteral } from '../lib/postgres/quote.ts';
import { finding, ok } from './finding.ts';
import type { Slot } from './slot.ts';

/** One slot and one walsender for the stream, and one of each to spare for a second start or a re-sync. */
const FREE_WANTED = 2;

export async function slotsFree(client: pg.ClientBase, hasSlot: boolean): Promise<Finding> {
  const title = 'replication slots and walsenders are free';
  const { rows } = await client.query<{ slots: number; senders: number; slots_max: string; senders_max: string }>(
    `SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots)::int4 AS slots,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender')::int4 AS senders,
       pg_catalog.current_setting('max_replication_slots') AS slots_max, pg_catalog.current_setting('max_wal_senders') AS senders_max`,
  );
  const row = rows[0];
  const slotsFreeNow = Number(row?.slots_max ?? 0) - (row?.slots ?? 0) + (hasSlot ? 1 : 0);
  const sendersFreeNow = Number(row?.senders_max ?? 0) - (row?.senders ?? 0) + (hasSlot ? 1 : 0);
  const details = [
    `${slotsFreeNow} of ${row?.slots_max ?? 0} slots, ${sendersFreeNow} of ${row?.senders_max ?? 0} walsenders for this pipeline`,
  ];
  if (slotsFreeNow >= FREE_WANTED && sendersFreeNow >= FREE_WANTED) return ok('PG-005', title, details);
  return finding('PG-005', title, {
    level: slotsFreeNow < 1 || sendersFreeNow < 1 ? 'error' : 'warning',
    details,
    mend: ['ALTER SYSTEM SET max_replication_slots = 20; ALTER SYSTEM SET max_wal_senders = 20;   -- then restart the server'],
  });
}

/** Without a limit a stopped pipeline fills the disk; with a small one the slot is given up. */
export async function keptLog(client: pg.ClientBase, slot: Slot | null): Promise<Finding> {
  const title = 'the log that the slot may hold back is limited, and enough';
  const { rows } = await client.query<{ keep: string; hour: string | null }>(
    `SELECT pg_catalog.current_setting('max_slot_wal_keep_size') AS keep,
       (SELECT (wal_bytes / GREATEST(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - stats_reset), 1) * 3600)::int8::text FROM pg_catalog.pg_stat_wal) AS hour`,
  );
  const keep = rows[0]?.keep ?? '-1';
  const perHour = Number(rows[0]?.hour ?? 0);
  const rate = `the server writes ${megabytes(perHour)} an hour on average, ${megabytes(perHour * 24)} a day`;
  if (keep === '-1') {
    return finding('PG-009', title, {
      level: 'warning',
      details: ['max_slot_wal_keep_size is unlimited: a pipeline that stands still fills the disk of the source', rate],
      mend: [
        `ALTER SYSTEM SET max_slot_wal_keep_size = ${quoteLiteral(`${Math.max(1, Math.ceil((perHour * 24) / 1e9))}GB`)};   -- a day at that rate, if the disk has the room`,
        'SELECT pg_reload_conf();',
      ],
    });
  }
  const headroom = slot?.facts.headroomBytes ?? null;
  const left = headroom === null ? [] : [`${megabytes(headroom)} may still be written before the slot is given up`];
  if (headroom !== null && perHour > 0 && headroom / perHour < 1) {
    return finding('PG-009', title, {
      level: 'warning',
      details: [`max_slot_wal_keep_size is ${keep}`, ...left, rate],
      mend: ['bring the pipeline back, or raise max_slot_wal_keep_size'],
    });
  }
  return ok('PG-009', title, [`max_slot_wal_keep_size is ${keep}`, ...left, rate]);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

export async function slotFinding(client: pg.ClientBase, name: string, slot: Slot | null, version: number): Promise<Finding> {
  const title = `the replication slot ${name} can serve`;
  const details: string[] = [];
  if (version >= 180_000) {
    const { rows } = await client.query<{ timeout: string }>(
      `SELECT pg_catalog.current_setting('idle_replication_slot_timeout') AS timeout`,
    );
    const timeout = rows[0]?.timeout ?? '0';
    if (timeout !== '0') details.push(`idle_replication_slot_timeout is ${timeout}: a pause of the pipeline must be shorter`);
  }
  if (slot === null)
    return finding('PG-010', title, {
      level: details.length > 0 ? 'warning' : 'ok',
      details: ['it is made at the first start', ...details],
    });
  if (slot.facts.unusable !== null) {
    return finding('PG-010', title, {
      level: 'error',
      details: [slot.facts.unusable, ...details],
      mend: ['load the tables again: docs/resync.md'],
    });
  }
  const state = `wal_status is ${slot.facts.walStatus ?? 'unknown'}, ${megabytes(slot.facts.retainedBytes)} held`;
  const level = slot.facts.walStatus === 'unreserved' || details.length > 0 ? 'warning' : 'ok';
  return finding('PG-010', title, { level, details: [state, ...details] });
}

export async function failover(client: pg.ClientBase, slot: Slot | null, version: number): Promise<Finding> {
  const title = 'the slot survives a failover of the source';
  if (version < 170_000) {
    const details = ['this release has no failover slots: after a failover of the source the tables have to be loaded again'];
    return finding('PG-011', title, { level: 'warning', details, mend: ['upgrade the server to PostgreSQL 17 or later'] });
  }
  if (slot === null) return ok('PG-011', title, ['it will be made with failover']);
  if (slot.failover !== true) {
    const command = `ALTER_REPLICATION_SLOT ${quoteIdentifier(slot.facts.name)} (FAILOVER true)`;
    return finding('PG-011', title, {
      level: 'warning',
      details: ['the slot was made without failover'],
      mend: [`psql 'dbname=… replication=database' -c '${command}'`],
    });
  }
  const { rows } = await client.query<{ names: string }>(`SELECT pg_catalog.current_setting('synchronized_standby_slots') AS names`);
  if ((rows[0]?.names ?? '') !== '') return ok('PG-011', title);
  return finding('PG-011', title, {
    level: 'warning',
    details: ['synchronized_standby_slots is empty: the stream can be ahead of the standby that takes over'],
    mend: [
      "ALTER SYSTEM SET synchronized_standby_slots = 'SLOT_OF_THE_STANDBY'; SELECT pg_reload_conf();   -- and sync_replication_slots = on at the standby",
    ],
  });
}

/** Longer than this a transaction keeps the server from forgetting log, and a new slot from being made. */
const LONG_TRANSACTION = '10 minutes';

export async function workMemory(client: pg.ClientBase): Promise<Finding> {
  const title = 'no old transaction holds the log back';
  const { rows } = await client.query<{ memory: string; long: number; prepared: number }>(
    `SELECT pg_catalog.current_setting('logical_decoding_work_mem') AS memory,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
        WHERE backend_xid IS NOT NULL AND xact_start < pg_catalog.clock_timestamp() - '${LONG_TRANSACTION}'::interval)::int4 AS long,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts
        WHERE prepared < pg_catalog.clock_timestamp() - '${LONG_TRANSACTION}'::interval)::int4 AS prepared`,
  );
  const row = rows[0];
  const memory = `logical_decoding_work_mem is ${row?.memory ?? 'unknown'}; a larger transaction is spilled to the disk of the source`;
  const long = row?.long ?? 0;
  const prepared = row?.prepared ?? 0;
  if (long === 0 && prepared === 0) return ok('PG-013', title, [memory]);
  return finding('PG-013', title, {
    level: 'warning',
    details: [`${long} transactions and ${prepared} prepared ones are older than ${LONG_TRANSACTION}`, memory],
    mend: [
      'SELECT pid, xact_start, state FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start;',
      'SELECT gid, prepared FROM pg_prepared_xacts;',
    ],
  });
}
