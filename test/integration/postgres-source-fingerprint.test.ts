// What the stream does not show, and what a fingerprint makes of it (invariant C9; counterexamples 9, 28, 31).
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TableFingerprint } from '#core/control-rows.ts';
import type { FingerprintVerdict, Source } from '#core/source.ts';
import { captured, postgresSource, verdictAfter } from '../support/postgres-source.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';

const signal = AbortSignal.timeout(110_000);

describePostgres('fingerprints', (major) => {
  let database: TestDatabase;
  let source: Source;
  const publication = 'causeway_prints';

  beforeAll(async () => {
    database = await TestDatabase.create(major);
    await database.query(`
      CREATE TYPE mood AS ENUM ('sad', 'glad');
      CREATE TYPE place AS (x int, y int);
      CREATE DOMAIN amount AS numeric(10, 2);
      CREATE TABLE t (id int PRIMARY KEY, a int, m mood, ms mood[], p place, d amount, s varchar(10));
      CREATE TABLE parted (id int, day int, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
      CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10)`);
    source = postgresSource({ url: database.url, pipeline: 'prints' });
    await source.provision('keep', signal);
  });

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
    await database.close();
  });

  async function verdict(sql: string | readonly string[], table = 't'): Promise<FingerprintVerdict> {
    return await verdictAfter(source, table, async () => {
      for (const statement of typeof sql === 'string' ? [sql] : sql) await database.query(statement);
    });
  }

  async function tag(sql: string | readonly string[], table = 't'): Promise<string> {
    return (await verdict(sql, table)).tag;
  }

  test('a table that is only used and maintained stays the same', async () => {
    expect(await tag('INSERT INTO t SELECT g FROM generate_series(1, 2000) g')).toBe('same');
    expect(await tag('UPDATE t SET a = id')).toBe('same');
    expect(await tag('DELETE FROM t WHERE id > 500')).toBe('same');
    expect(await tag(['VACUUM t', 'ANALYZE t', 'VACUUM (FREEZE, ANALYZE) t'])).toBe('same');
    expect(await tag(['CREATE INDEX t_a ON t (a)', 'CREATE INDEX CONCURRENTLY t_s ON t (s)', 'REINDEX TABLE t'])).toBe('same');
    expect(await tag(['VACUUM (FREEZE) pg_class', 'VACUUM FULL pg_class', 'VACUUM FULL pg_publication', 'VACUUM FULL pg_attribute'])).toBe(
      'same',
    );
    expect(await tag(["COMMENT ON TABLE t IS 'x'", 'CREATE STATISTICS t_st ON id, a FROM t', 'ANALYZE'])).toBe('same');
    expect(await tag('INSERT INTO parted SELECT g, g % 10 FROM generate_series(1, 100) g', 'parted')).toBe('same');
    expect(await tag(['ANALYZE parted', 'VACUUM parted'], 'parted')).toBe('same');
  });

  test('a column that can be added without any event is harmless, one whose values no event showed is not', async () => {
    expect(await verdict('ALTER TABLE t ADD COLUMN n1 int')).toEqual({
      tag: 'harmless',
      text: 'column n1 was added; it is null in the rows from before',
    });
    expect(await verdict('ALTER TABLE t ADD COLUMN n2 int NOT NULL DEFAULT 7')).toEqual({
      tag: 'harmless',
      text: 'column n2 was added with a constant default',
    });
    expect(await tag('ALTER TABLE t ADD COLUMN n3 timestamptz DEFAULT now()')).toBe('harmless');
    expect(await tag(['ALTER TABLE t ADD COLUMN n4 int', 'ALTER TABLE t ALTER COLUMN n4 SET DEFAULT 5'])).toBe('harmless');
    expect(await tag('ALTER TABLE t ADD COLUMN n5 float8 DEFAULT random()')).toBe('resync_required');
    expect(await tag('ALTER TABLE t ADD COLUMN n6 int GENERATED ALWAYS AS IDENTITY')).toBe('resync_required');
    expect(await tag('ALTER TABLE t DROP COLUMN n1')).toBe('harmless');
    expect(await tag('ALTER TABLE t RENAME COLUMN n2 TO n7')).toBe('harmless');
    expect(await tag('ALTER TABLE parted ADD COLUMN n8 text DEFAULT $$x$$', 'parted')).toBe('harmless');
  });

  test('a column under a name that another one had before finds its values at the sinks, however long ago that was', async () => {
    const again = 'another column had the name c before: sinks still hold the values of that one';
    const changes: readonly (readonly [readonly string[], string])[] = [
      [['ALTER TABLE reused DROP COLUMN c', 'ALTER TABLE reused ADD COLUMN c int'], again],
      [['ALTER TABLE reused DROP COLUMN c', 'ALTER TABLE reused ADD COLUMN c int DEFAULT 4'], again],
      [['ALTER TABLE reused RENAME COLUMN c TO d', 'ALTER TABLE reused ADD COLUMN c int'], again],
      [
        ['ALTER TABLE reused RENAME COLUMN c TO x', 'ALTER TABLE reused RENAME COLUMN e TO c', 'ALTER TABLE reused RENAME COLUMN x TO e'],
        `another column had the name e before: sinks still hold the values of that one; ${again}`,
      ],
    ];
    for (const [statements, text] of changes) {
      await database.query('DROP TABLE IF EXISTS reused; CREATE TABLE reused (id int PRIMARY KEY, c int, e int)');
      const before = await captured(source, 'reused');
      let stored = before.fingerprint;
      // Looked at in one go, and after each step.
      for (const statement of statements) {
        await database.query(statement);
        const { fingerprint } = await captured(source, 'reused');
        const verdict = source.compareFingerprints(stored, fingerprint);
        stored = verdict.keep ?? fingerprint;
        if (statement === statements.at(-1)) expect(verdict).toMatchObject({ tag: 'resync_required' });
      }
      const after = await captured(source, 'reused');
      expect(source.compareFingerprints(before.fingerprint, after.fingerprint)).toMatchObject({ tag: 'resync_required', text });
      expect(source.compareFingerprints(stored, after.fingerprint)).toEqual({ tag: 'same' });
    }
    // Its schema has the very version that it had, so nothing behind the source would notice.
    await database.query('DROP TABLE reused; CREATE TABLE reused (id int PRIMARY KEY, c int)');
    const { version } = (await captured(source, 'reused')).schema;
    await database.query('ALTER TABLE reused DROP COLUMN c; ALTER TABLE reused ADD COLUMN c int');
    expect((await captured(source, 'reused')).schema.version).toBe(version);
    // A new name alone is told to the sinks by the schema.
    expect(await tag('ALTER TABLE reused RENAME COLUMN c TO f', 'reused')).toBe('harmless');
    await database.query('DROP TABLE reused');
  });

  test('another file after a truncate that the stream has shown asks for nothing, and hides nothing else', async () => {
    await database.query('CREATE TABLE emptied (id int PRIMARY KEY, c int)');
    const before = (await captured(source, 'emptied')).fingerprint;
    /** The transaction that the statements are. */
    const by = async (statements: string): Promise<string> => {
      await database.query(`${statements}; CREATE TABLE done AS SELECT pg_current_xact_id()::xid::text AS id`);
      const [row] = await database.query<{ id: string }>('SELECT id FROM done');
      await database.query('DROP TABLE done');
      return row?.id ?? '';
    };
    const truncate = await by('TRUNCATE emptied');
    const truncated = (await captured(source, 'emptied')).fingerprint;
    expect(source.compareFingerprints(before, truncated, truncate)).toMatchObject({ tag: 'harmless' });
    expect(source.compareFingerprints(before, truncated)).toMatchObject({ tag: 'reconcile', onlyFiles: true });
    // Rows that came behind the truncate were written anew, with other values.
    await database.query('INSERT INTO emptied VALUES (1, 1); ALTER TABLE emptied ALTER c TYPE int USING c + 1');
    const rewritten = (await captured(source, 'emptied')).fingerprint;
    expect(source.compareFingerprints(before, rewritten, truncate)).toMatchObject({ tag: 'reconcile', onlyFiles: true });
    const again = await by('ALTER TABLE emptied ADD COLUMN d float8 DEFAULT random()');
    const added = (await captured(source, 'emptied')).fingerprint;
    expect(source.compareFingerprints(before, added, again)).toMatchObject({ tag: 'resync_required' });
    const parted = async (): Promise<TableFingerprint> => (await captured(source, 'parted')).fingerprint;
    const whole = await parted();
    const all = await by('TRUNCATE parted');
    expect(source.compareFingerprints(whole, await parted(), all)).toMatchObject({ tag: 'harmless' });
    expect(source.compareFingerprints(whole, await parted())).toMatchObject({ tag: 'reconcile', onlyFiles: true });
    await database.query('DROP TABLE emptied');
  });

  test('constant defaults are told as the values that the rows from before hold', async () => {
    await database.query(`CREATE TABLE defaults (id int PRIMARY KEY); INSERT INTO defaults VALUES (1);
      ALTER TABLE defaults ADD COLUMN i int DEFAULT 7, ADD COLUMN b bool DEFAULT false, ADD COLUMN j jsonb DEFAULT '{"a": [1, "x"]}',
        ADD COLUMN l int[] DEFAULT '{1,2}', ADD COLUMN x bytea DEFAULT '\\x00ff', ADD COLUMN s text DEFAULT 'a"b,{c}', ADD COLUMN n numeric(5,2) DEFAULT 1,
        ADD COLUMN t timestamptz DEFAULT '2026-01-02 03:04:05.5+01', ADD COLUMN e mood DEFAULT 'glad';
      ALTER TABLE defaults ALTER COLUMN i SET DEFAULT 8`);
    const schema = (await captured(source, 'defaults')).schema;
    expect(Object.fromEntries(schema.columns.map((column) => [column.name, column.constantDefault]))).toEqual({
      id: null,
      i: '7',
      b: 'false',
      j: '{"a": [1, "x"]}',
      l: '["1","2"]',
      x: 'AP8=',
      s: 'a"b,{c}',
      n: '1.00',
      t: '2026-01-02T02:04:05.5Z',
      e: 'glad',
    });
    expect((await captured(source, 'parted')).schema.columns.map(({ name, constantDefault }) => [name, constantDefault])).toEqual([
      ['id', null],
      ['day', null],
      ['v', null],
      ['n8', 'x'],
    ]);
  });

  test('changed types, labels and members show rows that no event showed', async () => {
    expect(await tag('ALTER TABLE t ALTER COLUMN a TYPE int8 USING a * 10')).toBe('resync_required');
    expect(await tag('ALTER TABLE t ALTER COLUMN s TYPE varchar(20)')).toBe('resync_required');
    expect(await tag("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'")).toBe('resync_required');
    expect(await tag("ALTER TYPE mood ADD VALUE 'merry'")).toBe('resync_required');
    expect(await tag('ALTER TYPE place ADD ATTRIBUTE z int')).toBe('resync_required');
    expect(await tag('ALTER TYPE place RENAME TO spot')).toBe('harmless');
    expect(await tag(['ALTER TABLE t ALTER COLUMN a SET NOT NULL', 'ALTER TABLE t ALTER COLUMN a DROP NOT NULL'])).not.toBe(
      'resync_required',
    );
  });

  test('a rewritten table asks for a reconcile, and so does a row of the catalogue that moved for no visible reason', async () => {
    expect(await tag('ALTER TABLE t ALTER COLUMN a TYPE int8 USING a * 10')).toBe('reconcile');
    expect(await tag('VACUUM FULL t')).toBe('reconcile');
    expect(await tag(['ALTER TABLE t RENAME TO away', 'INSERT INTO away (id) VALUES (-1)', 'ALTER TABLE away RENAME TO t'])).toBe(
      'reconcile',
    );
    expect(
      await tag([
        `ALTER PUBLICATION ${publication} SET (publish = 'insert')`,
        `ALTER PUBLICATION ${publication} SET (publish = 'insert, update, delete, truncate')`,
      ]),
    ).toBe('reconcile');
    expect(await tag('GRANT SELECT ON t TO PUBLIC')).toBe('harmless');
    expect(await tag('ALTER TABLE t SET (fillfactor = 90)')).toBe('harmless');
  });

  test('a table that left the publication, or that it no longer carries whole, has to be loaded again', async () => {
    const { members } = {
      members: (await database.query<{ n: string }>(`SELECT tablename AS n FROM pg_publication_tables WHERE pubname = '${publication}'`))
        .length,
    };
    expect(members).toBe(2);
    expect(await verdict(`ALTER PUBLICATION ${publication} SET (publish = 'insert')`)).toMatchObject({ tag: 'resync_required' });
    expect(await tag(`ALTER PUBLICATION ${publication} SET (publish = 'insert, update, delete, truncate')`)).toBe('resync_required');
    expect(await tag(`ALTER PUBLICATION ${publication} DROP TABLE t`)).toBe('resync_required');
    expect(await tag(`ALTER PUBLICATION ${publication} ADD TABLE t`)).toBe('resync_required');
    expect(await verdict([`ALTER PUBLICATION ${publication} DROP TABLE t`, `ALTER PUBLICATION ${publication} ADD TABLE t`])).toEqual({
      tag: 'resync_required',
      text: 'the table left the publication and came back: changes in between are not in the stream',
    });
    expect(
      await verdict([
        `DROP PUBLICATION ${publication}`,
        `CREATE PUBLICATION ${publication} FOR TABLE t, parted WITH (publish_via_partition_root = true)`,
      ]),
    ).toEqual({
      tag: 'resync_required',
      text: 'the publication was made again: changes in between are not in the stream',
    });
    if (major >= 15) {
      expect(await tag(`ALTER PUBLICATION ${publication} SET TABLE t WHERE (id > 0), parted`)).toBe('resync_required');
      expect(await tag(`ALTER PUBLICATION ${publication} SET TABLE t, parted`)).toBe('resync_required');
    }
  });

  test('partitions: what they brought with them, and what went away with them', async () => {
    const attach = (name: string, from: number): string =>
      `ALTER TABLE parted ATTACH PARTITION ${name} FOR VALUES FROM (${from}) TO (${from + 10})`;
    const make = (name: string): string => `CREATE TABLE ${name} (id int NOT NULL, day int NOT NULL, v text, n8 text DEFAULT 'x')`;
    expect(await verdict('CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20)', 'parted')).toEqual({
      tag: 'harmless',
      text: 'partition public.parted_2 was made',
    });
    // Rows that came through the root are in the stream, however soon they came.
    expect(
      await tag(['CREATE TABLE parted_3 PARTITION OF parted FOR VALUES FROM (20) TO (30)', 'INSERT INTO parted VALUES (1, 21)'], 'parted'),
    ).toBe('harmless');
    expect(
      await tag(
        'BEGIN; CREATE TABLE parted_4 PARTITION OF parted FOR VALUES FROM (30) TO (40); INSERT INTO parted VALUES (1, 31); COMMIT',
        'parted',
      ),
    ).toBe('harmless');
    expect(await tag([make('parted_5'), attach('parted_5', 40)], 'parted')).toBe('harmless');
    expect(await verdict([make('parted_6'), 'INSERT INTO parted_6 VALUES (1, 51)', attach('parted_6', 50)], 'parted')).toEqual({
      tag: 'resync_required',
      text: 'partition public.parted_6 was attached with rows that no event showed',
    });
    const inOne = `BEGIN; ${make('parted_7')}; INSERT INTO parted_7 VALUES (1, 61); ${attach('parted_7', 60)}; COMMIT`;
    expect(await tag(inOne, 'parted')).toBe('resync_required');
    const tree = [
      'CREATE TABLE branch (id int NOT NULL, day int NOT NULL, v text, n8 text) PARTITION BY RANGE (day)',
      'CREATE TABLE branch_1 PARTITION OF branch FOR VALUES FROM (70) TO (80)',
      'INSERT INTO branch VALUES (1, 71)',
      attach('branch', 70),
    ];
    expect(await tag(tree, 'parted')).toBe('resync_required');
    expect(await tag('TRUNCATE parted_3', 'parted')).toBe('reconcile');
    expect(await tag('ALTER TABLE parted DETACH PARTITION parted_3', 'parted')).toBe('reconcile');
    expect(await tag('ALTER TABLE parted ATTACH PARTITION parted_3 FOR VALUES FROM (20) TO (30)', 'parted')).toBe('harmless');
    expect(
      await tag(['ALTER TABLE parted DETACH PARTITION parted_6', 'INSERT INTO parted_6 VALUES (2, 52)', attach('parted_6', 50)], 'parted'),
    ).toBe('resync_required');
    expect(await tag('DROP TABLE parted_5', 'parted')).toBe('reconcile');
  });

  test('another table under the name has to be loaded again; another key or name stops the table', async () => {
    await database.query(`CREATE TABLE k (id int PRIMARY KEY, other int NOT NULL UNIQUE); ALTER PUBLICATION ${publication} ADD TABLE k`);
    expect(await tag(['ALTER TABLE k DROP CONSTRAINT k_pkey', 'ALTER TABLE k ADD PRIMARY KEY (other)'], 'k')).toBe('stopped');
    expect(await tag('ALTER TABLE k REPLICA IDENTITY FULL', 'k')).toBe('harmless');
    await database.query('ALTER TABLE k REPLICA IDENTITY NOTHING');
    const refusedCode = async (): Promise<string | undefined> =>
      (await source.inspect(signal)).refused.find(({ table }) => table === 'public.k')?.code;
    expect(await refusedCode()).toBe('identity_lacks_key');
    await database.query('ALTER TABLE k REPLICA IDENTITY DEFAULT');
    expect(await tag(['DROP TABLE k', 'CREATE TABLE k (id int PRIMARY KEY, other int)'], 'k')).toBe('resync_required');
  });
});
