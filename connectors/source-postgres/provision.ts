import type pg from 'pg';
import { CausewayError } from '#core/errors.ts';
import type { Logger } from '#core/runtime.ts';
import type { TableId } from '#core/schema.ts';
import { quoteIdentifier, quoteLiteral, quoteTable } from '../lib/postgres/quote.ts';
import type { Catalogue, CatalogueTable } from './catalogue.ts';
import { hasSqlstate, refusedStatement, SQLSTATE } from './errors.ts';
import { otherSlotsOf } from './lineage.ts';
import { inTransaction } from './session.ts';

const OWN_TABLES = [
  {
    name: 'heartbeat',
    create: `CREATE TABLE IF NOT EXISTS causeway.heartbeat (slot text PRIMARY KEY, counter int8 NOT NULL, at timestamptz NOT NULL)`,
  },
  {
    name: 'lineage',
    create: `CREATE TABLE IF NOT EXISTS causeway.lineage (id uuid PRIMARY KEY, slot text NOT NULL, publication text NOT NULL, at timestamptz NOT NULL)`,
  },
] as const;

/** Statements that make what we write at the source; docs/privileges.md shows the same ones. */
const OWN_OBJECTS = [`CREATE SCHEMA IF NOT EXISTS causeway`, ...OWN_TABLES.map(({ create }) => create)];

const OWN_TABLES_THERE = `SELECT pg_catalog.to_regclass('causeway.heartbeat') IS NOT NULL AND pg_catalog.to_regclass('causeway.lineage') IS NOT NULL AS there`;

/**
 * Makes schema, heartbeat and lineage table. They are there for safety and speed, not for the copy: without the right to write
 * capture goes on, and says so. False then.
 */
export async function provisionOwnTables(client: pg.ClientBase, logger: Logger): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>(OWN_TABLES_THERE);
  if (rows[0]?.there === true) return true;
  try {
    await inTransaction(client, async () => {
      for (const statement of OWN_OBJECTS) await client.query(statement);
    });
    logger.log('info', 'made schema causeway with its tables heartbeat and lineage');
    return true;
  } catch (error) {
    // Two pipelines of one database start at once: the other one made them.
    if (hasSqlstate(error, SQLSTATE.uniqueViolation, SQLSTATE.duplicateSchema, SQLSTATE.duplicateTable)) return true;
    if (!hasSqlstate(error, SQLSTATE.insufficientPrivilege)) throw error;
    logger.log('warn', 'the role may not create schema causeway: no heartbeat counter and no lineage are kept (docs/privileges.md)');
    return false;
  }
}

/**
 * Statements that make the publication carry exactly `tables`. Members that are there already stay as they are, with their
 * column lists and filters. One FOR ALL TABLES or FOR TABLES IN SCHEMA is kept as long as it carries all of them.
 */
export function publicationStatements(name: string, catalogue: Catalogue, tables: readonly CatalogueTable[]): readonly string[] {
  const publication = quoteIdentifier(name);
  const { publication: there, members } = catalogue;
  if (there === null) {
    const list = tables.map(memberText).join(', ');
    const forTables = tables.length === 0 ? '' : ` FOR TABLE ${list}`;
    return [`CREATE PUBLICATION ${publication}${forTables} WITH (${OPTIONS})`];
  }
  const statements: string[] = [];
  if (!there.via_root || !there.inserts || !there.updates || !there.deletes || !there.truncates) {
    statements.push(`ALTER PUBLICATION ${publication} SET (${OPTIONS})`);
  }
  statements.push(...addingStatements(name, catalogue, tables));
  const wanted = new Set(tables.map(({ relation }) => relation.oid));
  const extra = members.filter((member) => member.oid !== null && !wanted.has(member.relation));
  for (const { schema, name: table } of extra) {
    statements.push(`ALTER PUBLICATION ${publication} DROP TABLE ONLY ${quoteIdentifier(schema)}.${quoteIdentifier(table)}`);
  }
  return statements;
}

/** What carries these tables too; every other member stays as it is. */
export function addingStatements(name: string, catalogue: Catalogue, tables: readonly CatalogueTable[]): readonly string[] {
  const missing = tables.filter(({ relation }) => !catalogue.members.some((member) => member.relation === relation.oid));
  return missing.length === 0 ? [] : [`ALTER PUBLICATION ${quoteIdentifier(name)} ADD TABLE ${missing.map(memberText).join(', ')}`];
}

const OPTIONS = `publish = 'insert, update, delete, truncate', publish_via_partition_root = true`;

/** Without ONLY a parent of plain inheritance would bring its children along, which are tables of their own. */
function memberText({ table, relation }: CatalogueTable): string {
  return relation.kind === 'p' ? quoteTable(table) : `ONLY ${quoteTable(table)}`;
}

export async function provisionPublication(client: pg.ClientBase, statements: readonly string[], logger: Logger): Promise<void> {
  if (statements.length === 0) return;
  try {
    await inTransaction(client, async () => {
      for (const statement of statements) await client.query(statement);
    });
  } catch (error) {
    throw refusedStatement(error, 'to publish the tables', statements.map((statement) => `${statement};`).join(' '));
  }
  for (const statement of statements) logger.log('info', 'changed the publication', { statement });
}

/** Drops what we made, our rows in what deployments share included. Returns what was dropped. */
export async function deprovision(
  client: pg.ClientBase,
  what: { readonly slot: string; readonly publication: string },
): Promise<readonly string[]> {
  const dropped: string[] = [];
  dropped.push(...(await dropPublication(client, what)));
  dropped.push(...(await dropOwnTables(client, what.slot)));
  return dropped;
}

async function dropPublication(
  client: pg.ClientBase,
  what: { readonly slot: string; readonly publication: string },
): Promise<readonly string[]> {
  const { publication: name } = what;
  const { rows } = await client.query('SELECT FROM pg_catalog.pg_publication WHERE pubname = $1', [name]);
  if (rows.length === 0) return [];
  const statement = `DROP PUBLICATION ${quoteIdentifier(name)}`;
  const others = await otherSlotsOf(client, what);
  if (others === null)
    return [`not publication ${name}: the role may not read in causeway.lineage who else uses it: ${statement}; removes it`];
  if (others.length > 0) return [`not publication ${name}, which is used with ${others.join(', ')} too: ${statement}; removes it`];
  try {
    await client.query(statement);
    return [`publication ${name}`];
  } catch (error) {
    if (!hasSqlstate(error, SQLSTATE.insufficientPrivilege)) throw error;
    return [`not publication ${name}, which belongs to another role: ${statement}; removes it`];
  }
}

async function dropOwnTables(client: pg.ClientBase, slot: string): Promise<readonly string[]> {
  const { rows } = await client.query<{ there: boolean }>(OWN_TABLES_THERE);
  if (rows[0]?.there !== true) return [];
  try {
    return await inTransaction(client, async () => {
      const name = quoteLiteral(slot);
      await client.query(`DELETE FROM causeway.heartbeat WHERE slot = ${name}`);
      await client.query(`DELETE FROM causeway.lineage WHERE slot = ${name}`);
      const left = await client.query(`SELECT FROM causeway.heartbeat UNION ALL SELECT FROM causeway.lineage LIMIT 1`);
      if (left.rows.length > 0) return [`the rows of ${slot} in causeway.heartbeat and causeway.lineage`];
      await client.query('DROP TABLE causeway.heartbeat, causeway.lineage');
      const others = await client.query(`SELECT FROM pg_catalog.pg_class WHERE relnamespace = 'causeway'::pg_catalog.regnamespace LIMIT 1`);
      if (others.rows.length > 0) return ['tables causeway.heartbeat and causeway.lineage'];
      await client.query('DROP SCHEMA causeway');
      return ['schema causeway with its tables heartbeat and lineage'];
    });
  } catch (error) {
    if (!hasSqlstate(error, SQLSTATE.insufficientPrivilege)) throw error;
    return ['nothing of schema causeway, which the role may not change'];
  }
}

/** The tables that the publication is to carry. */
export function publishedTables(
  capturable: readonly CatalogueTable[],
  input: { readonly first: boolean; readonly catalogue: Catalogue; readonly isLoadedByHand: (table: TableId) => boolean },
): readonly CatalogueTable[] {
  // At a first start nothing was captured yet. Later a table that is new is carried only where `snapshot: never` says that it shall be.
  if (input.first || input.catalogue.publication === null) return capturable;
  return capturable.filter(({ table, member }) => member !== null || input.isLoadedByHand(table));
}

export function assertSomeTable(tables: readonly CatalogueTable[]): void {
  if (tables.length === 0) throw new CausewayError('source_table_refused', 'no table matches `tables`, or none of them can be captured');
}
