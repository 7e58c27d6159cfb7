// The replication stream against real servers: what it shows for each kind of change.
import { expect, test } from 'vitest';
import type { SourceMessage } from '#core/event.ts';
import { lsnOfPosition } from '../../connectors/source-postgres/lsn.ts';
import { describePostgres } from '../support/postgres.ts';
import type { StreamFixtureOptions } from '../support/postgres-stream.ts';
import { beginOf, changes, commitOf, key, largeText, said, streamFixture } from '../support/stream-messages.ts';

describePostgres('the replication stream', (major) => {
  const fixture = (tables: string, options: Partial<StreamFixtureOptions> = {}): ReturnType<typeof streamFixture> =>
    streamFixture(major, tables, options);

  test('shows insert, update and delete with keys, rows and rising places', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY, name text, ok bool)');
    await using stream = await at.open();
    await at.client.query(`BEGIN; INSERT INTO t VALUES (1, 'é', true); UPDATE t SET name = NULL; DELETE FROM t; COMMIT`);
    const transaction = await stream.transaction();
    expect(transaction.map((message) => message.tag)).toEqual(['begin', 'schema', 'change', 'change', 'change', 'commit']);
    expect(said(transaction)).toEqual([
      { op: 'insert', key: key('public.t', '1'), row: ['1', 'é', 'true'] },
      { op: 'update', key: key('public.t', '1'), row: ['1', null, 'true'], oldKey: null },
      { op: 'delete', key: key('public.t', '1') },
    ]);
    const places = changes(transaction).map((change) => change.change);
    expect(places).toEqual([...places].sort((a, b) => (a < b ? -1 : 1)));
    expect(new Set(places).size).toBe(3);
    const begin = beginOf(transaction);
    expect(begin.commit).toBeGreaterThan(places[2] ?? 0n);
    expect(lsnOfPosition(commitOf(transaction).position)).toBeGreaterThan(begin.commit);
    const [{ micros, xid }] = (
      await at.client.query(`SELECT floor(extract(epoch FROM now()) * 1000000)::float8 AS micros, pg_current_xact_id()::text AS xid`)
    ).rows as [{ micros: number; xid: string }];
    expect(micros - begin.committedAt).toBeGreaterThan(0);
    expect(micros - begin.committedAt).toBeLessThan(60_000_000);
    expect(Number(xid)).toBeGreaterThan(Number(begin.transactionId));
    expect(begin.origin).toBe(null);
  });

  test('a change of the key carries the old key, under every replica identity that covers it', async () => {
    await using at = await fixture(`
      CREATE TABLE d (a int, b numeric, v text, PRIMARY KEY (b, a));
      CREATE TABLE f (LIKE d INCLUDING ALL); ALTER TABLE f REPLICA IDENTITY FULL;
      CREATE TABLE i (LIKE d INCLUDING ALL); ALTER TABLE i REPLICA IDENTITY USING INDEX i_pkey`);
    await using stream = await at.open();
    for (const table of ['d', 'f', 'i']) {
      await at.client.query(`INSERT INTO ${table} VALUES (1, 2.50, 'x')`);
      await at.client.query(`UPDATE ${table} SET v = 'y'`);
      await at.client.query(`UPDATE ${table} SET b = 2.5`);
      await at.client.query(`UPDATE ${table} SET a = 7`);
      await at.client.query(`DELETE FROM ${table}`);
      const name = `public.${table}`;
      expect((await stream.transactions(5)).flatMap(said)).toEqual([
        { op: 'insert', key: key(name, '2.5', '1'), row: ['1', '2.50', 'x'] },
        { op: 'update', key: key(name, '2.5', '1'), row: ['1', '2.50', 'y'], oldKey: null },
        // 2.50 and 2.5 are one key.
        { op: 'update', key: key(name, '2.5', '1'), row: ['1', '2.5', 'y'], oldKey: null },
        { op: 'update', key: key(name, '2.5', '7'), row: ['7', '2.5', 'y'], oldKey: key(name, '2.5', '1') },
        { op: 'delete', key: key(name, '2.5', '7') },
      ]);
    }
  });

  test('an unchanged large column is absent, and filled from a whole old row', async () => {
    await using at = await fixture(`
      CREATE TABLE d (id int PRIMARY KEY, n int, big text);
      CREATE TABLE f (LIKE d INCLUDING ALL); ALTER TABLE f REPLICA IDENTITY FULL`);
    await using stream = await at.open();
    for (const table of ['d', 'f']) {
      await at.client.query(`INSERT INTO ${table} VALUES (1, 1, ${largeText})`);
      await at.client.query(`UPDATE ${table} SET n = 2`);
      await at.client.query(`UPDATE ${table} SET id = 3`);
    }
    const shown = (await stream.transactions(6)).flatMap(changes);
    const [big, partial, moved, bigFull, filled, movedFull] = shown.map((change) => ('row' in change ? change.row[2] : null));
    expect(big).toHaveLength(6400);
    expect([partial, moved]).toEqual([undefined, undefined]);
    expect([bigFull, filled, movedFull]).toEqual([big, big, big]);
    expect(shown[2]).toMatchObject({ key: key('public.d', '3'), oldKey: key('public.d', '1') });
  });

  test('an unchanged large key is not a partial row', async () => {
    await using at = await fixture('CREATE TABLE t (id text PRIMARY KEY, n int); ALTER TABLE t ALTER id SET STORAGE EXTERNAL');
    await using stream = await at.open();
    await at.client.query(`INSERT INTO t VALUES (repeat('k', 2500), 1)`);
    await at.client.query(`UPDATE t SET n = 2`);
    await at.client.query(`DELETE FROM t`);
    const long = key('public.t', 'k'.repeat(2500));
    expect((await stream.transactions(3)).flatMap(said)).toEqual([
      { op: 'insert', key: long, row: ['k'.repeat(2500), '1'] },
      { op: 'update', key: long, row: ['k'.repeat(2500), '2'], oldKey: null },
      { op: 'delete', key: long },
    ]);
  });

  test('TRUNCATE names all its tables that are captured', async () => {
    await using at = await fixture(
      'CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY REFERENCES a); CREATE TABLE keyless (id int)',
    );
    await using stream = await at.open();
    await at.client.query(`INSERT INTO a SELECT generate_series(1, 3)`);
    await at.client.query(`TRUNCATE a, keyless CASCADE`);
    await at.client.query(`TRUNCATE keyless`);
    await at.client.query(`INSERT INTO b SELECT 1 WHERE false; INSERT INTO a VALUES (9)`);
    const [inserted, truncated, ...rest] = await stream.transactions(3);
    expect(said(inserted ?? [])).toHaveLength(3);
    const truncate = truncated?.find((message) => message.tag === 'truncate');
    expect(truncate?.tables.map((schema) => schema.table).sort()).toEqual(['public.a', 'public.b']);
    expect(truncate?.change).toBeGreaterThan(0n);
    expect(rest.flat().filter((message) => message.tag === 'truncate')).toEqual([]);
    expect(said(rest.flat())).toEqual([{ op: 'insert', key: key('public.a', '9'), row: ['9'] }]);
  });

  test('rows of one COPY record share their place', async () => {
    await using at = await fixture('CREATE TABLE a (id int PRIMARY KEY)');
    await using stream = await at.open();
    await at.client.query(`COPY a FROM PROGRAM 'printf "1\\n2\\n3\\n"'`);
    const shown = changes(await stream.transaction());
    expect(shown.map((change) => change.key)).toEqual([key('public.a', '1'), key('public.a', '2'), key('public.a', '3')]);
    expect(new Set(shown.map((change) => change.change)).size).toBe(1);
  });

  test('a new schema stands before the first change of its version, and after each connect', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    const first = await at.open();
    await at.client.query('INSERT INTO t VALUES (1)');
    await at.client.query('INSERT INTO t VALUES (2)');
    await at.client.query('BEGIN; INSERT INTO t VALUES (3); ALTER TABLE t ADD v text; INSERT INTO t VALUES (4, NULL); COMMIT');
    await at.client.query('VACUUM ANALYZE t');
    await at.client.query(`INSERT INTO t VALUES (5, 'x')`);
    const shown = (await first.transactions(4))
      .flat()
      .map((message) => (message.tag === 'schema' ? message.schema.columns.length : message.tag));
    expect(shown).toEqual([
      ...['begin', 1, 'change', 'commit'],
      ...['begin', 'change', 'commit'],
      ...['begin', 'change', 2, 'change', 'commit'],
      ...['begin', 'change', 'commit'],
    ]);
    await first[Symbol.asyncDispose]();
    await using second = await at.open();
    expect((await second.transaction()).map((message) => message.tag)).toEqual(['begin', 'schema', 'change', 'commit']);
  });

  test('a partitioned table shows its rows under the root, also one that moves between partitions', async () => {
    await using at = await fixture(`
      CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
      CREATE TABLE p1 (v text, id int NOT NULL); ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10);
      CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)`);
    await using stream = await at.open();
    await at.client.query(`INSERT INTO p VALUES (1, 'a')`);
    await at.client.query(`UPDATE p SET id = 12`);
    await at.client.query('TRUNCATE p');
    const [inserted, moved, truncated] = await stream.transactions(3);
    expect(said(inserted ?? [])).toEqual([{ op: 'insert', key: key('public.p', '1'), row: ['1', 'a'] }]);
    expect(said(moved ?? [])).toEqual([
      { op: 'delete', key: key('public.p', '1') },
      { op: 'insert', key: key('public.p', '12'), row: ['12', 'a'] },
    ]);
    expect(truncated?.find((message) => message.tag === 'truncate')?.tables.map((schema) => schema.table)).toEqual(['public.p']);
    expect(at.resolver.stops).toEqual([]);
  });

  test('a table whose replica identity does not cover the key is stopped alone', async () => {
    await using at = await fixture(`
      CREATE TABLE n (id int PRIMARY KEY); ALTER TABLE n REPLICA IDENTITY NOTHING;
      CREATE TABLE i (id int PRIMARY KEY, code int NOT NULL UNIQUE); ALTER TABLE i REPLICA IDENTITY USING INDEX i_code_key;
      CREATE TABLE p (id int PRIMARY KEY, code int NOT NULL) PARTITION BY RANGE (id);
      CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
      CREATE UNIQUE INDEX p1_code ON p1 (code); ALTER TABLE p1 REPLICA IDENTITY USING INDEX p1_code;
      CREATE TABLE good (id int PRIMARY KEY)`);
    await using stream = await at.open();
    await at.client
      .query(`BEGIN; INSERT INTO n VALUES (1); INSERT INTO i VALUES (1, 1); UPDATE i SET id = 2; INSERT INTO p VALUES (1, 1); UPDATE p SET id = 2;
      INSERT INTO good VALUES (1); COMMIT`);
    expect(said(await stream.transaction())).toEqual([{ op: 'insert', key: key('public.good', '1'), row: ['1'] }]);
    expect(at.resolver.stops.map((stop) => stop.table)).toEqual(['public.n', 'public.i', 'public.p']);
    // Set right again, the changes in between are still missing: only a new load brings the table back.
    await at.client.query('ALTER TABLE n REPLICA IDENTITY DEFAULT');
    await at.client.query('BEGIN; INSERT INTO n VALUES (2); INSERT INTO good VALUES (2); COMMIT');
    expect(said(await stream.transaction())).toEqual([{ op: 'insert', key: key('public.good', '2'), row: ['2'] }]);
  });

  test('a server or role default does not reach the values', async () => {
    await using at = await fixture(`
      CREATE TABLE t (id int PRIMARY KEY, a timestamptz, b interval, c bytea, d float8, e date);
      DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''', current_database());
      EXECUTE format('ALTER DATABASE %I SET datestyle = ''SQL, DMY''', current_database());
      EXECUTE format('ALTER DATABASE %I SET intervalstyle = ''sql_standard''', current_database());
      EXECUTE format('ALTER DATABASE %I SET bytea_output = ''escape''', current_database());
      EXECUTE format('ALTER DATABASE %I SET extra_float_digits = ''-3''', current_database()); END $$`);
    await using stream = await at.open();
    await at.client.query(
      `INSERT INTO t VALUES (1, '2026-01-02 03:04:05.123456+00', '1 day 2 seconds', '\\x00ff', 0.1::float8 + 0.2, '2026-01-02')`,
    );
    expect(said(await stream.transaction())).toEqual([
      {
        op: 'insert',
        key: key('public.t', '1'),
        row: ['1', '2026-01-02T03:04:05.123456Z', 'P1DT2S', 'AP8=', '0.30000000000000004', '2026-01-02'],
      },
    ]);
  });

  test('messages come at their place; those of other programs without their content', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    await using stream = await at.open();
    await at.client.query(`SELECT pg_logical_emit_message(false, 'causeway', 'at once')`);
    await at.client.query(
      `BEGIN; SELECT pg_logical_emit_message(true, 'causeway', 'L é'); SELECT pg_logical_emit_message(true, 'other', 'secret'); COMMIT`,
    );
    const seen: SourceMessage[] = [];
    while (seen.at(-1)?.tag !== 'commit') {
      const message = await stream.next();
      if (message.tag !== 'keepalive') seen.push(message);
    }
    expect(
      seen.map((message) => (message.tag === 'message' ? [message.prefix, message.content, message.transactional] : message.tag)),
    ).toEqual([['causeway', 'at once', false], 'begin', ['causeway', 'L é', true], ['other', '', true], 'commit']);
  });

  test('subtransactions appear as far as they were kept, a rolled-back transaction not at all', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    await using stream = await at.open();
    await at.client.query('BEGIN; INSERT INTO t VALUES (1); ROLLBACK');
    await at.client
      .query(`BEGIN; INSERT INTO t VALUES (2); SAVEPOINT a; INSERT INTO t VALUES (3); ROLLBACK TO a; SAVEPOINT b; INSERT INTO t VALUES (4);
      RELEASE b; COMMIT`);
    const transaction = await stream.transaction();
    expect(changes(transaction).map((change) => change.key)).toEqual([key('public.t', '2'), key('public.t', '4')]);
  });

  test('a prepared transaction appears at COMMIT PREPARED, with its place', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    await using stream = await at.open();
    await at.client.query('BEGIN; INSERT INTO t VALUES (1)');
    await at.client.query(`PREPARE TRANSACTION 'p_${at.slot}'`);
    await at.client.query('INSERT INTO t VALUES (2)');
    await at.client.query(`COMMIT PREPARED 'p_${at.slot}'`);
    const [second, first] = await stream.transactions(2);
    expect([second, first].map((transaction) => said(transaction ?? []))).toEqual([
      [{ op: 'insert', key: key('public.t', '2'), row: ['2'] }],
      [{ op: 'insert', key: key('public.t', '1'), row: ['1'] }],
    ]);
    expect(beginOf(first ?? []).commit).toBeGreaterThan(beginOf(second ?? []).commit);
  });

  test('a transaction that another replica wrote names its origin', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    await using stream = await at.open();
    const origin = `o_${at.slot}`;
    await at.client.query(`SELECT pg_replication_origin_create('${origin}'); SELECT pg_replication_origin_session_setup('${origin}')`);
    await at.client.query(`INSERT INTO t VALUES (1)`);
    await at.client.query(`SELECT pg_replication_origin_session_reset(); SELECT pg_replication_origin_drop('${origin}')`);
    const transactions = await stream.transactions(1);
    expect(beginOf(transactions[0] ?? []).origin).toBe(origin);
  });
});
