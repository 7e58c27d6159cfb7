import type pg from 'pg';
import { quoteIdentifier } from '../lib/postgres/quote.ts';
import { refusals } from './errors.ts';

const TABLE = 'control_row';
const FORMAT_VERSION = 1;
/** Of the table; a copy by pg_dump brings it along. */
const DESCRIBED = 'Causeway control store, format ';

export type Place = { readonly schema: string; readonly provision: 'create' | 'check' };

type Found = {
  readonly standby: boolean;
  readonly encoding: string;
  readonly has_schema: boolean;
  /** Null where there is no such relation. */
  readonly kind: string | null;
  readonly persistence: string | null;
  readonly described: string | null;
};

const FIND = `SELECT pg_catalog.pg_is_in_recovery() AS standby, pg_catalog.current_setting('server_encoding') AS encoding,
    n.oid IS NOT NULL AS has_schema, c.relkind::text AS kind, c.relpersistence::text AS persistence,
    pg_catalog.obj_description(c.oid, 'pg_class') AS described
  FROM (SELECT 1) AS always
  LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1
  LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = '${TABLE}'`;

/** Two processes may find the table missing at once. The number is `cwcs` in ASCII. */
const LOCK = 'SELECT pg_catalog.pg_advisory_xact_lock(x.lock) FROM (VALUES (1668768627::bigint)) AS x (lock)';

export function tableName(schema: string): string {
  return `${quoteIdentifier(schema)}.${TABLE}`;
}

/** Runs on each new connection: the table is ours and safe, or is made, or what is missing is an error. */
export async function verifyTable(client: pg.Client, place: Place): Promise<void> {
  const statements = await missing(client, place.schema);
  if (statements.length === 0) return;
  if (place.provision === 'check') throw refusals.missing(statements);
  await client.query('BEGIN');
  await client.query(LOCK);
  for (const statement of await missing(client, place.schema)) await client.query(statement);
  await client.query('COMMIT');
}

async function missing(client: pg.Client, schema: string): Promise<readonly string[]> {
  const table = tableName(schema);
  const { rows } = await client.query<Found>(FIND, [schema]);
  const [found] = rows;
  if (found === undefined || found.standby) throw refusals.standby();
  if (found.encoding !== 'UTF8') throw refusals.encoding(found.encoding);
  if (found.kind === null) {
    return [
      ...(found.has_schema ? [] : [`CREATE SCHEMA ${quoteIdentifier(schema)}`]),
      `CREATE TABLE ${table} (key text COLLATE "C" PRIMARY KEY, value json NOT NULL, version text NOT NULL)`,
      `COMMENT ON TABLE ${table} IS '${DESCRIBED}${FORMAT_VERSION}'`,
    ];
  }
  const version = found.described?.startsWith(DESCRIBED) === true ? Number(found.described.slice(DESCRIBED.length)) : Number.NaN;
  if (found.kind !== 'r' || !Number.isInteger(version)) throw refusals.foreign(table);
  if (version !== FORMAT_VERSION) throw refusals.format(table, version, FORMAT_VERSION);
  if (found.persistence !== 'p') throw refusals.unlogged(table);
  return [];
}
