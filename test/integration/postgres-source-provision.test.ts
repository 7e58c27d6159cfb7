// What the source makes and drops, which tables it refuses, and what happens to its slot.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { TableId } from '#core/schema.ts';
import type { Source, SourceFacts } from '#core/source.ts';
import { PostgresServer } from '../support/postgres-server.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';
import { postgresSource, selection, type SourceOptions } from '../support/postgres-source.ts';

const signal = AbortSignal.timeout(110_000);

describePostgres('provisioning', (major) => {
  async function withDatabase(
    tables: string,
    work: (database: TestDatabase, source: (options?: Partial<SourceOptions>) => Source) => Promise<void>,
  ): Promise<void> {
    await using database = await TestDatabase.create(major);
    if (tables !== '') await database.query(tables);
    const made: Source[] = [];
    const source = (options: Partial<SourceOptions> = {}): Source => {
      const one = postgresSource({ url: database.url, pipeline: database.name, ...options });
      made.push(one);
      return one;
    };
    try {
      await work(database, source);
    } finally {
      for (const one of made) await one[Symbol.asyncDispose]();
    }
  }

  const members = async (database: TestDatabase): Promise<readonly string[]> =>
    (await database.query<{ name: string }>(`SELECT schemaname || '.' || tablename AS name FROM pg_publication_tables ORDER BY 1`)).map(
      ({ name }) => name,
    );

  test('makes publication, schema and slot once, and changes nothing the second time', async () => {
    await withDatabase(
      `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE b1 PARTITION OF b DEFAULT;
       CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent)`,
      async (database, source) => {
        const one = source({ tables: ['public.*', '!public.child'] });
        await one.provision('create', signal);
        expect(await members(database)).toEqual(['public.a', 'public.b', 'public.parent']);
        const catalogue = `SELECT (SELECT json_agg(p ORDER BY pubname) FROM (SELECT *, xmin::text AS x FROM pg_publication) p)::text || (SELECT json_agg(r ORDER BY oid) FROM (SELECT *, xmin::text AS x FROM pg_publication_rel) r)::text AS text`;
        const before = await database.query<{ text: string }>(catalogue);
        await one.provision('keep', signal);
        await one.provision('create', signal);
        expect(await database.query(catalogue)).toEqual(before);
        const [publication] = await database.query(
          `SELECT pubviaroot AND pubinsert AND pubupdate AND pubdelete AND pubtruncate AND NOT puballtables AS whole FROM pg_publication`,
        );
        expect(publication).toEqual({ whole: true });
        const failover = major >= 17 ? 'failover' : 'NULL::bool';
        expect(
          await database.query(
            `SELECT plugin, ${failover} AS failover FROM pg_replication_slots WHERE slot_name = 'causeway_${database.name}'`,
          ),
        ).toEqual([{ plugin: 'pgoutput', failover: major >= 17 ? true : null }]);
        expect((await one.inspect(signal)).lineage).toEqual({ marks: [], heartbeats: 0 });
      },
    );
  });

  test('a later table is carried only once its rows were copied by hand, and one that is configured no more leaves', async () => {
    await withDatabase('CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)', async (database, source) => {
      await source().provision('create', signal);
      await database.query('CREATE TABLE c (id int PRIMARY KEY); CREATE TABLE d (id int PRIMARY KEY)');
      await source({ tables: ['public.*', selection('public.d', { snapshot: 'never' }), '!public.b'] }).provision('keep', signal);
      expect(await members(database)).toEqual(['public.a', 'public.d']);
    });
  });

  test('a table made later is carried once nobody writes it who did so before', async () => {
    await withDatabase('CREATE TABLE a (id int PRIMARY KEY)', async (database, source) => {
      const one = source();
      await one.provision('create', signal);
      await using stream = await one.open(signal);
      await database.query('CREATE TABLE later (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE leaf PARTITION OF later DEFAULT');
      const later = 'public.later' as TableId;
      const old = await database.connect();
      await old.query('BEGIN; INSERT INTO leaf VALUES (1)');
      const young = await database.connect();
      await young.query('BEGIN; INSERT INTO a VALUES (1)');
      expect(await one.follow([later, 'public.none' as TableId], signal)).toEqual([]);
      expect(await members(database)).toEqual(['public.a', 'public.later']);
      // Whoever writes it from now on is carried, and need not be waited for: though it began before, with another table.
      await young.query('INSERT INTO later VALUES (2)');
      expect(await one.follow([later], signal)).toEqual([]);
      const command = 'causeway snapshot start --table public.later';
      expect((await one.inspect(signal)).refused).toMatchObject([{ table: later, code: 'table_not_loaded', mend: command }]);
      await old.query('COMMIT');
      expect(await one.follow([later], signal)).toEqual([later]);
      expect((await one.inspect(signal)).tables.map(({ schema }) => schema.table)).toEqual(['public.a', later]);
      await stream[Symbol.asyncDispose]();
      await young.query('INSERT INTO later VALUES (3); COMMIT');
      await using again = await one.open(signal);
      const keys: string[] = [];
      for await (const messages of again.messages(signal)) {
        for (const message of messages) if (message.tag === 'change' && message.schema.table === later) keys.push(message.key);
        if (keys.length >= 2) break;
      }
      expect(keys).toEqual(['["public.later","2"]', '["public.later","3"]']);
      await old.end();
      await young.end();
    });
  });

  test('a table made or renamed while the stream is open is reported, not captured', async () => {
    await withDatabase('CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)', async (database, source) => {
      const one = source();
      await one.provision('create', signal);
      await using _stream = await one.open(signal);
      await database.query(
        `CREATE TABLE later (id int PRIMARY KEY); ALTER PUBLICATION causeway_${database.name} ADD TABLE later; ALTER TABLE b RENAME TO c`,
      );
      const facts = await one.inspect(signal);
      expect(facts.tables.map(({ schema }) => schema.table)).toEqual(['public.a']);
      expect(facts.refused.map(({ table, code }) => [table, code])).toEqual([
        ['public.c', 'table_renamed'],
        ['public.later', 'table_not_loaded'],
      ]);
    });
  });

  test('each table that cannot be captured is refused with what mends it', async () => {
    await withDatabase(
      `CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
       CREATE TABLE good (id int PRIMARY KEY);
       CREATE TABLE nokey (id int);
       CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
       CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
       CREATE TABLE jsonkey (id jsonb PRIMARY KEY);
       CREATE TABLE arraykey (id int[] PRIMARY KEY);
       CREATE TABLE loosekey (id text COLLATE loose PRIMARY KEY);
       CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
       CREATE TABLE other (id int PRIMARY KEY, u int NOT NULL UNIQUE); ALTER TABLE other REPLICA IDENTITY USING INDEX other_u_key;
       CREATE TABLE byindex (id int PRIMARY KEY); ALTER TABLE byindex REPLICA IDENTITY USING INDEX byindex_pkey;
       CREATE TABLE whole (id int PRIMARY KEY); ALTER TABLE whole REPLICA IDENTITY FULL;
       CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
       CREATE TABLE leaf PARTITION OF root DEFAULT; ALTER TABLE leaf REPLICA IDENTITY NOTHING;
       CREATE VIEW seen AS SELECT 1 AS id;
       CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE far (id int) SERVER s;
       CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.good (id int PRIMARY KEY)`,
      async (_database, source) => {
        const one = source({
          tables: ['public.*', 'public.seen', 'public.gone', 'public.leaf', selection('elsewhere.*', { target: 'public.*' })],
        });
        const facts = await one.inspect(signal);
        expect(Object.fromEntries(facts.refused.map(({ table, code }) => [table, code]))).toEqual({
          'public.gone': 'table_missing',
          'public.nokey': 'no_primary_key',
          'public.deferred': 'deferrable_key',
          'public.unlogged': 'unlogged_table',
          'public.jsonkey': 'key_type',
          'public.arraykey': 'key_type',
          'public.loosekey': 'key_collation',
          'public.nothing': 'identity_lacks_key',
          'public.other': 'identity_lacks_key',
          'public.root': 'identity_lacks_key',
          'public.leaf': 'table_is_partition',
          'public.seen': 'not_a_table',
          'public.far': 'foreign_table',
          'public.good': 'targets_collide',
          'elsewhere.good': 'targets_collide',
        });
        expect(facts.tables.map(({ schema }) => schema.table)).toEqual(['public.byindex', 'public.whole']);
        expect(facts.refused.every(({ reason, mend }) => reason !== '' && mend !== '')).toBe(true);
      },
    );
  });

  test('statements that mend a refusal do mend it', async () => {
    await withDatabase(
      `CREATE TABLE deferred (a int, b int, CONSTRAINT "the key" PRIMARY KEY (b, a) DEFERRABLE); CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
       CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING`,
      async (database, source) => {
        const one = source();
        const { refused } = await one.inspect(signal);
        expect(refused).toHaveLength(3);
        for (const { mend } of refused) await database.query(mend);
        const facts = await one.inspect(signal);
        expect(facts.refused).toEqual([]);
        expect(facts.tables.find(({ schema }) => schema.table === 'public.deferred')?.schema.key).toEqual([1, 0]);
      },
    );
  });

  test('a parent of plain inheritance holds its own rows only', async () => {
    await withDatabase(
      `CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent); INSERT INTO child VALUES (1);
       INSERT INTO parent VALUES (2); DELETE FROM ONLY parent`,
      async (_database, source) => {
        const facts = await source().inspect(signal);
        expect(facts.tables.map(({ schema, holdsRows }) => [schema.table, holdsRows])).toEqual([
          ['public.child', true],
          ['public.parent', false],
        ]);
      },
    );
  });

  test('how many rows a table holds is what the server reckons with, of a partitioned one its leaves together', async () => {
    await withDatabase(
      `CREATE TABLE plain (id int PRIMARY KEY) WITH (autovacuum_enabled = false); INSERT INTO plain SELECT pg_catalog.generate_series(1, 500);
       CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
       CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100) WITH (autovacuum_enabled = false);
       CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO (1000) WITH (autovacuum_enabled = false);
       CREATE TABLE parted_none PARTITION OF parted FOR VALUES FROM (1000) TO (2000) WITH (autovacuum_enabled = false);
       INSERT INTO parted SELECT pg_catalog.generate_series(1, 300)`,
      async (database, source) => {
        const one = source();
        const tables = async (): Promise<SourceFacts['tables']> => (await one.inspect(signal)).tables;
        const before = await tables();
        expect(before.map(({ schema, rowsExpected }) => [schema.table, rowsExpected])).toEqual([
          ['public.parted', null],
          ['public.plain', null],
        ]);
        await database.query('ANALYZE plain; ANALYZE parted_low');
        expect((await tables()).map(({ rowsExpected }) => rowsExpected)).toEqual([null, 500]);
        await database.query('ANALYZE parted_high');
        const after = await tables();
        expect(after.map(({ rowsExpected }) => rowsExpected)).toEqual([300, 500]);
        expect(after.map(({ fingerprint }) => fingerprint)).toEqual(before.map(({ fingerprint }) => fingerprint));
      },
    );
  });

  test('generated columns are left out, unless the publication sends them', async () => {
    await withDatabase('CREATE TABLE a (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)', async (database, source) => {
      const names = async (): Promise<unknown> => (await source().inspect(signal)).tables[0]?.schema.columns.map(({ name }) => name);
      await source().provision('create', signal);
      expect(await names()).toEqual(['id']);
      if (major < 18) return;
      await database.query(`ALTER PUBLICATION causeway_${database.name} SET (publish_generated_columns = stored)`);
      expect(await names()).toEqual(['id', 'twice']);
    });
  });

  test('a slot that is dropped is missed, one that the server gave up is unusable, and neither is opened', async () => {
    await using server = await PostgresServer.create({
      major,
      settings: { max_slot_wal_keep_size: '1MB', wal_keep_size: '0', max_wal_size: '32MB', min_wal_size: '32MB' },
    });
    await server.query('CREATE TABLE a (id int PRIMARY KEY)');
    await using source = postgresSource({ url: server.url(), pipeline: 'main' });
    await source.provision('create', signal);
    await server.query(`SELECT pg_drop_replication_slot('causeway_main')`);
    expect((await source.inspect(signal)).slot).toBe(null);
    await expect(source.open(signal)).rejects.toMatchObject({ code: 'source_slot_lost' });
    await source.provision('create', signal);
    expect((await source.inspect(signal)).slot?.headroomBytes).toBeGreaterThan(0);
    for (let index = 0; index < 4; index += 1) {
      await server.query('INSERT INTO a VALUES (1); DELETE FROM a; SELECT pg_switch_wal()');
    }
    await server.query('CHECKPOINT');
    const slot = (await source.inspect(signal)).slot;
    expect(slot?.unusable).toContain('lost');
    await expect(source.open(signal)).rejects.toMatchObject({ code: 'source_slot_lost' });
    expect((await source.check(signal)).find(({ id }) => id === 'PG-010')?.level).toBe('error');
    expect(await source.provision('recreate', signal)).not.toBe(null);
    expect((await source.inspect(signal)).slot?.unusable).toBe(null);
  });

  test('a slot of another plugin is not taken', async () => {
    await withDatabase('CREATE TABLE a (id int PRIMARY KEY)', async (database, source) => {
      await database
        .query(`SELECT pg_create_logical_replication_slot('causeway_${database.name}', 'test_decoding')`)
        .catch(() => database.query(`SELECT pg_create_physical_replication_slot('causeway_${database.name}')`));
      await expect(source().inspect(signal)).rejects.toMatchObject({ code: 'source_misconfigured' });
      await database.query(`SELECT pg_drop_replication_slot('causeway_${database.name}')`);
    });
  });

  test('removal leaves the marks of a deployment that has the same name and another slot', async () => {
    await withDatabase('CREATE TABLE a (id int PRIMARY KEY)', async (database, source) => {
      const name = `causeway_${database.name}_b`;
      const one = source();
      const other = source({ settings: { slot: name, publication: name } });
      for (const each of [one, other]) {
        await each.provision('create', signal);
        await each.addMark(signal);
        await each.heartbeat(signal);
      }
      await one.deprovision(signal);
      expect((await other.inspect(signal)).lineage).toEqual({ marks: [expect.any(String)], heartbeats: 1 });
    });
  });

  test('removal leaves a publication that another deployment captures through, and the last one drops it', async () => {
    await withDatabase('CREATE TABLE a (id int PRIMARY KEY)', async (database, source) => {
      const publication = `causeway_${database.name}`;
      const one = source();
      const other = source({ settings: { slot: `${publication}_b`, publication } });
      for (const each of [one, other]) {
        await each.provision('create', signal);
        await each.addMark(signal);
      }
      expect(await one.deprovision(signal)).toEqual([
        `replication slot ${publication}`,
        `not publication ${publication}, which is used with ${publication}_b too: DROP PUBLICATION "${publication}"; removes it`,
        `the rows of ${publication} in causeway.heartbeat and causeway.lineage`,
      ]);
      {
        await using stream = await other.open(signal);
        await database.query('INSERT INTO a VALUES (1)');
        for await (const batch of stream.messages(signal)) if (batch.some(({ tag }) => tag === 'change')) break;
      }
      expect(await other.deprovision(signal)).toContain(`publication ${publication}`);
      expect(await members(database)).toEqual([]);
    });
  });

  test('removal leaves nothing, and says what it dropped', async () => {
    await withDatabase('CREATE TABLE a (id int PRIMARY KEY)', async (database, source) => {
      const one = source();
      await one.provision('create', signal);
      await one.heartbeat(signal);
      const other = source({ pipeline: `${database.name}_b` });
      await other.heartbeat(signal);
      expect(await one.deprovision(signal)).toEqual([
        `replication slot causeway_${database.name}`,
        `publication causeway_${database.name}`,
        `the rows of causeway_${database.name} in causeway.heartbeat and causeway.lineage`,
      ]);
      expect(await other.deprovision(signal)).toEqual(['schema causeway with its tables heartbeat and lineage']);
      expect(await one.deprovision(signal)).toEqual([]);
      expect(await database.query(`SELECT nspname FROM pg_namespace WHERE nspname = 'causeway'`)).toEqual([]);
    });
  });

  test('a role with exactly the privileges of docs/privileges.md can capture; without the right to write it still can', async () => {
    const [privileges = '', publish = ''] = [...readFileSync('docs/privileges.md', 'utf8').matchAll(/```sql\n([\s\S]*?)```/g)].map(
      (match) => match[1],
    );
    await withDatabase(
      'CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE customers (id int PRIMARY KEY)',
      async (database, source) => {
        const role = `role_${database.name}`;
        const named = (text: string): string =>
          text
            .replaceAll(/\b(TO|ROLE) causeway\b/g, `$1 ${role}`)
            .replaceAll('DATABASE shop', `DATABASE ${database.name}`)
            .replaceAll('causeway_main', `causeway_${database.name}`);
        const drop = `DROP OWNED BY ${role}; DROP ROLE ${role}`;
        await database.query(named(privileges));
        try {
          const one = source({ url: database.urlAs(role, 'choose-one') });
          await expect(one.provision('create', signal)).rejects.toMatchObject({ code: 'source_permission' });
          const published = async (): Promise<string | undefined> => (await one.check(signal)).find(({ id }) => id === 'PG-007')?.level;
          expect(await published()).toBe('error');
          await database.query(named(publish));
          expect(await published()).toBe('ok');
          await one.provision('create', signal);
          await using stream = await one.open(signal);
          await one.heartbeat(signal);
          const mark = await one.addMark(signal);
          expect((await one.inspect(signal)).lineage).toEqual({ marks: [mark?.id], heartbeats: 1 });
          await database.query('INSERT INTO orders VALUES (1)');
          for await (const batch of stream.messages(signal)) if (batch.some(({ tag }) => tag === 'change')) break;
          expect(await database.query(`SELECT counter::int FROM causeway.heartbeat`)).toEqual([{ counter: 1 }]);
          expect((await one.inspect(signal)).tables.map(({ holdsRows }) => holdsRows)).toEqual([false, true]);
          const findings = await one.check(signal);
          expect(findings.filter(({ level }) => level === 'error')).toEqual([]);
          await database.query(`REVOKE ALL ON causeway.heartbeat, causeway.lineage FROM ${role}`);
          expect(await one.heartbeat(signal)).toEqual({ at: expect.any(Number) as number, counter: null });
          expect(await one.addMark(signal)).toBe(null);
          expect((await one.inspect(signal)).lineage).toBe(null);
          expect((await one.check(signal)).find(({ id }) => id === 'PG-012')?.level).toBe('warning');
          await database.query(`REVOKE SELECT ON orders FROM ${role}`);
          expect((await one.check(signal)).find(({ id }) => id === 'PG-006')).toMatchObject({
            level: 'error',
            details: ['public.orders: no right to SELECT'],
          });
          expect(await one.deprovision(signal)).toEqual([
            `replication slot causeway_${database.name}`,
            `not publication causeway_${database.name}: the role may not read in causeway.lineage who else uses it: DROP PUBLICATION "causeway_${database.name}"; removes it`,
            'nothing of schema causeway, which the role may not change',
          ]);
        } finally {
          await database.query(drop);
        }
      },
    );
  });

  test('check finds what is wrong with a server, and its statements mend it', async () => {
    await using server = await PostgresServer.create({ major, settings: { wal_level: 'replica', max_replication_slots: '1' } });
    await server.query(`CREATE TABLE a (id int PRIMARY KEY, note text); CREATE TABLE nokey (id int); CREATE ROLE weak LOGIN PASSWORD 'pw'`);
    const levels = async (source: Source): Promise<Record<string, string>> =>
      Object.fromEntries((await source.check(signal)).filter(({ level }) => level !== 'ok').map(({ id, level }) => [id, level]));
    await using weak = postgresSource({ url: server.url('postgres', { user: 'weak', password: 'pw' }), pipeline: 'main' });
    expect(await levels(weak)).toMatchObject({
      'PG-002': 'error',
      'PG-003': 'error',
      'PG-004': 'error',
      'PG-005': 'warning',
      'PG-006': 'error',
      'PG-012': 'warning',
    });
    await using source = postgresSource({ url: server.url(), pipeline: 'main' });
    expect(await levels(source)).toMatchObject({
      'PG-002': 'error',
      'PG-005': 'warning',
      'PG-007': 'warning',
      'PG-008': 'warning',
      'PG-009': 'warning',
    });
    await expect(source.provision('create', signal)).rejects.toMatchObject({ code: 'source_misconfigured' });
    for (const id of ['PG-002', 'PG-005', 'PG-009']) {
      for (const { mend } of (await source.check(signal)).filter((finding) => finding.id === id)) {
        for (const statement of mend.flatMap((text) => text.replace(/--.*$/, '').split(';')).filter((text) => text.trim() !== ''))
          await server.query(statement);
      }
    }
    await server.query('DROP TABLE nokey');
    await server.restart();
    await source.provision('create', signal);
    const after = await levels(source);
    for (const id of ['PG-002', 'PG-005', 'PG-009']) expect(after[id]).toBe(undefined);
  });
});
