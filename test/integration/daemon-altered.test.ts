// Tables that are altered at the source in ways that the stream does not show, and what the daemon makes of it.
import { expect, test } from 'vitest';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { describeNewestPostgres } from '../support/postgres.ts';

describeNewestPostgres('altered tables', (major) => {
  test('a truncate asks for nothing, a column made again and a table renamed behind the back of the daemon do', async () => {
    await using ground = await DaemonGround.create(major, { tables: '{ name: "public.*", snapshot: never }' });
    await ground.source.query(
      `CREATE TABLE emptied (id int PRIMARY KEY); CREATE TABLE reused (id int PRIMARY KEY, c int); CREATE TABLE old (id int PRIMARY KEY);
       CREATE TABLE rewritten (id int PRIMARY KEY)`,
    );
    await ground.start();
    const table = async (name: string) => (await ground.status())?.tables.find((found) => found.table === `public.${name}`);
    await ground.source.query(
      'INSERT INTO reused VALUES (1, 7); INSERT INTO old VALUES (1); INSERT INTO emptied VALUES (1); TRUNCATE emptied',
    );
    await expect.poll(() => ground.sink.query('SELECT c FROM reused'), soon).toEqual([{ c: 7 }]);
    // Two looks at the tables may pass until the stream has come as far as the first; the rewritten one shows that they have.
    await ground.source.query('VACUUM FULL rewritten');
    await expect.poll(() => table('rewritten'), soon).toMatchObject({ state: 'streaming', reconcileWanted: 1 });
    expect(await table('emptied')).toMatchObject({ state: 'streaming', reconcileWanted: 0 });
    await ground.source.query('ALTER TABLE reused DROP COLUMN c; ALTER TABLE reused ADD COLUMN c int');
    await expect.poll(() => table('reused'), soon).toMatchObject({ state: 'resync_required' });
    expect(await ground.source.query('SELECT c FROM reused')).toEqual([{ c: null }]);
    await ground.daemon.stop();
    await ground.source.query('ALTER TABLE old RENAME TO fresh; INSERT INTO fresh VALUES (2)');
    await ground.start();
    await expect
      .poll(() => table('old'), soon)
      .toMatchObject({ state: 'stopped', reason: 'table_renamed: the table was renamed to public.fresh' });
    expect(await table('fresh')).toMatchObject({ state: 'stopped' });
    await ground.source.query('INSERT INTO fresh VALUES (3); INSERT INTO reused VALUES (2, 8)');
    await expect.poll(() => ground.sink.query('SELECT c FROM reused WHERE id = 2'), soon).toEqual([{ c: 8 }]);
    expect(await ground.sink.query('SELECT id FROM old')).toEqual([{ id: 1 }]);
    expect(await ground.sink.query("SELECT to_regclass('public.fresh') AS fresh")).toEqual([{ fresh: null }]);
  });
});
