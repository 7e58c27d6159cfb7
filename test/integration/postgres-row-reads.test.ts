// What reads of rows beside the stream meet at a real server: tables that inherit, tables that are rewritten while they are read.
import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { codeOf } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { RowReader, RowsRead } from '#core/row-reader.ts';
import type { TableId } from '#core/schema.ts';
import { soon } from '../support/daemon-ground.ts';
import { postgresSource } from '../support/postgres-source.ts';
import { describeNewestPostgres, TestDatabase } from '../support/postgres.ts';

const signal = AbortSignal.timeout(120_000);

describeNewestPostgres('reads of rows', (major) => {
  async function withRows(
    table: string,
    definition: string,
    work: (rows: RowReader, database: TestDatabase) => Promise<void>,
  ): Promise<void> {
    await using database = await TestDatabase.create(major);
    await database.query(definition);
    await using source = postgresSource({ url: database.url, pipeline: database.name, tables: [table] });
    await source.provision('create', signal);
    await using _stream = await source.open(signal);
    await using rows = source.rows();
    await work(rows, database);
  }

  async function read(rows: RowReader, table: string): Promise<RowsRead> {
    const range = { tag: 'between', after: null, upTo: null } as const;
    const found = await rows.read({ table: table as TableId, range, rowsMax: 100, bytesMax: 100_000, accepts: () => true }, signal);
    return present(found, 'what was read');
  }

  test('a table that is inherited from is read without the rows of those that inherit', async () => {
    const definition = `CREATE TABLE base (id int PRIMARY KEY); CREATE TABLE heir (note text) INHERITS (base);
      INSERT INTO base VALUES (1); INSERT INTO heir VALUES (2, 'of another table')`;
    await withRows('public.base', definition, async (rows) => {
      expect((await read(rows, 'public.base')).rows.map(({ key }) => key)).toEqual(['["public.base","1"]']);
    });
  });

  test('a table that is being rewritten is read as it is afterwards, and not as an empty one', async () => {
    const definition = 'CREATE TABLE items (id int PRIMARY KEY, v int); INSERT INTO items SELECT g, g FROM generate_series(1, 10) g';
    await withRows('public.items', definition, async (rows, database) => {
      const before = await read(rows, 'public.items');
      const other = await database.connect();
      await other.query('BEGIN; ALTER TABLE items ALTER v TYPE bigint');
      const late = read(rows, 'public.items');
      const waits = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
      await expect.poll(() => database.query(waits), soon).toHaveLength(1);
      await other.query('COMMIT');
      await other.end();
      const after = await late;
      expect(after.rows).toEqual(before.rows);
      expect(after.schema.version).not.toBe(before.schema.version);
    });
  });

  test('what the publication filters out is not read, from the moment on that it does', async () => {
    const definition = `CREATE TABLE items (id int PRIMARY KEY, region text); INSERT INTO items VALUES (1, 'eu'), (2, 'us'), (3, 'eu'), (4, NULL)`;
    await withRows('public.items', definition, async (rows, database) => {
      const ids = async (): Promise<readonly (string | null | undefined)[]> =>
        (await read(rows, 'public.items')).rows.map(({ row }) => row?.[0]);
      expect(await ids()).toEqual(['1', '2', '3', '4']);
      const [publication] = await database.query<{ pubname: string }>('SELECT pubname FROM pg_publication');
      const member = `ALTER PUBLICATION "${publication?.pubname ?? ''}" SET TABLE`;
      await database.query('ALTER TABLE items REPLICA IDENTITY FULL');
      await database.query(`${member} items WHERE (region = 'eu' OR id = 4)`);
      expect(await ids()).toEqual(['1', '3', '4']);
      const range = { tag: 'keys', keys: ['["public.items","2"]', '["public.items","3"]'] as RowKey[] } as const;
      const found = await rows.read({ table: 'public.items' as TableId, range, rowsMax: 10, bytesMax: 1_000, accepts: () => true }, signal);
      expect(found?.rows.map(({ row }) => row?.[0])).toEqual(['3']);
      await database.query(`${member} items`);
      expect(await ids()).toEqual(['1', '2', '3', '4']);
    });
  });

  test('what is no key of the table is told by a code, and the connection reads on', async () => {
    const definition = `CREATE TABLE items (a int, at timestamptz, PRIMARY KEY (a, at)); INSERT INTO items VALUES (1, '2000-01-01 00:00:00Z')`;
    await withRows('public.items', definition, async (rows) => {
      const table = 'public.items' as TableId;
      const codeFor = async (...columns: readonly string[]): Promise<string> => {
        const range = { tag: 'keys', keys: [JSON.stringify([table, ...columns]) as RowKey] } as const;
        try {
          const found = await rows.read({ table, range, rowsMax: 10, bytesMax: 1_000, accepts: () => true }, signal);
          return String(found?.rows.length);
        } catch (error) {
          return codeOf(error);
        }
      };
      const [{ key } = { key: '' }] = (await read(rows, table)).rows;
      const [, ...columns] = JSON.parse(key) as readonly string[];
      expect(await codeFor('1')).toBe('source_table_refused');
      expect(await codeFor('1', 'yesterday')).toBe('source_table_refused');
      expect(await codeFor('one', columns[1] ?? '')).toBe('source_misconfigured');
      expect(await codeFor('99999999999', columns[1] ?? '')).toBe('source_misconfigured');
      expect(await codeFor(...columns)).toBe('1');
    });
  });
});
