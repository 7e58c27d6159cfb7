import { readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { checkServerIdentity, type ConnectionOptions, type PeerCertificate } from 'node:tls';
import pg from 'pg';
import { CausewayError } from '#core/errors.ts';
import type { Connection } from './connection-config.ts';
import { rdsToken } from './iam.ts';
import { startupOptions } from './session-settings.ts';
import { postgresError, type Role } from './sqlstate.ts';

export {
  checkConnection,
  connectionFields,
  connectionSchema,
  databaseAt,
  describeConnection,
  resolveConnection,
} from './connection-config.ts';
export type { Connection, ConnectionInput } from './connection-config.ts';
export { valueSettings } from './session-settings.ts';
export { postgresError, sqlstateOf } from './sqlstate.ts';
export type { Role } from './sqlstate.ts';

export type SessionOptions = {
  readonly applicationName: string;
  /** Settings of the session, by the startup packet: they hold from its first statement on. */
  readonly settings: Readonly<Record<string, string>>;
  readonly role: Role;
  /** True for a connection to a walsender, which takes replication commands besides statements without parameters. */
  readonly replication?: boolean;
};

/** Long enough for a slow network, short enough that a peer which vanished is noticed while nothing is being sent. */
const KEEPALIVE_INITIAL_DELAY_MS = 10_000;

/**
 * What the driver needs for one connection; secrets and certificates are read now, so make a new one for each. Everything that
 * the driver would otherwise take from the environment or ~/.pgpass is set.
 */
export async function clientConfig(connection: Connection, options: SessionOptions, signal: AbortSignal): Promise<pg.ClientConfig> {
  const password = await readPassword(connection, options.role, signal);
  return {
    host: connection.host,
    port: connection.port,
    database: connection.database,
    user: connection.user,
    password: () => {
      if (password !== null) return password;
      throw new CausewayError(
        `${options.role}_credentials`,
        'the server asks for a password and none is configured: set `passwordFile` to a file that holds it',
      );
    },
    ssl: await tlsOptions(connection, options.role, signal),
    options: startupOptions(options.settings),
    client_encoding: 'UTF8',
    application_name: options.applicationName,
    connectionTimeoutMillis: connection.connectTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_INITIAL_DELAY_MS,
  };
}

/** A connection that is ready for statements. Errors, as CausewayError of the role's family: unavailable, credentials, misconfigured. */
export async function connect(connection: Connection, options: SessionOptions, signal: AbortSignal): Promise<pg.Client> {
  const { client } = await openClient(connection, options, signal);
  return client;
}

/**
 * Runs `work` on a connection of its own and closes it. The signal ends the connection, whatever it is waiting for. Errors of
 * the driver and the server become CausewayErrors; others pass through.
 */
export async function withClient<T>(
  connection: Connection,
  options: SessionOptions,
  signal: AbortSignal,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const open = await openClient(connection, options, signal);
  const abort = (): void => open.destroy();
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    return await work(open.client);
  } catch (error) {
    signal.throwIfAborted();
    throw postgresError(error, options.role);
  } finally {
    await open.close();
    signal.removeEventListener('abort', abort);
  }
}

export type OpenClient = {
  readonly client: pg.Client;
  /** False once the connection has ended. */
  isUsable(): boolean;
  /** Drops the connection now, whatever it is waiting for. */
  destroy(): void;
  /** Ends it politely where that is possible. */
  close(): Promise<void>;
};

export async function openClient(connection: Connection, options: SessionOptions, signal: AbortSignal): Promise<OpenClient> {
  signal.throwIfAborted();
  // A socket of our own, because the driver offers no way to give up a connection that does not answer.
  const socket = new Socket();
  const config = await clientConfig(connection, options, signal);
  const own = { ...config, stream: () => socket };
  // The types of the driver leave this one out.
  const client = new pg.Client(options.replication === true ? ({ ...own, replication: 'database' } as pg.ClientConfig) : own);
  // What was asked rejects by itself, and so does the next statement; without a listener the event would end the process.
  client.on('error', () => undefined);
  const abort = (): void => void socket.destroy();
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    await client.connect();
    signal.throwIfAborted();
  } catch (error) {
    socket.destroy();
    signal.throwIfAborted();
    // One byte, an N, is the whole answer of a server without TLS; the driver has only words for it.
    if (connection.tls.mode !== 'disable' && socket.bytesRead === 1) throw withoutTls(connection, options.role, error);
    throw connectError(error, connection, options.role);
  } finally {
    signal.removeEventListener('abort', abort);
  }
  return {
    client,
    isUsable: () => !socket.destroyed,
    destroy: () => void socket.destroy(),
    close: async () => {
      await farewell(client);
      socket.destroy();
    },
  };
}

/** Ends the connection politely, and waits for no answer: from a server that has vanished none would come. */
export async function farewell(client: pg.Client): Promise<void> {
  const { stream } = (client as unknown as { readonly connection: { readonly stream: Socket } }).connection;
  if (stream.destroyed) return;
  const ended = client.end().catch(() => undefined);
  stream.destroySoon();
  await ended;
}

/** Says which server it was. */
function connectError(error: unknown, connection: Connection, role: Role): CausewayError {
  const mapped = postgresError(error, role);
  const at = connection.host.startsWith('/') ? connection.host : `${connection.host}:${connection.port}`;
  const message = `cannot connect to database ${connection.database} at ${at} as ${connection.user}: ${mapped.message}`;
  return new CausewayError(mapped.code, message, mapped.cause === undefined ? {} : { cause: mapped.cause });
}

function withoutTls(connection: Connection, role: Role, cause: unknown): CausewayError {
  const words = `the server offers no TLS: turn \`ssl\` on there, or set \`tls.mode\` to \`disable\` where the way to it is safe`;
  return connectError(new CausewayError(`${role}_credentials`, words, { cause }), connection, role);
}

async function readPassword(connection: Connection, role: Role, signal: AbortSignal): Promise<string | null> {
  const { secret } = connection;
  switch (secret.tag) {
    case 'none':
      return null;
    case 'inline':
      return secret.reveal();
    case 'file':
      // Secret stores and editors end the file with a line break that is not part of the password.
      return (await readSecretFile(secret.path, 'passwordFile', role, signal)).replace(/\r?\n$/, '');
    case 'iam':
      return await rdsToken({ host: connection.host, port: connection.port, user: connection.user, region: secret.region }, role, signal);
  }
}

async function readSecretFile(path: string, what: string, role: Role, signal: AbortSignal): Promise<string> {
  try {
    return await readFile(path, { encoding: 'utf8', signal });
  } catch (error) {
    signal.throwIfAborted();
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new CausewayError(`${role}_credentials`, `${what} ${path} cannot be read: ${reason}`);
  }
}

async function tlsOptions(connection: Connection, role: Role, signal: AbortSignal): Promise<false | ConnectionOptions> {
  const { tls, host } = connection;
  if (tls.mode === 'disable') return false;
  const read = async (path: string | null, what: string): Promise<string | null> =>
    path === null ? null : await readSecretFile(path, what, role, signal);
  const ca = await read(tls.ca, 'tls.ca');
  const cert = await read(tls.cert, 'tls.cert');
  const key = await read(tls.key, 'tls.key');
  return {
    minVersion: 'TLSv1.2',
    ...(ca === null ? {} : { ca }),
    ...(cert === null ? {} : { cert }),
    ...(key === null ? {} : { key }),
    rejectUnauthorized: tls.mode !== 'require',
    // Against the configured name, never one that the driver or a resolver derived from it.
    checkServerIdentity: (_name: string, certificate: PeerCertificate) =>
      tls.mode === 'verify-full' ? checkServerIdentity(host, certificate) : undefined,
  };
}
