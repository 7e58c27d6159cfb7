import type pg from 'pg';
import { present } from '#core/assert.ts';
import type { SourceIdentity } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import { epochMicrosOf, type EpochMicros, type Position } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import { notLoaded, TABLE_NOT_LOADED, type RefusedTable, type SourceFacts } from '#core/source.ts';
import { readCatalogue, schemaOf, type Catalogue, type CatalogueTable } from './catalogue.ts';
import { readCompanions } from './companions.ts';
import { fingerprintOf } from './fingerprint.ts';
import { readLineage } from './lineage.ts';
import { parseLsn, positionOfLsn } from './lsn.ts';
import { tablesWithRows, type Births } from './partitions.ts';
import { collidingTargets, missingTables, refusalOf, refusedWrites, type Refusal } from './refusals.ts';
import type { FollowedTable } from './relation-resolver.ts';
import type { Selection } from './selection.ts';
import { inSnapshot } from './session.ts';
import { readSlot } from './slot.ts';

export type InspectInput = {
  readonly version: number;
  readonly slot: string;
  readonly publication: string;
  readonly selection: Selection;
  readonly births: Births;
  /** What the open stream follows; null while there was none yet. */
  readonly followed: ReadonlyMap<TableId, FollowedTable> | null;
  readonly stopped: ReadonlyMap<TableId, string>;
};

export type Sorted = { readonly capturable: readonly CatalogueTable[]; readonly refused: readonly RefusedTable[] };

/** Reads everything in one snapshot. */
export async function inspect(client: pg.ClientBase, input: InspectInput): Promise<SourceFacts> {
  return await inSnapshot(client, async () => {
    const server = await readServerFacts(client);
    const lineage = await readLineage(client, input.slot);
    const slot = await readSlot(client, input.version, input.slot);
    const catalogue = await readCatalogue(client, input);
    const { capturable, refused } = sortTables(catalogue, input);
    const companions = await readCompanions(
      client,
      capturable.map(({ relation }) => relation.oid),
    );
    const filled = await tablesWithRows(
      client,
      capturable.map(({ relation }) => relation),
    );
    return {
      ...server,
      lineage,
      slot: slot?.facts ?? null,
      tables: capturable.map((table) => ({
        schema: present(schemaOf(table), 'the key of a table that can be captured'),
        fingerprint: fingerprintOf(table, catalogue.publication),
        companions: companions.get(table.relation.oid),
        holdsRows: filled.has(table.relation.oid),
        rowsExpected: rowsEstimated(table),
      })),
      refused,
    };
  });
}

type ServerFacts = { readonly identity: SourceIdentity; readonly head: Position; readonly now: EpochMicros };

/** Of a partitioned table by its leaves: autovacuum never analyses the root. Null as long as one that has bytes was never looked at. */
function rowsEstimated({ relation, partitions }: CatalogueTable): number | null {
  const holders = relation.kind === 'p' ? partitions.map((partition) => partition.relation).filter(({ kind }) => kind !== 'p') : [relation];
  const estimates = holders.map(({ bytes, rows_estimated: rows }) => (bytes === '0' ? 0 : rows));
  return estimates.reduce((sum, rows) => (sum === null || rows === null ? null : sum + Math.round(rows)), 0);
}

/** The timeline stands in the name of the file that is being written; the control file learns of a promotion later only. */
async function readServerFacts(client: pg.ClientBase): Promise<ServerFacts> {
  const { rows } = await client.query<{ system: string; timeline: string; head: string; now: string }>(
    `SELECT (pg_catalog.pg_control_system()).system_identifier::text AS system,
       pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) AS timeline,
       pg_catalog.pg_current_wal_flush_lsn()::text AS head,
       (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::int8::text AS now`,
  );
  const row = rows[0];
  const head = parseLsn(row?.head ?? '');
  if (row === undefined || head === null) throw new CausewayError('source_misconfigured', 'the server does not say where its log ends');
  return {
    identity: { system: row.system, timeline: Number.parseInt(row.timeline, 16) },
    head: positionOfLsn(head),
    now: epochMicrosOf(Number(row.now)),
  };
}

/** Which tables can be captured, and why the others cannot. */
export function sortTables(catalogue: Catalogue, input: Pick<InspectInput, 'selection' | 'followed' | 'stopped'>): Sorted {
  const { selection, followed, stopped } = input;
  const found = new Set(catalogue.tables.map(({ table }) => table));
  const colliding = collidingTargets(
    selection,
    catalogue.tables.filter((table) => refusalOf(table) === null).map(({ table }) => table),
  );
  const capturable: CatalogueTable[] = [];
  const refused: RefusedTable[] = [...missingTables(selection, found)];
  for (const table of catalogue.tables) {
    if (isPartitionOf(table, catalogue, selection)) continue;
    const breaking = table.member === null ? refusedWrites(table) : null;
    const refusal =
      refusalOf(table) ?? breaking ?? stoppedEarlier(table, stopped) ?? colliding.get(table.table) ?? notFollowed(table, followed);
    if (refusal === null) capturable.push(table);
    else refused.push({ table: table.table, ...refusal });
  }
  return { capturable, refused };
}

/** A partition that a pattern matches beside its root is captured with the root. */
function isPartitionOf(table: CatalogueTable, catalogue: Catalogue, selection: Selection): boolean {
  if (!table.relation.is_partition || selection.isNamed(table.table)) return false;
  return catalogue.tables.some(({ partitions }) => partitions.some(({ relation }) => relation.oid === table.relation.oid));
}

function stoppedEarlier(table: CatalogueTable, stopped: ReadonlyMap<TableId, string>): Refusal | null {
  const reason = stopped.get(table.table);
  if (reason === undefined) return null;
  return { code: 'table_stopped', reason, mend: `load ${table.table} again: docs/resync.md` };
}

/** The stream drops what it did not know when it was opened. */
function notFollowed(table: CatalogueTable, followed: ReadonlyMap<TableId, FollowedTable> | null): Refusal | null {
  if (followed === null || followed.has(table.table)) return null;
  const was = [...followed.values()].find(({ oid }) => oid === table.relation.oid);
  if (was !== undefined) {
    return {
      code: 'table_renamed',
      reason: `it is ${was.table} under another name`,
      mend: `ALTER TABLE … RENAME it back, or load it again: docs/resync.md`,
    };
  }
  return { ...notLoaded(table.table), code: TABLE_NOT_LOADED };
}
