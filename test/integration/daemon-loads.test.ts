// What docs/resync.md tells people to do, done with the daemon and the commands.
import { expect, test } from 'vitest';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { describeNewestPostgres } from '../support/postgres.ts';

describeNewestPostgres('loads by the daemon', (major) => {
  test('rows from before the first start, a table that is made later, and all of it again after a gap', async () => {
    await using ground = await DaemonGround.create(major);
    const { source, sink } = ground;
    await source.query(
      'CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, repeat(n::text, 3) FROM generate_series(1, 3000) n; ANALYZE t',
    );
    const check = await ground.causeway('check', '--only', 'source');
    expect(check.out).toContain('1 table holds rows, which the first start loads');
    expect(check.out).toContain('public.t: about 3000 rows');
    const sums = async (table: string): Promise<readonly unknown[]> => {
      const query = `SELECT count(*)::int AS rows, md5(string_agg(x::text, ',' ORDER BY id)) AS digest FROM ${table} x`;
      return [await source.query(query), await sink.query(query)];
    };
    const isSame = async (table: string): Promise<boolean> => {
      if (JSON.stringify(await sink.query(`SELECT to_regclass('${table}') AS found`)) === '[{"found":null}]') return false;
      const [a, b] = await sums(table);
      return JSON.stringify(a) === JSON.stringify(b);
    };
    await ground.start();
    await expect.poll(() => isSame('t'), soon).toBe(true);
    await expect.poll(async () => (await ground.causeway('snapshot', 'progress')).out, soon).toMatch(/public\.t +all +done +3000 .*100 %/);

    await source.query("CREATE TABLE later (id int PRIMARY KEY, v text); INSERT INTO later VALUES (1, 'before'), (2, 'before')");
    await expect.poll(async () => (await ground.causeway('status')).err, soon).toContain('causeway snapshot start --table public.later');
    expect((await ground.causeway('snapshot', 'start', '--table', 'public.later')).code).toBe(0);
    await expect.poll(() => isSame('later'), soon).toBe(true);
    await source.query("UPDATE later SET v = 'after' WHERE id = 2; INSERT INTO later VALUES (3, 'after')");
    await expect.poll(() => isSame('later'), soon).toBe(true);

    await ground.daemon.stop();
    expect((await ground.causeway('pipeline', 'remove', '--confirm', 'main')).code).toBe(0);
    await source.query("DELETE FROM t WHERE id % 2 = 0; UPDATE later SET v = 'in the gap'");
    await sink.query('TRUNCATE t, later');
    await ground.start();
    await source.query("INSERT INTO t VALUES (9999, 'meanwhile')");
    await expect.poll(async () => [await isSame('t'), await isSame('later')], soon).toEqual([true, true]);
    expect(await sink.query('SELECT count(*)::int AS rows FROM t')).toEqual([{ rows: 1501 }]);
  });
});
