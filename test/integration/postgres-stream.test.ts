// The replication stream against real servers: what it shows for each kind of change, and what it may never do.
import { expect, test } from 'vitest';
import type { SourceChange, SourceMessage } from '#core/event.ts';
import type { RowKey } from '#core/key.ts';
import type { MonoMs } from '#core/position.ts';
import { systemRuntime } from '../../src/runtime/runtime.ts';
import { lsnOfPosition } from '../../connectors/source-postgres/lsn.ts';
import { describeNewestPostgres, describePostgres, TestDatabase } from '../support/postgres.ts';
import { PostgresServer } from '../support/postgres-server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { type OpenStream, StreamFixture, type StreamFixtureOptions } from '../support/postgres-stream.ts';

const key = (...parts: string[]): RowKey => JSON.stringify(parts) as RowKey;

function changes(messages: readonly SourceMessage[]): SourceChange[] {
  return messages.filter((message) => message.tag === 'change');
}

/** What a change says, without where it stands. */
function said(messages: readonly SourceMessage[]): unknown[] {
  return changes(messages).map(({ tag: _tag, schema: _schema, change: _change, ...rest }) => rest);
}

function commitOf(messages: readonly SourceMessage[]): Extract<SourceMessage, { tag: 'commit' }> {
  const last = messages.at(-1);
  if (last?.tag !== 'commit') throw new Error('a transaction ends with its commit');
  return last;
}

function beginOf(messages: readonly SourceMessage[]): Extract<SourceMessage, { tag: 'begin' }> {
  const first = messages[0];
  if (first?.tag !== 'begin') throw new Error('a transaction starts with its begin');
  return first;
}

async function untilFailure(stream: OpenStream): Promise<never> {
  while (true) await stream.next();
}

/** Too random to be compressed, so it is stored out of line. */
const largeText = `(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i)`;

describePostgres('the replication stream', (major) => {
  async function fixture(tables: string, options: Partial<StreamFixtureOptions> = {}): Promise<StreamFixture & AsyncDisposable> {
    const database = await TestDatabase.create(major);
    try {
      const made = await StreamFixture.create({ url: database.url, tables, ...options });
      const inner = made[Symbol.asyncDispose].bind(made);
      made[Symbol.asyncDispose] = async () => {
        await inner();
        await database.close();
      };
      return made;
    } catch (error) {
      await database.close();
      throw error;
    }
  }

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

  test('of two adjacent commits the second comes again when only the first was acknowledged', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    const first = await at.open();
    // Commits of many sessions at once are flushed together, so some stand side by side; without those this test shows nothing.
    const sessions = await Promise.all(Array.from({ length: 8 }, () => at.session()));
    let id = 0;
    let adjacent = 0;
    for (let round = 0; round < 20; round += 1) {
      await Promise.all(sessions.map((session) => session.query(`BEGIN; INSERT INTO t VALUES (${(id += 1)})`)));
      await Promise.all(sessions.map((session) => session.query('COMMIT')));
    }
    const shown = await first.transactions(sessions.length * 20);
    await first[Symbol.asyncDispose]();
    for (let index = 0; index + 1 < shown.length && adjacent < 3; index += 1) {
      const end = commitOf(shown[index] ?? []).position;
      if (lsnOfPosition(end) !== beginOf(shown[index + 1] ?? []).commit) continue;
      adjacent += 1;
      const again = await at.open();
      again.stream.acknowledge(end);
      expect(await at.eventually(`SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '${at.slot}'`, end)).toBe(
        end,
      );
      await again[Symbol.asyncDispose]();
      await using last = await at.open();
      expect(beginOf(await last.transaction()).commit).toBe(beginOf(shown[index + 1] ?? []).commit);
    }
    expect(adjacent).toBeGreaterThan(0);
  });

  test('acknowledges nothing by itself, and never falls', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)', { settings: { wal_sender_timeout: '1s' } });
    const before = await at.confirmedFlush();
    await using stream = await at.open();
    await at.client.query('INSERT INTO t VALUES (1)');
    await at.client.query('INSERT INTO t VALUES (2)');
    const [first, second] = await stream.transactions(2);
    await at.statusMessages(3);
    expect(await at.confirmedFlush()).toBe(before);
    const confirmed = `SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '${at.slot}'`;
    const end = commitOf(second ?? []).position;
    stream.stream.acknowledge(end);
    expect(await at.eventually(confirmed, end)).toBe(end);
    stream.stream.acknowledge(commitOf(first ?? []).position);
    await at.statusMessages(3);
    expect(await at.confirmedFlush()).toBe(end);
    const [told] = (
      await at.client.query<{ lsn: string }>(
        `SELECT flush_lsn::text AS lsn FROM pg_stat_replication WHERE pid = ${await at.walsenderPid()}`,
      )
    ).rows;
    expect(told?.lsn).toBe(end);
  });

  test('an idle stream shows keepalives that pass what is written elsewhere', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    await using stream = await at.open();
    await at.client.query(`SELECT pg_logical_emit_message(false, 'other', 'x')`);
    await at.client.query('CREATE TABLE elsewhere (id int)');
    const { rows } = await at.client.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn');
    const written = lsnOfPosition((rows[0]?.lsn ?? '') as never);
    let reached = 0n;
    while (reached < written) {
      const message = await stream.next();
      // PostgreSQL 14 shows a transaction without changes for us too.
      if (message.tag === 'keepalive' || message.tag === 'commit') reached = lsnOfPosition(message.position);
    }
    expect(reached).toBeGreaterThanOrEqual(written);
  });

  test('a slow reader stays connected far beyond the sender timeout', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY, v text)', {
      settings: { wal_sender_timeout: '500ms' },
      limits: { batchBytesMax: 4_096, queueBytesMax: 16_384, queueBytesResume: 8_192 },
    });
    await using stream = await at.open();
    const pid = await at.walsenderPid();
    await at.client.query(`INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i`);
    while (changes(await stream.batch()).length === 0);
    // The subject is the passing of time: four sender timeouts without a read.
    await at.client.query('SELECT pg_sleep(2)');
    const tags = new Set<string>();
    let rows = 0;
    while (!tags.has('commit')) {
      const batch = await stream.batch();
      rows += changes(batch).length;
      for (const message of batch) if (!tags.has('commit')) tags.add(message.tag);
    }
    expect(rows).toBeGreaterThan(19_900);
    // The server answered while the transaction went on; what it said of its place then is not to be acknowledged.
    expect([...tags].sort()).toEqual(['change', 'commit']);
    expect(await at.walsenderPid()).toBe(pid);
  });

  test('memory stays bounded below a transaction of 200 MB', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY, v text)');
    await using stream = await at.open();
    await at.client.query(`INSERT INTO t SELECT i, repeat(md5(i::text), 63) FROM generate_series(1, 100000) i`);
    globalThis.gc?.();
    const before = process.memoryUsage();
    let bytes = 0;
    let largest = 0;
    await stream.batch();
    // The reader stands still; a stream that went on reading would now hold the whole transaction.
    await at.client.query('SELECT pg_sleep(4)');
    let rssMax = process.memoryUsage().rss;
    expect((process.memoryUsage().heapUsed - before.heapUsed) / 1_048_576).toBeLessThan(60);
    while (bytes < 190_000_000) {
      const batch = await stream.batch();
      const size = changes(batch).reduce((sum, change) => sum + ('row' in change ? (change.row[1]?.length ?? 0) : 0), 0);
      largest = Math.max(largest, size);
      bytes += size;
      rssMax = Math.max(rssMax, process.memoryUsage().rss);
    }
    expect(largest).toBeLessThan(1_100_000);
    // Of which the young generation of the process that runs the tests takes a good part.
    expect((rssMax - before.rss) / 1_048_576).toBeLessThan(170);
  });

  test('a killed walsender is source_unavailable, after everything that came before it', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    const stream = await at.open();
    await at.client.query('INSERT INTO t VALUES (1)');
    await stream.transaction();
    await at.client.query('SELECT pg_terminate_backend($1)', [await at.walsenderPid()]);
    await expect(untilFailure(stream)).rejects.toMatchObject({ code: 'source_unavailable' });
    await stream[Symbol.asyncDispose]();
    await using again = await at.open();
    expect(said(await again.transaction())).toHaveLength(1);
  });

  test('a slot that is held is taken over, and its old reader is told', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    const first = await at.open();
    await using second = await at.open();
    await expect(untilFailure(first)).rejects.toMatchObject({ code: 'source_unavailable' });
    await at.client.query('INSERT INTO t VALUES (1)');
    expect(said(await second.transaction())).toHaveLength(1);
  });

  test('an open of a held slot without taking it is source_slot_in_use, of a missing one source_slot_lost', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    await using _held = await at.open();
    await expect(at.openWithoutTaking(at.slot)).rejects.toMatchObject({ code: 'source_slot_in_use' });
    await expect(at.openWithoutTaking('missing')).rejects.toMatchObject({ code: 'source_slot_lost' });
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

  test('a connection that drops the settings is refused', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)', { settings: { bytea_output: 'escape' } });
    await expect(at.open()).rejects.toMatchObject({ code: 'source_misconfigured' });
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

  test('an aborted signal ends the iteration and the connection at once', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    const controller = new AbortController();
    const stream = await at.open(controller.signal);
    const waiting = untilFailure(stream);
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    expect(await at.eventually(`SELECT active FROM pg_replication_slots WHERE slot_name = '${at.slot}'`, false)).toBe(false);
  });

  test('after the iteration is left, what is in hand can still be acknowledged', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)');
    await using stream = await at.open();
    await at.client.query('INSERT INTO t VALUES (1)');
    const end = commitOf(await stream.transaction()).position;
    await stream.leave();
    stream.stream.acknowledge(end);
    expect(await at.eventually(`SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '${at.slot}'`, end)).toBe(end);
  });

  test('disposed of, it has handed over its last acknowledgement, also while the server is still sending', async () => {
    const limits = { batchBytesMax: 1_000, queueBytesMax: 2_000, queueBytesResume: 1_000 };
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY, v text)', { limits });
    const stream = await at.open();
    await at.client.query('INSERT INTO t VALUES (1)');
    await at.client.query(`INSERT INTO t SELECT i, repeat(md5(i::text), 30) FROM generate_series(2, 20000) i`);
    const end = commitOf(await stream.transaction()).position;
    stream.stream.acknowledge(end);
    await stream[Symbol.asyncDispose]();
    expect([await at.confirmedFlush(), await at.walsenderPid()]).toEqual([end, null]);
  });

  test('a network that swallows what the server says ends the connection, and one that is only idle does not', async () => {
    await using database = await TestDatabase.create(major);
    const { hostname, port } = new URL(database.url);
    await using proxy = await TcpProxy.create({ host: hostname, port: Number(port) });
    const streamUrl = new URL(database.url);
    streamUrl.port = String(proxy.port);
    let nowMs = 0;
    await using at = await StreamFixture.create({
      url: database.url,
      streamUrl: streamUrl.href,
      tables: 'CREATE TABLE t (id int PRIMARY KEY)',
      // A status each 100 ms, and an answer to each.
      settings: { wal_sender_timeout: '400ms' },
      runtime: { ...systemRuntime, monotonicMs: () => nowMs as MonoMs },
    });
    await using stream = await at.open();
    // Answers keep it alive for longer than the limit, with nothing else to read.
    for (const later of [50_000, 100_000, 150_000]) {
      nowMs = later;
      await at.statusMessages(3);
    }
    await at.client.query('INSERT INTO t VALUES (1)');
    expect(said(await stream.transaction())).toHaveLength(1);
    proxy.onReply = () => 'swallow';
    await at.client.query('INSERT INTO t VALUES (2)');
    nowMs += 59_000;
    await at.statusMessages(3);
    nowMs += 2_000;
    await expect(untilFailure(stream)).rejects.toMatchObject({
      code: 'source_unavailable',
      message: expect.stringContaining('not answered') as string,
    });
    // What was swallowed comes again.
    proxy.onReply = () => 'pass';
    await using again = await at.open();
    expect((await again.transactions(2)).flatMap(said)).toHaveLength(2);
  });
});

describeNewestPostgres('the replication stream of a server that is stopped', (major) => {
  test('ends after what it had to send, and holds the stop up no longer than that', async () => {
    await using server = await PostgresServer.create({ major });
    await using at = await StreamFixture.create({ url: server.url(), tables: 'CREATE TABLE t (id int PRIMARY KEY)' });
    const stream = await at.open();
    // The catalogue is asked for the table while the server still answers.
    await at.client.query('INSERT INTO t VALUES (1)');
    await stream.transaction();
    await at.client.query('INSERT INTO t VALUES (2)');
    const stopped = server.stop();
    const transaction = await stream.transaction();
    expect(said(transaction)).toHaveLength(1);
    stream.stream.acknowledge(commitOf(transaction).position);
    await expect(untilFailure(stream)).rejects.toMatchObject({ code: 'source_unavailable' });
    await stopped;
  });
});
