// What an operator meets in the data: every kind of table, rows that a sink refuses, schemas that change, a truncate.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { describePostgres } from '../support/postgres.ts';

describePostgres('data through the daemon', (major) => {
  let ground: DaemonGround;

  beforeAll(async () => {
    ground = await DaemonGround.create(major, { sinks: ['copy', 'other'], log: ', recordBytesMax: 64KiB' });
    await ground.source.query(
      `CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
       CREATE TABLE kinds (id int PRIMARY KEY, m mood, p positive, tags text[], moods mood[], doc jsonb,
         twice int GENERATED ALWAYS AS (id * 2) STORED);
       CREATE TABLE measured (at date, id int, v float8, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
       CREATE TABLE measured_old PARTITION OF measured FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
       CREATE TABLE measured_new PARTITION OF measured FOR VALUES FROM ('2020-01-01') TO (MAXVALUE) PARTITION BY LIST (id);
       CREATE TABLE measured_new_any PARTITION OF measured_new DEFAULT;
       CREATE TABLE by_default (id int PRIMARY KEY, big text, k int); ALTER TABLE by_default ALTER big SET STORAGE EXTERNAL;
       CREATE TABLE by_index (LIKE by_default INCLUDING ALL); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_pkey;
       CREATE TABLE in_full (LIKE by_default INCLUDING ALL); ALTER TABLE in_full REPLICA IDENTITY FULL;
       CREATE TABLE evolving (id int PRIMARY KEY, n int);
       CREATE TABLE refused (id int PRIMARY KEY, n int);
       CREATE TABLE emptied (id int PRIMARY KEY, n int)`,
    );
    await ground.start();
  });

  afterAll(async () => {
    await ground[Symbol.asyncDispose]();
  });

  async function expectEqual(...queries: readonly string[]): Promise<void> {
    for (const query of queries) {
      const rows = await ground.source.query(query);
      for (const sink of ground.sinks.values()) await expect.poll(() => sink.query(query), soon).toEqual(rows);
    }
  }

  const expectAtSink = async (query: string, rows: readonly unknown[]): Promise<void> => {
    await expect.poll(() => ground.sink.query(query), soon).toEqual(rows);
  };

  const parked = async (): Promise<readonly string[]> =>
    (
      JSON.parse((await ground.causeway('dlq', 'list', '--sink', 'copy', '-o', 'json')).out) as { parked: { key: string; code: string }[] }
    ).parked.map(({ key, code }) => `${code} ${key}`);

  /** Keys that the sink ever lacked the base of. */
  const parkedEver = async (sink: string): Promise<number> => {
    const text = await (await fetch(`http://127.0.0.1:${ground.port}/metrics`)).text();
    const line = text
      .split('\n')
      .find((one) => /^causeway_dlq_records_total\{/.test(one) && one.includes(`sink="${sink}"`) && one.includes('"partial_without_base"'));
    return Number(line?.split(' ').at(-1) ?? 0);
  };

  test('enums, domains, arrays, generated columns, partitions and COPY arrive as they are', async () => {
    const [row] = await ground.source.query<{ folder: string }>(`SELECT current_setting('data_directory') AS folder`);
    const copied = `'${row?.folder ?? ''}/${ground.source.name}.copy'`;
    await ground.source.query(
      `INSERT INTO kinds VALUES (1, 'sad', 1, '{a,NULL,"b,c"}', '{glad,sad}', '{"a": 1.50}'), (2, NULL, NULL, NULL, '{}', 'null');
       UPDATE kinds SET m = 'glad', id = 3 WHERE id = 2;
       COPY (SELECT date '2019-12-01' + g, g, g / 7.0 FROM generate_series(1, 500) g) TO ${copied}; COPY measured FROM ${copied};
       UPDATE measured SET at = at + 100 WHERE id < 20; DELETE FROM measured WHERE id > 490`,
    );
    await expectEqual(
      'SELECT id, m, p, tags, moods::text, doc::text FROM kinds ORDER BY id',
      'SELECT at::text, id, v FROM measured ORDER BY id, at',
    );
    // The target makes no copy of what it can generate again.
    await expectAtSink(`SELECT FROM pg_attribute WHERE attrelid = 'kinds'::regclass AND attname = 'twice'`, []);
  });

  test('a large value that an update leaves alone stays, under every replica identity', async () => {
    for (const table of ['by_default', 'by_index', 'in_full']) {
      await ground.source.query(
        `INSERT INTO ${table} SELECT g, repeat(g::text, 10000), 0 FROM generate_series(1, 3) g; UPDATE ${table} SET k = 1 WHERE id = 1`,
      );
      await ground.source.query(
        `UPDATE ${table} SET k = 2 WHERE id = 2; UPDATE ${table} SET big = NULL WHERE id = 3; DELETE FROM ${table} WHERE id = 3`,
      );
      await expectEqual(`SELECT id, md5(big) AS big, k FROM ${table} ORDER BY id`);
    }
    await expect.poll(parked, soon).toEqual([]);
  });

  test('a key that changes beside such a value parks where the source does not say it, and is repaired by itself', async () => {
    await ground.source.query(`UPDATE in_full SET id = 11 WHERE id = 1; UPDATE by_default SET id = 11 WHERE id = 1`);
    await expectEqual('SELECT id, md5(big) AS big, k FROM in_full ORDER BY id');
    await expectEqual('SELECT id, md5(big) AS big, k FROM by_default ORDER BY id');
    await expect.poll(parked, soon).toEqual([]);
    // It was parked at each sink on the way, and a row of the source alone can have released it.
    for (const sink of ['copy', 'other']) expect(await parkedEver(sink)).toBe(1);
  });

  test('so is a key whose row a sink lacks when an update leaves such a value alone', async () => {
    await ground.sink.query('DELETE FROM by_default WHERE id = 2');
    await ground.source.query('UPDATE by_default SET k = 3 WHERE id = 2');
    await expectEqual('SELECT id, md5(big) AS big, k FROM by_default ORDER BY id');
    await expect.poll(parked, soon).toEqual([]);
    expect([await parkedEver('copy'), await parkedEver('other')]).toEqual([2, 1]);
  });

  test('a row that the sink refuses parks its key alone: mended and replayed, or discarded', async () => {
    await ground.source.query('INSERT INTO refused VALUES (1, 1)');
    await ground.sink.query('ALTER TABLE refused ADD CONSTRAINT small CHECK (n < 100)');
    await ground.source.query('INSERT INTO refused VALUES (2, 222), (3, 3), (4, 444)');
    await expect
      .poll(async () => (await parked()).toSorted(), soon)
      .toEqual(['value_refused ["public.refused","2"]', 'value_refused ["public.refused","4"]']);
    await expectAtSink('SELECT id FROM refused ORDER BY id', [{ id: 1 }, { id: 3 }]);
    const key = '["public.refused","2"]';
    const shown = await ground.causeway('dlq', 'show', key, '--sink', 'copy');
    expect([shown.out, shown.err]).toEqual([expect.stringContaining('SQLSTATE 23514 (a check constraint is violated)'), expect.anything()]);
    expect(shown.out).not.toContain('222');
    expect((await ground.causeway('dlq', 'show', key, '--sink', 'copy', '--show-data')).out).toContain('"222"');
    // Nothing is mended yet, so the key stays.
    expect((await ground.causeway('dlq', 'replay', '--key', key, '--sink', 'copy')).code).not.toBe(0);
    const repaired = await ground.causeway('dlq', 'repair', '--key', key, '--sink', 'copy');
    expect(repaired).toMatchObject({ code: 8, out: '0 keys released; 1 key stays parked: value_refused\n' });
    await ground.sink.query('ALTER TABLE refused DROP CONSTRAINT small');
    expect((await ground.causeway('dlq', 'replay', '--key', key, '--sink', 'copy')).code).toBe(0);
    await expectAtSink('SELECT n FROM refused WHERE id = 2', [{ n: 222 }]);
    expect((await ground.causeway('dlq', 'discard', '--all', '--sink', 'copy', '--confirm', 'copy')).code).toBe(0);
    await expect.poll(parked, soon).toEqual([]);
    await expectAtSink('SELECT n FROM refused WHERE id = 4', []);
    await ground.sink.query('ALTER TABLE refused ADD CONSTRAINT odd CHECK (n % 2 = 1) NOT VALID');
    await ground.source.query('INSERT INTO refused VALUES (6, 6), (7, 7), (8, 8)');
    await expect.poll(async () => (await parked()).length, soon).toBe(2);
    await ground.sink.query('ALTER TABLE refused DROP CONSTRAINT odd');
    expect(await ground.causeway('dlq', 'repair', '--sink', 'copy')).toMatchObject({ code: 0, out: '2 keys released\n' });
    expect(await parked()).toEqual([]);
    expect((await ground.causeway('dlq', 'repair', '--key', key, '--sink', 'copy')).code).toBe(4);
    await ground.source.query('UPDATE refused SET n = 4 WHERE id = 4');
    await expectEqual('SELECT id, n FROM refused ORDER BY id');
  });

  test('a row too large for the log parks its key, and comes back with its next change', async () => {
    await ground.source.query(`INSERT INTO in_full VALUES (20, repeat('y', 100000), 0), (21, 'small', 0)`);
    await expect.poll(parked, soon).toEqual(['record_too_large ["public.in_full","20"]']);
    await expectAtSink('SELECT id FROM in_full WHERE id >= 20', [{ id: 21 }]);
    await ground.source.query(`UPDATE in_full SET big = 'small' WHERE id = 20`);
    await expect.poll(parked, soon).toEqual([]);
    await expectEqual('SELECT id, md5(big) AS big, k FROM in_full ORDER BY id');
  });

  test('a truncate empties the table at the sinks, and rows behind it stay', async () => {
    await ground.source.query('INSERT INTO emptied SELECT g, g FROM generate_series(1, 200) g');
    await ground.source.query('TRUNCATE emptied; INSERT INTO emptied VALUES (5, 55), (201, 1)');
    await expectEqual('SELECT id, n FROM emptied ORDER BY id');
    await ground.source.query('UPDATE emptied SET n = 56 WHERE id = 5; DELETE FROM emptied WHERE id = 201');
    await expectEqual('SELECT id, n FROM emptied ORDER BY id');
  });

  test('one sink is paused while the other goes on', async () => {
    expect((await ground.causeway('pipeline', 'pause', '--sink', 'copy')).code).toBe(0);
    await ground.source.query('INSERT INTO refused VALUES (50, 50)');
    const [copy, other] = [...ground.sinks.values()];
    const there = async (sink = ground.sink): Promise<number> => (await sink.query('SELECT FROM refused WHERE id = 50')).length;
    await expect.poll(() => there(other), soon).toBe(1);
    expect(await there(copy)).toBe(0);
    expect((await ground.status())?.sinks.map(({ state }) => state)).toEqual(['paused', 'running']);
    expect((await ground.causeway('pipeline', 'resume', '--sink', 'copy')).code).toBe(0);
    await expect.poll(() => there(copy), soon).toBe(1);
  });

  test('an added column is followed; a changed type holds the sink until the target fits and somebody approved', async () => {
    await ground.source.query('INSERT INTO evolving VALUES (1, 1)');
    await ground.source.query(`ALTER TABLE evolving ADD COLUMN extra text DEFAULT 'constant'; INSERT INTO evolving VALUES (2, 2, 'given')`);
    await expectEqual('SELECT id, n, extra FROM evolving ORDER BY id');
    await ground.source.query('ALTER TABLE evolving ALTER n TYPE bigint; INSERT INTO evolving VALUES (3, 5000000000)');
    const blocked = async (): Promise<unknown> => (await ground.status())?.sinks.map(({ state }) => state);
    await expect.poll(blocked, soon).toEqual(['blocked', 'blocked']);
    const diff = await ground.causeway('schema', 'diff');
    expect(diff.out).toContain('at the source: column n changed its type from integer to bigint');
    // Approved too early: it says what is still missing, and goes on only then.
    const early = await ground.causeway('schema', 'approve', '--table', 'public.evolving');
    expect([early.code, early.err]).toEqual([0, expect.stringContaining('sink copy still waits for the target of public.evolving')]);
    await expect.poll(async () => (await ground.causeway('status')).err, soon).toContain('is approved, but the target is not ready');
    for (const sink of ground.sinks.values()) await sink.query('ALTER TABLE evolving ALTER n TYPE bigint');
    await expect.poll(blocked, soon).toEqual(['running', 'running']);
    await ground.source.query('INSERT INTO evolving VALUES (4, 4)');
    await expectEqual('SELECT id, n, extra FROM evolving ORDER BY id');
    expect((await ground.causeway('schema', 'diff')).err).toContain('no sink waits');
    // The stream did not show the values that the new type gave to the rows from before.
    await expect
      .poll(async () => (await ground.causeway('schema', 'list')).out, { ...soon, interval: 500 })
      .toMatch(/public\.evolving +resync_required/);
  });
});
