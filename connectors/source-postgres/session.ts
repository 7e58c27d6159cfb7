import type pg from 'pg';
import { CausewayError } from '#core/errors.ts';
import { valueSettings, withClient, type SessionOptions } from '../lib/postgres/connection.ts';
import type { PostgresSource } from './config.ts';

/** The oldest release with protocol features and catalogues that everything here relies on, as `server_version_num`. */
export const VERSION_MIN = 140_000;

/** Beside the settings that fix how values are printed: no wait is endless, whatever the role's defaults are. */
const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  ...valueSettings,
  statement_timeout: '60s',
  lock_timeout: '10s',
  idle_in_transaction_session_timeout: '120s',
  // A commit here need not wait for a standby: the stream shows it when it is durable on this server.
  synchronous_commit: 'local',
  jit: 'off',
};

/** Of an ordinary connection; `purpose` shows in pg_stat_activity. */
export function sessionOptions(source: PostgresSource, purpose: string): SessionOptions {
  return { applicationName: `causeway/${source.pipeline}/${purpose}`, settings: SESSION_SETTINGS, role: 'source' };
}

/** Of a replication connection. Its commands may take as long as they take. */
export function streamOptions(source: PostgresSource): SessionOptions {
  return { applicationName: `causeway/${source.pipeline}/stream`, settings: { ...valueSettings, statement_timeout: '0' }, role: 'source' };
}

export type ServerFacts = { readonly version: number; readonly isStandby: boolean };

export async function readServer(client: pg.ClientBase): Promise<ServerFacts> {
  const { rows } = await client.query<{ version: string; standby: boolean }>(
    `SELECT pg_catalog.current_setting('server_version_num') AS version, pg_catalog.pg_is_in_recovery() AS standby`,
  );
  return { version: Number(rows[0]?.version ?? 0), isStandby: rows[0]?.standby === true };
}

/** Errors: `source_version`, and `source_misconfigured` for a standby, whose slots and snapshots are not what they are on a primary. */
export function assertUsable(server: ServerFacts): void {
  if (server.version < VERSION_MIN) {
    throw new CausewayError(
      'source_version',
      `the server is PostgreSQL ${Math.floor(server.version / 10_000)}; 14 is the oldest supported`,
    );
  }
  if (server.isStandby)
    throw new CausewayError('source_misconfigured', 'the server is a standby: changes are captured from a primary only');
}

/** Runs `work` on a connection to a server that is known to be usable. */
export async function withServer<T>(
  source: PostgresSource,
  purpose: string,
  signal: AbortSignal,
  work: (client: pg.Client, server: ServerFacts) => Promise<T>,
): Promise<T> {
  return await withClient(source.connection, sessionOptions(source, purpose), signal, async (client) => {
    const server = await readServer(client);
    assertUsable(server);
    return await work(client, server);
  });
}

/** Everything that `read` asks for stands in one snapshot. */
export async function inSnapshot<T>(client: pg.ClientBase, read: () => Promise<T>): Promise<T> {
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  const result = await read();
  await client.query('COMMIT');
  return result;
}

/** All or nothing. A failure leaves the connection outside of any transaction. */
export async function inTransaction<T>(client: pg.ClientBase, work: () => Promise<T>): Promise<T> {
  await client.query('BEGIN');
  try {
    const result = await work();
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}
