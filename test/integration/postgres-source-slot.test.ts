// What a real server tells of the slot beside its position.
import pg from 'pg';
import { expect, test } from 'vitest';
import type { SlotFacts } from '#core/source.ts';
import { soon } from '../support/daemon-ground.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';
import { OpenStream } from '../support/postgres-stream.ts';
import { postgresSource } from '../support/postgres-source.ts';

const signal = AbortSignal.timeout(110_000);

describePostgres('the slot', (major) => {
  async function slotAs(database: TestDatabase, url: string): Promise<SlotFacts | null> {
    await using source = postgresSource({ url, pipeline: database.name });
    return (await source.inspect(signal)).slot;
  }

  test('names its plugin, and from 17 on a standby can take it over', async () => {
    await using database = await TestDatabase.create(major);
    await database.query('CREATE TABLE t (id int PRIMARY KEY)');
    await using source = postgresSource({ url: database.url, pipeline: database.name });
    await source.provision('create', signal);
    expect((await source.inspect(signal)).slot).toMatchObject({ plugin: 'pgoutput', failover: major >= 17, spilledBytes: 0 });
  });

  test('tells what a large transaction spilled to the disk of the source', async () => {
    await using database = await TestDatabase.create(major);
    await database.query(
      `CREATE TABLE t (id int PRIMARY KEY, v text); ALTER DATABASE ${database.name} SET logical_decoding_work_mem = '64kB'`,
    );
    await using source = postgresSource({ url: database.url, pipeline: database.name });
    await source.provision('create', signal);
    await using stream = new OpenStream(await source.open(signal), signal);
    await database.query(`INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 500) i`);
    await stream.transaction();
    await expect.poll(async () => (await slotAs(database, database.url))?.spilledBytes, soon).toBeGreaterThan(500_000);
  });

  test('tells the age of the oldest open transaction that has written, where the role may see it', async () => {
    await using database = await TestDatabase.create(major);
    await database.query('CREATE TABLE t (id int PRIMARY KEY)');
    await using source = postgresSource({ url: database.url, pipeline: database.name });
    await source.provision('create', signal);
    const role = `r_${database.name}`;
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query(`CREATE ROLE ${role} LOGIN REPLICATION PASSWORD 'p'; GRANT EXECUTE ON FUNCTION pg_control_system() TO ${role}`);
      await client.query('BEGIN; INSERT INTO t VALUES (1)');
      expect((await slotAs(database, database.url))?.openTransactionSeconds).toBeGreaterThan(0);
      expect((await slotAs(database, database.urlAs(role, 'p')))?.openTransactionSeconds).toBe(null);
      await database.query(`GRANT pg_read_all_stats TO ${role}`);
      expect((await slotAs(database, database.urlAs(role, 'p')))?.openTransactionSeconds).toBeGreaterThan(0);
      await client.query('COMMIT');
    } finally {
      await client.query(`ROLLBACK; REVOKE EXECUTE ON FUNCTION pg_control_system() FROM ${role}; DROP OWNED BY ${role}; DROP ROLE ${role}`);
      await client.end();
    }
  });
});
