// The control store in a Postgres, on real servers.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ControlKey, ControlStore } from '#core/control.ts';
import { configSchema } from '../../connectors/control-postgres/config.ts';
import { connector } from '../../connectors/control-postgres/index.ts';
import { controlStoreContract, countUp } from '../contract/control-store.ts';
import { networkedControlContract } from '../contract/control-store-network.ts';
import { PostgresServer } from '../support/postgres-server.ts';
import { describeNewestPostgres, describePostgres, TestDatabase } from '../support/postgres.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { realRuntime } from '../support/test-runtime.ts';
import { thrown } from '../support/thrown.ts';

const never = new AbortController().signal;
const at = 'lease/p' as ControlKey;
let stores = 0;

function openAt(url: string, of: { readonly leaseTtlMs?: number; readonly provision?: 'create' | 'check' } = {}): ControlStore {
  const { leaseTtlMs = 15_000, provision = 'create' } = of;
  stores += 1;
  const context = { runtime: realRuntime(stores), logger: silentLogger };
  return connector.create({ config: configSchema.parse({ kind: 'postgres', url, provision }), leaseTtlMs, context });
}

describePostgres('control-postgres', (major) => {
  controlStoreContract('postgres', async () => {
    const database = await TestDatabase.create(major);
    return { open: () => openAt(database.url), [Symbol.asyncDispose]: () => database.close() };
  });

  networkedControlContract('postgres', async () => {
    const database = await TestDatabase.create(major);
    const { hostname, port } = new URL(database.url);
    const direct = openAt(database.url);
    await direct.get(at, never);
    await direct[Symbol.asyncDispose]();
    return {
      ...{ host: hostname, port: Number(port) },
      open: (of) => {
        const url = new URL(database.url);
        if (of.port !== undefined) url.host = `127.0.0.1:${of.port}`;
        return openAt(url.href, { leaseTtlMs: of.leaseTtlMs });
      },
      [Symbol.asyncDispose]: () => database.close(),
    };
  });
});

describeNewestPostgres('the database of control-postgres', (major) => {
  let database: TestDatabase;
  let opened: AsyncDisposableStack;

  beforeEach(async () => {
    opened = new AsyncDisposableStack();
    database = opened.use(await TestDatabase.create(major));
  });

  afterEach(() => opened.disposeAsync());

  const open = (url = database.url, of: Parameters<typeof openAt>[1] = {}): ControlStore => opened.use(openAt(url, of));

  test('the DDL that a missing table asks for is all that is needed', async () => {
    const store = open(database.url, { provision: 'check' });
    const error = await thrown(store.get(at, never));
    expect(error.code).toBe('control_misconfigured');
    const [, ddl = ''] = error.message.split('`provision: create`):\n');
    expect(ddl).toContain('CREATE SCHEMA "causeway_control";\nCREATE TABLE "causeway_control".control_row');
    await database.query(ddl);
    expect(await store.get(at, never)).toBeNull();
    expect(await store.swap({ key: at, value: 1, expected: null }, never)).toMatchObject({ tag: 'stored' });
  });

  test('many that start at once make one table', async () => {
    const all = Array.from({ length: 8 }, () => open());
    await Promise.all(all.map((store) => countUp(store, at, 3)));
    expect((await open().get(at, never))?.value).toEqual({ count: 24 });
  });

  test('a schema that was made for us needs no right to make schemas', async () => {
    const role = `role_${database.name}`;
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'p'; CREATE SCHEMA causeway_control AUTHORIZATION ${role}`);
    const store = open(database.urlAs(role, 'p'));
    expect(await store.swap({ key: at, value: 1, expected: null }, never)).toMatchObject({ tag: 'stored' });
    await store[Symbol.asyncDispose]();
    await database.query(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
  });

  test('a right that is missing, a wrong password and a table of others are told apart', async () => {
    await open().swap({ key: at, value: 1, expected: null }, never);
    const role = `role_${database.name}`;
    await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'p'`);
    const lacking = await thrown(open(database.urlAs(role, 'p'), { provision: 'check' }).get(at, never));
    expect(lacking.code).toBe('control_credentials');
    expect(lacking.message).toContain('42501');
    await database.query(`DROP ROLE ${role}`);
    const gone = await thrown(open(database.urlAs(role, 'p')).get(at, never));
    expect(gone.code).toBe('control_credentials');
    expect(gone.message).not.toContain(':p@');
    expect((await thrown(open(database.url.replace(database.name, 'nowhere')).get(at, never))).code).toBe('control_misconfigured');

    await database.query("COMMENT ON TABLE causeway_control.control_row IS 'Causeway control store, format 2'");
    const newer = await thrown(open().get(at, never));
    expect([newer.code, newer.message.includes('format version 2, of a newer release')]).toEqual(['control_foreign', true]);
    await database.query("COMMENT ON TABLE causeway_control.control_row IS 'theirs'");
    expect((await thrown(open().get(at, never))).code).toBe('control_foreign');
    await database.query('DROP TABLE causeway_control.control_row; CREATE VIEW causeway_control.control_row AS SELECT 1');
    expect((await thrown(open().get(at, never))).code).toBe('control_foreign');
  });

  test('a table that a crash would empty is refused, with the statement that mends it', async () => {
    await open().get(at, never);
    await database.query('ALTER TABLE causeway_control.control_row SET UNLOGGED');
    const store = open();
    const error = await thrown(store.get(at, never));
    expect(error.code).toBe('control_misconfigured');
    await database.query(error.message.replace(/^.*: (?=ALTER)/, ''));
    expect(await store.get(at, never)).toBeNull();
  });

  test('a database that has not every character is refused', async () => {
    await using latin = await TestDatabase.create(major, 'LATIN1');
    expect((await thrown(open(latin.url).get(at, never))).code).toBe('control_misconfigured');
  });

  test('a role or a database cannot switch durability, isolation or writing off', async () => {
    await open().get(at, never);
    const owner = await database.connect();
    for (const setting of [
      "synchronous_commit = 'off'",
      "default_transaction_isolation = 'serializable'",
      'statement_timeout = 1',
      'idle_session_timeout = 1',
      "search_path = 'nowhere'",
      "default_transaction_read_only = 'on'",
    ]) {
      await owner.query(`ALTER DATABASE ${database.name} SET ${setting}`);
    }
    await owner.end();
    const store = open();
    await using proxy = await TcpProxy.create({ host: '127.0.0.1', port: Number(new URL(database.url).port) });
    expect(await store.swap({ key: at, value: 1, expected: null }, never)).toMatchObject({ tag: 'stored' });
    // Nobody but a session itself sees its settings, so they are read in the startup packet.
    const sent: string[] = [];
    proxy.onRequest = (piece) => {
      sent.push(piece.toString('latin1'));
      return 'pass';
    };
    const through = new URL(database.url);
    through.host = `127.0.0.1:${proxy.port}`;
    await open(through.href).get(at, never);
    expect(sent[0]).toContain('-c synchronous_commit=on');
    expect(sent[0]).toContain('-c statement_timeout=5000');
  });

  test('an update that waits for another one ends before the lease does, and nothing of it takes effect', async () => {
    const store = open(database.url, { leaseTtlMs: 1_500 });
    const stored = await store.swap({ key: at, value: 'before', expected: null }, never);
    if (stored.tag !== 'stored') throw new Error('not stored');
    const holder = await database.connect();
    try {
      await holder.query('BEGIN; SELECT FROM causeway_control.control_row FOR UPDATE');
      const error = await thrown(store.swap({ key: at, value: 'late', expected: stored.version }, never));
      expect(error.code).toBe('control_unavailable');
      const waiting = async (): Promise<number> =>
        (await holder.query("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")).rows.length;
      await expect.poll(waiting, { timeout: 10_000 }).toBe(0);
      await holder.query('COMMIT');
    } finally {
      await holder.end();
    }
    expect(await store.get(at, never)).toEqual({ key: at, value: 'before', version: stored.version });
  });

  test('a database that was restored from a copy gives no version out again', async () => {
    const store = open();
    const first = await store.swap({ key: at, value: 1, expected: null }, never);
    if (first.tag !== 'stored') throw new Error('not stored');
    const copy = await database.query<{ key: string; value: string; version: string }>(
      'SELECT key, value::text AS value, version FROM causeway_control.control_row',
    );
    const lost = await store.swap({ key: at, value: 2, expected: first.version }, never);
    if (lost.tag !== 'stored') throw new Error('not stored');
    await database.query('DELETE FROM causeway_control.control_row');
    for (const row of copy)
      await database.query('INSERT INTO causeway_control.control_row VALUES ($1, $2, $3)', [row.key, row.value, row.version]);
    expect(await open().swap({ key: at, value: 'another', expected: first.version }, never)).toMatchObject({ tag: 'stored' });
    expect(await store.swap({ key: at, value: 'sleeper', expected: lost.version }, never)).toMatchObject({ tag: 'conflict' });
  });

  test('the table that goes away under a store is made again, or asked for', async () => {
    const [making, checking] = [open(), open(database.url, { provision: 'check' })];
    await making.swap({ key: at, value: 1, expected: null }, never);
    await checking.get(at, never);
    await database.query('DROP SCHEMA causeway_control CASCADE');
    expect((await thrown(checking.get(at, never))).code).toBe('control_misconfigured');
    expect((await thrown(checking.get(at, never))).message).toContain('CREATE TABLE');
    expect((await thrown(making.get(at, never))).code).toBe('control_misconfigured');
    expect(await making.get(at, never)).toBeNull();
  });

  test('it names its database as a source or a sink does', async () => {
    const [row] = await database.query<{ name: string }>(
      `SELECT (pg_control_system()).system_identifier::text || '/' || oid::text AS name FROM pg_database WHERE datname = current_database()`,
    );
    expect(await open(database.url, { provision: 'check' }).database?.(never)).toBe(row?.name);
  });

  test('a server that does not tell which one it is keeps nobody from using it', async () => {
    const role = `role_${database.name}`;
    await database.query(
      `CREATE ROLE ${role} LOGIN PASSWORD 'p'; CREATE SCHEMA causeway_control AUTHORIZATION ${role};
       REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC`,
    );
    const store = open(database.urlAs(role, 'p'));
    expect(await store.database?.(never)).toBeNull();
    expect(await store.get(at, never)).toBeNull();
    await store[Symbol.asyncDispose]();
    await database.query(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
  });

  test('no call goes to a store that was closed', async () => {
    const store = openAt(database.url);
    await store.get(at, never);
    await store[Symbol.asyncDispose]();
    expect((await thrown(store.get(at, never))).code).toBe('control_unavailable');
  });
});

describeNewestPostgres('the server of control-postgres', (major) => {
  test('rows outlive a crash of the server, and a store goes on after it', async () => {
    await using server = await PostgresServer.create({ major, settings: { fsync: 'on' } });
    await using store = openAt(server.url());
    const stored = await store.swap({ key: at, value: 1, expected: null }, never);
    await server.kill();
    expect((await thrown(store.get(at, never))).code).toBe('control_unavailable');
    await server.start();
    const found = await store.get(at, never);
    expect({ tag: 'stored', version: found?.version }).toEqual(stored);
  });

  test('a standby is not read', async () => {
    await using server = await PostgresServer.create({ major });
    await using store = openAt(server.url());
    await store.swap({ key: at, value: 1, expected: null }, never);
    await server.stop();
    writeFileSync(join(server.dataDirectory, 'standby.signal'), '');
    await server.start();
    const error = await thrown(store.get(at, never));
    expect([error.code, error.message]).toEqual(['control_unavailable', expect.stringContaining('is a standby')]);
  });
});
