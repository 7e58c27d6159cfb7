// Databases in other encodings than UTF-8: what stands in a row must not stop capture, and no text may come out as another one.
import { expect, test } from 'vitest';
import type { SourceChange, SourceMessage } from '#core/event.ts';
import type { Finding } from '#core/finding.ts';
import type { RowKey } from '#core/key.ts';
import type { PostgresMajor } from '../support/postgres-binaries.ts';
import { describeNewestPostgres, describePostgres, TestDatabase } from '../support/postgres.ts';
import { OpenStream } from '../support/postgres-stream.ts';
import { postgresSource, type SourceOptions } from '../support/postgres-source.ts';

const signal = AbortSignal.timeout(110_000);

const key = (...parts: string[]): RowKey => JSON.stringify(parts) as RowKey;

function said(messages: readonly SourceMessage[]): unknown[] {
  return messages
    .filter((message): message is SourceChange => message.tag === 'change')
    .map(({ tag: _tag, schema: _schema, change: _change, ...rest }) => rest);
}

/** A pipeline over the database, streaming. */
async function capture(options: SourceOptions): Promise<OpenStream & AsyncDisposable> {
  const source = postgresSource(options);
  try {
    await source.provision('create', signal);
    const stream = new OpenStream(await source.open(signal), signal);
    const close = stream[Symbol.asyncDispose].bind(stream);
    stream[Symbol.asyncDispose] = async () => {
      await close();
      await source[Symbol.asyncDispose]();
    };
    return stream;
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}

async function encodingFinding(database: TestDatabase): Promise<Finding | undefined> {
  await using source = postgresSource({ url: database.url, pipeline: database.name });
  return (await source.check(signal)).find(({ id }) => id === 'PG-018');
}

/** Every byte that the server itself converts, in rows of its own, shown as the server shows it to a session in UTF-8. */
async function expectServersOwnTexts(major: PostgresMajor, encoding: string): Promise<number> {
  await using database = await TestDatabase.create(major, encoding);
  await database.query('CREATE TABLE t (id int PRIMARY KEY, v text)');
  await using stream = await capture({ url: database.url, pipeline: database.name });
  await database.query('INSERT INTO t SELECT i, chr(i) FROM generate_series(128, 255) i');
  const shown = said(await stream.transaction()) as { op: string; row: string[] }[];
  expect(shown).toHaveLength(128);
  const client = await database.connect();
  let unreadable = 0;
  for (const [index, { op, row }] of shown.entries()) {
    const wanted = await client.query<{ v: string }>('SELECT v FROM t WHERE id = $1', [128 + index]).then(
      ({ rows }) => rows[0]?.v,
      (error: unknown) => (error as { code: string }).code,
    );
    if (op === 'unreadable') unreadable += 1;
    expect(op === 'unreadable' ? '22P05' : row[1]).toBe(wanted);
  }
  await client.end();
  return unreadable;
}

describePostgres('a database in another encoding', (major) => {
  test('WIN1252: a byte without a character withholds its row, and the stream goes on', async () => {
    await using database = await TestDatabase.create(major, 'WIN1252');
    await database.query('CREATE TABLE t (id int PRIMARY KEY, v text, n int); ALTER TABLE t REPLICA IDENTITY FULL');
    await using stream = await capture({ url: database.url, pipeline: database.name });
    await database.query(`INSERT INTO t VALUES (1, 'ab€é', 1), (2, 'x' || chr(129) || 'y', 2), (3, repeat('é', 9000), 3)`);
    await database.query(`UPDATE t SET n = 20 WHERE id = 2; UPDATE t SET v = '–' WHERE id = 2`);
    await database.query(`UPDATE t SET v = chr(157) WHERE id = 1; DELETE FROM t WHERE id = 1`);
    const reason = 'column v: the bytes are no text in the encoding of the database, or more than 256 MiB';
    const id = (number: number): RowKey => key('public.t', String(number));
    expect((await stream.transactions(3)).flatMap(said)).toEqual([
      { op: 'insert', key: id(1), row: ['1', 'ab€é', '1'] },
      { op: 'unreadable', key: id(2), reason },
      { op: 'insert', key: id(3), row: ['3', 'é'.repeat(9000), '3'] },
      { op: 'unreadable', key: id(2), reason },
      { op: 'update', key: id(2), row: ['2', '–', '20'], oldKey: null },
      { op: 'unreadable', key: id(1), reason },
      { op: 'delete', key: id(1) },
    ]);
    expect(await encodingFinding(database)).toMatchObject({ level: 'warning', details: [expect.stringContaining('5 bytes of WIN1252')] });
  });

  test('names of schemas, tables, columns and labels are read in the same encoding', async () => {
    await using database = await TestDatabase.create(major, 'WIN1252');
    await database.query(
      `CREATE SCHEMA "Übersicht"; CREATE TYPE "Übersicht"."Größe" AS ENUM ('groß', 'klein');
       CREATE TABLE "Übersicht"."Preise €" ("Schlüssel" text PRIMARY KEY, "Größe" "Übersicht"."Größe", alle "Übersicht"."Größe"[])`,
    );
    await using stream = await capture({ url: database.url, pipeline: database.name, tables: ['Übersicht.*'] });
    await database.query(`INSERT INTO "Übersicht"."Preise €" VALUES ('Tür', 'groß', '{groß,klein}')`);
    const transaction = await stream.transaction();
    const schema = transaction.find((message) => message.tag === 'schema')?.schema;
    expect(schema?.table).toBe('Übersicht.Preise €');
    expect(schema?.columns.map(({ name }) => name)).toEqual(['Schlüssel', 'Größe', 'alle']);
    expect(schema?.columns[1]?.type).toEqual({ tag: 'enum', labels: ['groß', 'klein'] });
    expect(said(transaction)).toEqual([
      { op: 'insert', key: key('Übersicht.Preise €', 'Tür'), row: ['Tür', 'groß', JSON.stringify(['groß', 'klein'])] },
    ]);
  });

  test('a key with a byte that has no character stops its table, and no other', async () => {
    await using database = await TestDatabase.create(major, 'WIN1252');
    await database.query('CREATE TABLE t (id text PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)');
    await using stream = await capture({ url: database.url, pipeline: database.name });
    await database.query(
      `INSERT INTO t VALUES ('é'); INSERT INTO t VALUES (chr(129)); INSERT INTO t VALUES ('b'); INSERT INTO u VALUES (1)`,
    );
    const transaction = await stream.transaction();
    expect(said(transaction)).toEqual([
      { op: 'insert', key: key('public.t', 'é'), row: ['é'] },
      { op: 'insert', key: key('public.u', '1'), row: ['1'] },
    ]);
    expect(transaction).toContainEqual(expect.objectContaining({ tag: 'stopped', table: 'public.t' }));
  });

  test('SQL_ASCII: what is UTF-8 is read as that, and other bytes withhold their row', async () => {
    await using database = await TestDatabase.create(major, 'SQL_ASCII');
    await database.query('CREATE TABLE "täglich" (id int PRIMARY KEY, v text)');
    await using stream = await capture({ url: database.url, pipeline: database.name });
    await database.query(`INSERT INTO "täglich" VALUES (1, 'é'), (2, convert_from('\\xe9', 'SQL_ASCII')), (3, 'b')`);
    expect(said(await stream.transaction())).toMatchObject([
      { op: 'insert', key: key('public.täglich', '1'), row: ['1', 'é'] },
      { op: 'unreadable', key: key('public.täglich', '2') },
      { op: 'insert', key: key('public.täglich', '3'), row: ['3', 'b'] },
    ]);
    expect(await encodingFinding(database)).toMatchObject({ level: 'warning', details: [expect.stringContaining('SQL_ASCII')] });
  });

  test('an encoding with several bytes a character is refused before anything is made, and at each connection', async () => {
    await using database = await TestDatabase.create(major, 'EUC_JP');
    await database.query('CREATE TABLE t (id int PRIMARY KEY)');
    await using source = postgresSource({ url: database.url, pipeline: database.name });
    const refused = { code: 'source_misconfigured', message: expect.stringContaining('EUC_JP') as string };
    await expect(source.provision('create', signal)).rejects.toMatchObject(refused);
    expect(await database.query('SELECT 1 FROM pg_publication')).toEqual([]);
    await database.query(`SELECT pg_create_logical_replication_slot('causeway_${database.name}', 'pgoutput')`);
    await expect(source.open(signal)).rejects.toMatchObject(refused);
    expect(await encodingFinding(database)).toMatchObject({ level: 'error', mend: [expect.stringContaining('CREATE DATABASE')] });
  });

  test('a publication whose name the replication command cannot carry is refused', async () => {
    await using database = await TestDatabase.create(major, 'LATIN1');
    await database.query('CREATE TABLE t (id int PRIMARY KEY)');
    expect(await encodingFinding(database)).toMatchObject({ level: 'ok' });
    const settings = { publication: `größe_${database.name}` };
    await expect(capture({ url: database.url, pipeline: database.name, settings })).rejects.toMatchObject({
      code: 'source_misconfigured',
      message: expect.stringContaining('plain ASCII') as string,
    });
  });
});

describeNewestPostgres('the table of an encoding', (major) => {
  test.each([
    ['WIN1252', 5],
    ['WIN1258', 9],
    ['KOI8U', 0],
    ['ISO_8859_8', 36],
    ['LATIN9', 0],
  ])('%s is read as the server converts it, byte by byte', async (encoding, unreadable) => {
    expect(await expectServersOwnTexts(major, encoding)).toBe(unreadable);
  });
});
