// The replication stream against real servers: what it acknowledges, how it is bounded, and how its connection is held, lost and ended.
import { expect, test } from 'vitest';
import type { MonoMs } from '#core/position.ts';
import { systemRuntime } from '../../src/runtime/runtime.ts';
import { lsnOfPosition } from '../../connectors/source-postgres/lsn.ts';
import { describeNewestPostgres, describePostgres, TestDatabase } from '../support/postgres.ts';
import { PostgresServer } from '../support/postgres-server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { StreamFixture, type StreamFixtureOptions } from '../support/postgres-stream.ts';
import { beginOf, changes, commitOf, said, streamFixture, untilFailure } from '../support/stream-messages.ts';

describePostgres('the connection of the replication stream', (major) => {
  const fixture = (tables: string, options: Partial<StreamFixtureOptions> = {}): ReturnType<typeof streamFixture> =>
    streamFixture(major, tables, options);

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

  test('a connection that drops the settings is refused', async () => {
    await using at = await fixture('CREATE TABLE t (id int PRIMARY KEY)', { settings: { bytea_output: 'escape' } });
    await expect(at.open()).rejects.toMatchObject({ code: 'source_misconfigured' });
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

  test(
    'a network that swallows what the server says ends the connection, and one that is only idle does not',
    { timeout: 30_000 },
    async () => {
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
    },
  );
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
