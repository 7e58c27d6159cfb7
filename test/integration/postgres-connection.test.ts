// Connections to real servers: what is verified, what is refused, and what an error is called.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CausewayError } from '#core/errors.ts';
import type { Offset } from '#core/position.ts';
import type { Sink } from '#core/sink.ts';
import {
  clientConfig,
  connectionSchema,
  resolveConnection,
  valueSettings,
  withClient,
  type Connection,
  type SessionOptions,
} from '../../connectors/lib/postgres/connection.ts';
import { KeptClient } from '../../connectors/lib/postgres/kept-client.ts';
import { firstProgress } from '../../src/apply/sink-row.ts';
import { createAuthority } from '../support/certificates.ts';
import { postgresSink, takePartition } from '../support/postgres-sink-context.ts';
import { postgresSource } from '../support/postgres-source.ts';
import { freePort, PostgresServer } from '../support/postgres-server.ts';
import { describePostgres } from '../support/postgres.ts';

const options: SessionOptions = { applicationName: 'causeway/test', settings: valueSettings, role: 'source' };

function signal(): AbortSignal {
  return AbortSignal.timeout(60_000);
}

function connection(input: Readonly<Record<string, unknown>>): Connection {
  return resolveConnection(connectionSchema.parse(input));
}

describePostgres('connections', (major) => {
  const authority = createAuthority('the authority');
  const stranger = createAuthority('a stranger');
  let folder: string;
  let server: PostgresServer;
  let files: Readonly<Record<'ca' | 'strangerCa' | 'clientCert' | 'clientKey' | 'password', string>>;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'causeway-tls-'));
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const client = authority.issue({ name: 'certified' });
    files = {
      ca: file('ca.pem', authority.cert),
      strangerCa: file('stranger.pem', stranger.cert),
      clientCert: file('client.pem', client.cert),
      clientKey: file('client.key', client.key),
      password: file('password', 'causeway\n'),
    };
    const host = authority.issue({ name: 'db', hosts: ['127.0.0.1'] });
    server = await PostgresServer.create({
      major,
      tls: { ...host, clientCa: authority.cert },
      hba: ['hostssl all certified all cert', 'hostssl all all all scram-sha-256', 'hostnossl all all all reject'],
    });
  });

  afterAll(async () => {
    await server.dispose();
    rmSync(folder, { recursive: true });
  });

  const at = (more: Readonly<Record<string, unknown>>, host = '127.0.0.1'): Connection =>
    connection({ host, port: server.port, database: 'postgres', user: 'postgres', passwordFile: files.password, ...more });

  const encrypted = (to: Connection): Promise<unknown> =>
    withClient(
      to,
      options,
      signal(),
      async (client) => (await client.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')).rows[0] as unknown,
    );

  const codeOf = (to: Connection): Promise<unknown> => encrypted(to).catch((error: unknown) => (error as CausewayError).code);

  test('verify-full takes a server of the authority that names its host, and nothing else', async () => {
    expect(await encrypted(at({ tls: { mode: 'verify-full', ca: files.ca } }))).toEqual({ ssl: true });
    expect(await codeOf(at({ tls: { mode: 'verify-full', ca: files.strangerCa } }))).toBe('source_credentials');
    expect(await codeOf(at({ tls: { mode: 'verify-full' } }))).toBe('source_credentials');
    expect(await codeOf(at({ tls: { mode: 'verify-full', ca: files.ca } }, 'localhost'))).toBe('source_credentials');
  });

  test('verify-ca leaves the name out, require verifies nothing', async () => {
    expect(await encrypted(at({ tls: { mode: 'verify-ca', ca: files.ca } }, 'localhost'))).toEqual({ ssl: true });
    expect(await codeOf(at({ tls: { mode: 'verify-ca', ca: files.strangerCa } }))).toBe('source_credentials');
    expect(await encrypted(at({ tls: { mode: 'require' } }))).toEqual({ ssl: true });
  });

  test('a plain connection is refused by a server that wants TLS, and TLS by a server that has none', async () => {
    expect(await codeOf(at({ tls: { mode: 'disable' } }))).toBe('source_credentials');
    await using plain = await PostgresServer.create({ major });
    const to = connection({ url: plain.url(), tls: { mode: 'require' } });
    await expect(encrypted(to)).rejects.toMatchObject({
      code: 'source_credentials',
      message: expect.stringContaining('the server offers no TLS: turn `ssl` on there, or set `tls.mode`') as string,
    });
  });

  test('a client certificate is a login', async () => {
    const tls = { mode: 'verify-full', ca: files.ca, cert: files.clientCert, key: files.clientKey };
    await withClient(at({ tls: { mode: 'verify-full', ca: files.ca } }), options, signal(), (client) =>
      client.query('CREATE ROLE certified LOGIN'),
    );
    expect(await encrypted(connection({ host: '127.0.0.1', port: server.port, database: 'postgres', user: 'certified', tls }))).toEqual({
      ssl: true,
    });
  });

  test('the replication connection is verified like any other', async () => {
    const tables = ['public.*'];
    await withClient(at({ tls: { mode: 'verify-full', ca: files.ca } }), options, signal(), (client) =>
      client.query('CREATE TABLE IF NOT EXISTS public.a (id int PRIMARY KEY)'),
    );
    const url = `postgres://postgres@127.0.0.1:${server.port}/postgres`;
    const settings = { passwordFile: files.password, tls: { mode: 'verify-full', ca: files.ca } };
    await using source = postgresSource({ url, pipeline: 'tls', tables, settings });
    await source.provision('create', signal());
    await using _stream = await source.open(signal());
    const walsenders = await withClient(at({ tls: { mode: 'verify-full', ca: files.ca } }), options, signal(), (client) =>
      client.query(`SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_replication r USING (pid)`),
    );
    expect(walsenders.rows).toEqual([{ ssl: true }]);
    expect((await source.check(signal())).filter(({ id }) => id === 'G-004' || id === 'PG-004').map(({ level }) => level)).toEqual([
      'ok',
      'ok',
    ]);
  });

  test('the connections of a sink are verified like any other', async () => {
    const url = `postgres://postgres@127.0.0.1:${server.port}/postgres`;
    const tls = { mode: 'verify-full', ca: files.ca };
    const sinkAt = (to: string, settings: Readonly<Record<string, unknown>>): Sink =>
      postgresSink(to, { passwordFile: files.password, ...settings });
    await using sink = sinkAt(url, { tls });
    await sink.provision([], signal());
    await using partition = await takePartition(sink, 0, signal());
    await partition.save(firstProgress({ offset: 0 as Offset, sinkName: 's' }), signal());
    const sessions = await withClient(at({ tls }), options, signal(), (client) =>
      client.query(
        `SELECT DISTINCT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name LIKE 'causeway p/%'`,
      ),
    );
    expect(sessions.rows).toEqual([{ ssl: true }]);
    for (const [to, refused] of [
      [url, { tls: { mode: 'verify-full', ca: files.strangerCa } }],
      [url, { tls: { mode: 'verify-full' } }],
      [url.replace('127.0.0.1', 'localhost'), { tls }],
      [url, { tls: { mode: 'disable' } }],
    ] as const) {
      await using other = sinkAt(to, refused);
      await expect(other.provision([], signal())).rejects.toMatchObject({ code: 'sink_credentials' });
      await expect(takePartition(other, 1, signal())).rejects.toMatchObject({ code: 'sink_credentials' });
    }
  });

  test('a password file is read at each connection, without its last line break', async () => {
    const to = at({ tls: { mode: 'verify-full', ca: files.ca } });
    expect(await encrypted(to)).toEqual({ ssl: true });
    writeFileSync(files.password, 'another');
    try {
      const failure = await encrypted(to).catch((error: unknown) => error as CausewayError);
      expect(failure).toMatchObject({ code: 'source_credentials' });
      expect(String((failure as CausewayError).stack)).not.toContain('another');
    } finally {
      writeFileSync(files.password, 'causeway\n');
    }
    expect(await encrypted(to)).toEqual({ ssl: true });
    const without = connection({ url: `postgres://postgres@127.0.0.1:${server.port}/postgres`, tls: { mode: 'require' } });
    await expect(encrypted(without)).rejects.toThrow('set `passwordFile`');
    await expect(encrypted(at({ passwordFile: join(folder, 'absent'), tls: { mode: 'require' } }))).rejects.toThrow('ENOENT');
  });

  test('every setting reaches the session, with blanks and backslashes', async () => {
    const settings = { ...valueSettings, 'causeway.odd': 'a b\\c  d' };
    const to = at({ tls: { mode: 'require' } });
    const shown = await withClient(to, { ...options, settings }, signal(), async (client) => {
      const found: Record<string, string> = {};
      for (const name of Object.keys(settings)) {
        const { rows } = await client.query<{ value: string }>('SELECT current_setting($1) AS value', [name]);
        found[name] = rows[0]?.value ?? '';
      }
      return found;
    });
    expect(shown).toEqual(settings);
  });

  test('refused, unknown and silent servers are unavailable; an unknown database is not', async () => {
    const nobody = connection({ url: `postgres://me@127.0.0.1:${await freePort()}/x` });
    await expect(encrypted(nobody)).rejects.toMatchObject({ code: 'source_unavailable' });
    expect(await codeOf(connection({ url: 'postgres://me@no-such-host.invalid/x' }))).toBe('source_unavailable');
    expect(await codeOf(connection({ host: folder, database: 'x', user: 'me' }))).toBe('source_unavailable');
    expect(await codeOf(at({ database: 'absent', tls: { mode: 'require' } }))).toBe('source_misconfigured');
    const silent = createServer((socket) => socket.resume().on('error', () => undefined));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    expect(await codeOf(connection({ url: `postgres://me@127.0.0.1:${port}/x`, connectTimeout: '200ms' }))).toBe('source_unavailable');
    const stop = new AbortController();
    const reason = new Error('stopped');
    const waiting = withClient(connection({ url: `postgres://me@127.0.0.1:${port}/x` }), options, stop.signal, () => Promise.resolve());
    stop.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await new Promise((resolve) => silent.close(resolve));
  });

  test('the signal ends a statement that hangs', async () => {
    const stop = new AbortController();
    const running = withClient(at({ tls: { mode: 'require' } }), options, stop.signal, async (client) => {
      const pid = (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid;
      const hanging = client.query('SELECT pg_sleep(1000)');
      stop.abort(new Error(`stopped ${pid ?? 0}`));
      await hanging;
    });
    await expect(running).rejects.toThrow('stopped');
  });

  test('a kept connection is made again after it was ended', async () => {
    await using kept = new KeptClient(at({ tls: { mode: 'require' } }), options, () => Promise.resolve());
    const pid = (): Promise<number | undefined> =>
      kept.use(signal(), async (client) => (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid);
    const first = await pid();
    expect(await pid()).toBe(first);
    await expect(kept.use(signal(), (client) => client.query('SELECT pg_terminate_backend(pg_backend_pid())'))).rejects.toMatchObject({
      code: 'source_unavailable',
    });
    expect(await pid()).not.toBe(first);
    await expect(kept.use(signal(), (client) => client.query('SELECT 1 / 0'))).rejects.toMatchObject({ code: 'source_misconfigured' });
    expect(await pid()).toBeGreaterThan(0);
  });

  test('nothing of the environment reaches the driver', async () => {
    process.env['PGPASSWORD'] = 'causeway';
    process.env['PGOPTIONS'] = '-c work_mem=123456';
    try {
      const without = connection({ url: `postgres://postgres@127.0.0.1:${server.port}/postgres`, tls: { mode: 'require' } });
      expect(await codeOf(without)).toBe('source_credentials');
      const config = await clientConfig(at({ tls: { mode: 'require' } }), options, signal());
      expect(config.options).not.toContain('work_mem');
    } finally {
      delete process.env['PGPASSWORD'];
      delete process.env['PGOPTIONS'];
    }
  });
});
