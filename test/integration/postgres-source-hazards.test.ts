// What capture must not do to the source's own writers.
import { expect, test } from 'vitest';
import type { Finding } from '#core/finding.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';
import { postgresSource } from '../support/postgres-source.ts';

const signal = AbortSignal.timeout(110_000);

describePostgres('hazards of a source', (major) => {
  const refusesGenerated = major >= 18;
  const withId = (findings: readonly Finding[], id: string): readonly Finding[] => findings.filter((found) => found.id === id);

  test('a table whose updates the server would refuse once it is published is not published', async () => {
    await using database = await TestDatabase.create(major);
    await database.query(
      `CREATE TABLE whole (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED); ALTER TABLE whole REPLICA IDENTITY FULL;
       CREATE TABLE root (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED) PARTITION BY RANGE (id);
       CREATE TABLE leaf PARTITION OF root DEFAULT; ALTER TABLE leaf REPLICA IDENTITY FULL;
       CREATE TABLE plain (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, note text)`,
    );
    await using source = postgresSource({ url: database.url, pipeline: database.name });
    const facts = await source.inspect(signal);
    expect(facts.refused.map(({ table, code }) => [table, code])).toEqual(
      refusesGenerated
        ? [
            ['public.root', 'identity_generated'],
            ['public.whole', 'identity_generated'],
          ]
        : [],
    );
    const [keys, large] = withId(await source.check(signal), 'PG-008');
    expect(keys?.level).toBe(refusesGenerated ? 'error' : 'ok');
    // The advice that makes updates whole would break the updates of this table.
    expect(large?.mend.join()).toMatch(refusesGenerated ? /^-- not for public\.plain/ : /^ALTER TABLE "public"."plain"/);
    await source.provision('create', signal);
    for (const table of ['whole', 'root', 'plain']) {
      await database.query(`INSERT INTO ${table} VALUES (1, 1); UPDATE ${table} SET a = 2; DELETE FROM ${table}`);
    }
    for (const { mend } of facts.refused) await database.query(mend);
    await source.provision('create', signal);
    expect((await source.inspect(signal)).tables.map(({ schema }) => schema.table)).toEqual([
      'public.plain',
      'public.root',
      'public.whole',
    ]);
    for (const table of ['whole', 'root']) await database.query(`INSERT INTO ${table} VALUES (1, 1); UPDATE ${table} SET a = 2`);
  });

  test('a table that somebody else published so is captured, and check names it', async () => {
    await using database = await TestDatabase.create(major);
    await database.query(
      `CREATE TABLE whole (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED); ALTER TABLE whole REPLICA IDENTITY FULL;
       CREATE PUBLICATION causeway_${database.name} FOR TABLE whole`,
    );
    await using source = postgresSource({ url: database.url, pipeline: database.name });
    expect((await source.inspect(signal)).refused).toEqual([]);
    expect(withId(await source.check(signal), 'PG-008')[0]?.level).toBe(refusesGenerated ? 'error' : 'ok');
    if (!refusesGenerated) return;
    await expect(database.query('INSERT INTO whole VALUES (1, 1); UPDATE whole SET a = 2')).rejects.toMatchObject({ code: '42P10' });
    await database.query(`ALTER PUBLICATION causeway_${database.name} SET (publish_generated_columns = stored)`);
    expect(withId(await source.check(signal), 'PG-008')[0]?.level).toBe('ok');
    await database.query('INSERT INTO whole VALUES (1, 1); UPDATE whole SET a = 2');
  });
});
