import type { TableId } from '#core/schema.ts';

import { quoteIdentifier } from '../lib/postgres/quote.ts';
import { readTable } from './catalogue.ts';
import { claimed, ownerOf } from './claim.ts';
import { OWN_TABLE_NAMES, type OwnTables } from './names.ts';
import type { ProgressOwner } from './progress.ts';
import { ADVISORY_LOCK } from './provision.ts';
import { commit, type Session } from './session.ts';

/**
 * Drops version tables, progress, fences, reports and claim of the sink. Returns what went, for people. Errors: `sink_claimed`, with nothing
 * dropped, where somebody else than one of `owners` has the claim.
 */
export async function removeOwn(session: Session, of: ProgressOwner, owners: readonly string[]): Promise<string[]> {
  const { own, pipeline, sink } = of;
  if ((await readTable(session, own.schema, 'sink_table')) === null) return [];
  const hasOwners = (await readTable(session, own.schema, 'sink_owner')) !== null;
  const hasReports = (await readTable(session, own.schema, 'sink_report')) !== null;
  return await session.transaction([{ text: ADVISORY_LOCK }], async () => {
    const owner = hasOwners ? await ownerOf(session, of) : null;
    if (owner !== null && !owners.includes(owner)) throw claimed(of, owner);
    const removed: string[] = [];
    const deleteFrom = (table: string, returning: string) =>
      session.texts(`DELETE FROM ${table} WHERE pipeline = $1 AND sink = $2 RETURNING ${returning}`, [pipeline, sink]);
    for (const [target, register] of await deleteFrom(own.tables, 'target, register')) {
      if (register !== 'sidecar') continue;
      const table = own.version((target ?? '') as TableId);
      await session.script(`DROP TABLE IF EXISTS ${table}`);
      removed.push(`version table ${table}`);
    }
    const partitions = await deleteFrom(own.progress, 'partition');
    if (partitions.length > 0) removed.push(`progress of ${partitions.length} partitions`);
    const differences = hasReports ? await deleteFrom(own.reports, '1') : [];
    if (differences.length > 0) removed.push(`${differences.length} differences that reconciliations found`);
    if (hasOwners) await deleteFrom(own.owners, 'owner');
    if (await isUnused(session, own)) removed.push(leftEmpty(own));
    return commit(removed);
  });
}

/** True where our own tables hold nothing any more, and the schema holds nothing but them. */
async function isUnused(session: Session, own: OwnTables): Promise<boolean> {
  const held = [own.progress, own.tables].map((table) => `EXISTS (SELECT FROM ${table})`).join(' OR ');
  const [row] = await session.texts(
    `SELECT ${held} OR EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname NOT IN (${OWN_TABLE_NAMES.map((name) => `'${name}'`).join(', ')}))`,
    [own.schema],
  );
  return row?.[0] === 'f';
}

/** They are not dropped: another pipeline may be about to claim its place in them. */
function leftEmpty(own: OwnTables): string {
  const schema = quoteIdentifier(own.schema);
  return `the last rows of schema ${schema}, whose empty tables stay: where no other pipeline is to use them, DROP SCHEMA ${schema} CASCADE; removes them`;
}
