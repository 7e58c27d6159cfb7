// The servers that all other integration tests stand on.
import pg from 'pg';
import { expect, test } from 'vitest';
import { createAuthority } from '../support/certificates.ts';
import { PostgresServer } from '../support/postgres-server.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';

describePostgres('a test database', (major) => {
  test('is a database of its own on a server of the version, ready for logical decoding', async () => {
    await using database = await TestDatabase.create(major);
    await using other = await TestDatabase.create(major);
    await database.query('CREATE TABLE present (id int PRIMARY KEY)');
    expect(await other.query("SELECT to_regclass('public.present') AS found")).toEqual([{ found: null }]);
    const [row] = await database.query<{ version: number; wal_level: string; encoding: string }>(
      `SELECT current_setting('server_version_num')::int / 10000 AS version, current_setting('wal_level') AS wal_level,
              current_setting('server_encoding') AS encoding`,
    );
    expect(row).toEqual({ version: major, wal_level: 'logical', encoding: 'UTF8' });
  });

  test('goes away with its slots', async () => {
    const database = await TestDatabase.create(major);
    await database.query("SELECT pg_create_logical_replication_slot('left_behind_' || current_database(), 'pgoutput')");
    await database.close();
    await using other = await TestDatabase.create(major);
    expect(await other.query(`SELECT slot_name FROM pg_replication_slots WHERE database = '${database.name}'`)).toEqual([]);
  });

  test('a server of its own survives a kill with what was committed, on the same port', async () => {
    await using server = await PostgresServer.create({ major });
    await server.query('CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1)');
    const session = await server.connect();
    const port = server.port;
    await server.kill();
    await expect(session.query('SELECT 1')).rejects.toThrow();
    await expect(server.query('SELECT 1')).rejects.toThrow('ECONNREFUSED');
    await server.start();
    expect(server.port).toBe(port);
    expect(await server.query('SELECT id FROM kept')).toEqual([{ id: 1 }]);
  });

  test('a server with TLS is verified by its authority and its name', async () => {
    const authority = createAuthority('test authority');
    await using server = await PostgresServer.create({ major, tls: authority.issue({ name: 'db', hosts: ['127.0.0.1'] }) });
    const encrypted = async (ca: string): Promise<unknown> => {
      const client = new pg.Client({ connectionString: server.url(), ssl: { ca } });
      await client.connect();
      const { rows } = await client.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
      await client.end();
      return rows;
    };
    expect(await encrypted(authority.cert)).toEqual([{ ssl: true }]);
    await expect(encrypted(createAuthority('a stranger').cert)).rejects.toThrow(/certificate|signature/);
  });
});
