import type { Client } from 'pg';
import { CausewayError } from '#core/errors.ts';
import { postgresError, sqlstateOf, valueSettings } from '../lib/postgres/connection.ts';
import { UTF8 } from './encoding.ts';
import { type Lsn, parseLsn } from './lsn.ts';

type Session = {
  readonly slot: string;
  readonly publication: string;
  /** The database's own, as the server calls it. */
  readonly encoding: string;
};

const SQLSTATE_OBJECT_IN_USE = '55006';
const SQLSTATE_NOT_IN_PREREQUISITE_STATE = '55000';
const SQLSTATE_UNDEFINED_OBJECT = '42704';

const ASCII = /^[\x20-\x7e]*$/;

/** Before the stream starts. Returns where the slot stands, and wal_sender_timeout, which is 0 where there is none. */
export async function prepareReplication(
  client: Client,
  session: Session,
): Promise<{ readonly flushed: Lsn; readonly senderTimeoutMs: number }> {
  const senderTimeoutMs = await checkSettings(client);
  const flushed = await readSlot(client, session.slot);
  await convertNothing(client, session);
  return { flushed, senderTimeoutMs };
}

export function startStatement({ slot, publication }: Session): string {
  const names = literal(`"${publication.replaceAll('"', '""')}"`);
  return `START_REPLICATION SLOT "${slot.replaceAll('"', '""')}" LOGICAL 0/0 (proto_version '1', publication_names ${names}, messages 'true')`;
}

export function replicationError(error: unknown, of: Session & { readonly hasStarted: boolean }): CausewayError {
  const { slot, publication, hasStarted } = of;
  switch (sqlstateOf(error)) {
    case SQLSTATE_OBJECT_IN_USE:
      return new CausewayError('source_slot_in_use', `another connection holds the replication slot ${slot}`);
    case SQLSTATE_NOT_IN_PREREQUISITE_STATE:
      return new CausewayError('source_slot_lost', `the replication slot ${slot} cannot be read any more`);
    case SQLSTATE_UNDEFINED_OBJECT:
      return hasStarted
        ? new CausewayError('source_misconfigured', `the publication ${publication} does not exist`)
        : new CausewayError('source_slot_lost', `the replication slot ${slot} does not exist`);
    default:
      return postgresError(error, 'source');
  }
}

/** The same log decodes to other texts under other settings (C3), and some proxies drop what a client asks for at its start. */
async function checkSettings(client: Client): Promise<number> {
  const names = Object.keys(valueSettings);
  const columns = names.map((name, index) => `pg_catalog.current_setting(${literal(name)}) AS s${index}`);
  const timeout = `(SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout') AS sender_timeout`;
  const row = (await client.query<Record<string, string>>(`SELECT ${[...columns, timeout].join(', ')}`)).rows[0];
  names.forEach((name, index) => {
    const actual = row?.[`s${index}`];
    if (unquoted(actual ?? '') !== unquoted(valueSettings[name] ?? '')) {
      throw new CausewayError('source_misconfigured', `the replication connection asked for ${name}, and the server did not take it`);
    }
  });
  return Number(row?.['sender_timeout'] ?? 0);
}

/** Asks for texts in the database's own encoding: the server then converts none, and so meets none that it cannot convert (O4). */
async function convertNothing(client: Client, { encoding, publication }: Session): Promise<void> {
  if (encoding === UTF8.name) return;
  // From here on the server reads in that encoding too, and the driver writes UTF-8.
  if (!ASCII.test(publication)) {
    throw new CausewayError(
      'source_misconfigured',
      `the name of the publication ${publication} is not plain ASCII, which it has to be in a database in ${encoding}`,
    );
  }
  const { rows } = await client.query<{ taken: string; own: string }>(
    `SELECT pg_catalog.set_config('client_encoding', ${literal(encoding)}, false) AS taken, pg_catalog.getdatabaseencoding()::text AS own`,
  );
  if (rows[0]?.taken !== encoding || rows[0].own !== encoding)
    throw new CausewayError('source_misconfigured', `the replication connection does not read a database in ${encoding}`);
}

/** Until somebody acknowledges, the status repeats what the slot stands at: nothing else is known to be durable. */
async function readSlot(client: Client, slot: string): Promise<Lsn> {
  const result = await client.query<{ flushed: string | null }>(
    `SELECT confirmed_flush_lsn::text AS flushed FROM pg_catalog.pg_replication_slots WHERE slot_name = ${literal(slot)}`,
  );
  const flushed = parseLsn(result.rows[0]?.flushed ?? '');
  if (flushed === null) throw new CausewayError('source_slot_lost', `the logical replication slot ${slot} does not exist`);
  return flushed;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** The server shows an empty search_path as `""`. */
function unquoted(setting: string): string {
  return setting.replaceAll('"', '');
}
