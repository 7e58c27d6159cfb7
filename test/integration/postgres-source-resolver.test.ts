// What a Relation message means by the catalogue of today, which may have moved on since the message was written.
import { expect, test } from 'vitest';
import type { SourceMessage } from '#core/event.ts';
import type { Source } from '#core/source.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';
import { postgresSource } from '../support/postgres-source.ts';

describePostgres('relations of the stream', (major) => {
  /** Runs the statements while nobody reads, then reads until the heartbeat that stands behind them. */
  async function streamed(
    setUp: string,
    statements: readonly string[],
    check: (messages: readonly SourceMessage[], source: Source, signal: AbortSignal) => Promise<void> | void,
  ): Promise<void> {
    const signal = AbortSignal.timeout(60_000);
    await using database = await TestDatabase.create(major);
    await database.query(setUp);
    await using source = postgresSource({ url: database.url, pipeline: database.name });
    await source.provision('create', signal);
    await using stream = await source.open(signal);
    for (const statement of statements) await database.query(statement);
    await source.heartbeat(signal);
    const messages: SourceMessage[] = [];
    for await (const batch of stream.messages(signal)) {
      messages.push(...batch);
      if (batch.some(({ tag }) => tag === 'message')) break;
    }
    await check(messages, source, signal);
  }

  const rows = (messages: readonly SourceMessage[]): unknown[] => messages.flatMap((message) => ('row' in message ? [message.row] : []));
  const schemas = (messages: readonly SourceMessage[]): unknown[] =>
    messages.flatMap((message) =>
      message.tag === 'schema'
        ? [
            message.schema.columns.map(({ name, sourceType, type, nullable, constantDefault }) => [
              name,
              sourceType,
              type.tag,
              nullable,
              constantDefault,
            ]),
          ]
        : [],
    );

  test('a schema holds what the catalogue adds: nullability, constant defaults, the spelling of types', async () => {
    await streamed(
      `CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN amount AS numeric(10, 2);
       CREATE TABLE t (n numeric(5, 1), id int, m mood NOT NULL, a amount, l int[], PRIMARY KEY (id))`,
      [
        `INSERT INTO t VALUES (1, 1, 'sad', 2, '{1}')`,
        `ALTER TABLE t ADD COLUMN d int NOT NULL DEFAULT 7`,
        `INSERT INTO t VALUES (1, 2, 'glad', 2, '{1}', 8)`,
      ],
      (messages) => {
        const before = [
          ['n', 'numeric(5,1)', 'decimal', true, null],
          ['id', 'integer', 'int', false, null],
          ['m', 'public.mood', 'enum', false, null],
          ['a', 'public.amount', 'decimal', true, null],
          ['l', 'integer[]', 'array', true, null],
        ];
        expect(schemas(messages)).toEqual([before, [...before, ['d', 'integer', 'int', false, '7']]]);
        expect(rows(messages)).toEqual([
          ['1.0', '1', 'sad', '2.00', '["1"]'],
          ['1.0', '2', 'glad', '2.00', '["1"]', '8'],
        ]);
      },
    );
  });

  test('columns and types that were dropped or altered since are read as they were', async () => {
    await streamed(
      `CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (id int PRIMARY KEY, gone text, m mood, w int)`,
      [
        `INSERT INTO t VALUES (1, 'x', 'sad', 5)`,
        'ALTER TABLE t DROP COLUMN gone, DROP COLUMN m, ALTER COLUMN w TYPE text',
        'DROP TYPE mood',
        `INSERT INTO t VALUES (2, 'five')`,
      ],
      (messages) => {
        expect(rows(messages)).toEqual([
          ['1', 'x', 'sad', '5'],
          ['2', 'five'],
        ]);
        const [before, after] = schemas(messages) as [unknown[][], unknown[][]];
        expect(before.map(([name, sourceType]) => [name, sourceType])).toEqual([
          ['id', 'integer'],
          ['gone', 'text'],
          ['m', expect.stringMatching(/^oid \d+$/)],
          ['w', 'integer'],
        ]);
        expect(after.map(([name, sourceType]) => [name, sourceType])).toEqual([
          ['id', 'integer'],
          ['w', 'text'],
        ]);
      },
    );
  });

  test('a table that was dropped since is read by the key that it had', async () => {
    await streamed(
      'CREATE TABLE t (a int, id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)',
      ['INSERT INTO t VALUES (7, 1)', 'DROP TABLE t'],
      (messages) => {
        expect(messages.flatMap((message) => (message.tag === 'change' ? [message.key] : []))).toEqual(['["public.t","1"]']);
      },
    );
  });

  test.each([
    ['renamed', ['INSERT INTO t VALUES (1, 1)', 'ALTER TABLE t RENAME TO u', 'INSERT INTO u VALUES (2, 2)'], ['public.u', 'table_renamed']],
    [
      'given another key',
      ['ALTER TABLE t DROP CONSTRAINT t_pkey', 'ALTER TABLE t ADD PRIMARY KEY (other)', 'INSERT INTO t VALUES (2, 2)'],
      ['public.t', 'table_stopped'],
    ],
    ['left without a key', ['ALTER TABLE t DROP CONSTRAINT t_pkey', 'INSERT INTO t VALUES (2, 2)'], ['public.t', 'no_primary_key']],
    [
      'given an identity without its key',
      ['CREATE UNIQUE INDEX t_other ON t (other)', 'ALTER TABLE t REPLICA IDENTITY USING INDEX t_other', 'INSERT INTO t VALUES (2, 2)'],
      ['public.t', 'identity_lacks_key'],
    ],
  ])('a table that was %s sends nothing more, and is not captured any more', async (_name, statements, refusal) => {
    await streamed(
      'CREATE TABLE t (id int PRIMARY KEY, other int NOT NULL); CREATE TABLE good (id int PRIMARY KEY)',
      [...statements, 'INSERT INTO good VALUES (1)'],
      async (messages, source, signal) => {
        expect(messages.flatMap((message) => (message.tag === 'change' ? [message.schema.table] : []))).toEqual(['public.good']);
        const facts = await source.inspect(signal);
        expect(facts.tables.map(({ schema }) => schema.table)).toEqual(['public.good']);
        expect(facts.refused.map(({ table, code }) => [table, code])).toEqual([refusal]);
      },
    );
  });

  test('a table that was written to under another name is stopped, though it has its name again', async () => {
    await streamed(
      'CREATE TABLE t (id int PRIMARY KEY)',
      ['ALTER TABLE t RENAME TO u', 'INSERT INTO u VALUES (1)', 'ALTER TABLE u RENAME TO t', 'INSERT INTO t VALUES (2)'],
      (messages) => {
        expect(messages.filter(({ tag }) => tag === 'stopped')).toEqual([
          { tag: 'stopped', table: 'public.t', reason: 'it was renamed to public.u' },
        ]);
        expect(rows(messages)).toEqual([]);
      },
    );
  });

  test('a key column under a new name is the same key', async () => {
    await streamed(
      'CREATE TABLE t (id int PRIMARY KEY, other int)',
      ['INSERT INTO t VALUES (1, 1)', 'ALTER TABLE t RENAME COLUMN id TO ident', 'INSERT INTO t VALUES (2, 2)'],
      async (messages, source, signal) => {
        const keys = messages.flatMap((message) => (message.tag === 'change' ? [message.key] : []));
        expect(keys).toContain('["public.t","2"]');
        expect((await source.inspect(signal)).refused).toEqual([]);
        expect(keys).toEqual(['["public.t","1"]', '["public.t","2"]']);
      },
    );
  });

  test('tables that are not captured, and partitions, are told apart', async () => {
    await streamed(
      `CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
       CREATE SCHEMA aside; CREATE TABLE aside.x (id int PRIMARY KEY)`,
      [
        'CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20)',
        'INSERT INTO t VALUES (1), (11)',
        'INSERT INTO aside.x VALUES (1)',
        'UPDATE t SET id = 12 WHERE id = 1',
      ],
      (messages) => {
        expect(messages.flatMap((message) => (message.tag === 'change' ? [[message.op, message.key]] : []))).toEqual([
          ['insert', '["public.t","1"]'],
          ['insert', '["public.t","11"]'],
          ['delete', '["public.t","1"]'],
          ['insert', '["public.t","12"]'],
        ]);
      },
    );
  });
});
