// Two deployments whose pipelines and sinks have the same names, over one sink database. Progress and fences there are kept by these names.
import { expect, test } from 'vitest';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { describeNewestPostgres } from '../support/postgres.ts';

describeNewestPostgres('two deployments over one sink', (major) => {
  const trouble = async (ground: DaemonGround): Promise<string | undefined> => (await ground.status())?.sinks[0]?.trouble?.code;

  test('started for the first time at once, one gets the sink and loses nothing; the other is told, and goes on under another name', async () => {
    await using first = await DaemonGround.create(major);
    await using second = await DaemonGround.create(major, { sinkUrl: () => first.sink.url });
    const grounds = [first, second] as const;
    for (const [at, { source }] of grounds.entries()) await source.query(`CREATE TABLE t${at} (id int PRIMARY KEY, n int)`);
    await Promise.all(grounds.map((ground) => ground.start()));
    const write = async (from: number): Promise<void> => {
      const rows = `SELECT g, 0 FROM generate_series(${from}, ${from + 99}) g`;
      await Promise.all(grounds.map(({ source }, at) => source.query(`INSERT INTO t${at} ${rows}`)));
    };
    await write(1);
    const refused = async (): Promise<number> => (await Promise.all(grounds.map(trouble))).filter((code) => code === 'sink_claimed').length;
    await expect.poll(refused, soon).toBe(1);
    const loser = (await trouble(first)) === 'sink_claimed' ? 0 : 1;
    const winner = 1 - loser;
    /** Rows at the sink; null where the table is missing. */
    const held = async (at: number): Promise<number | null> => {
      const [found] = await first.sink.query<{ name: string | null }>('SELECT to_regclass($1)::text AS name', [`t${at}`]);
      return found?.name === null ? null : (await first.sink.query(`SELECT FROM t${at}`)).length;
    };
    await expect.poll(() => held(winner), soon).toBe(100);
    expect(await held(loser)).toBe(null);

    const given = loser === 0 ? first : second;
    await given.daemon.stop();
    const removed = await given.causeway('pipeline', 'remove', '--sink', 'copy', '--confirm', 'main');
    expect([removed.code, removed.err]).toEqual([0, expect.stringContaining('left as it is')]);
    await write(101);
    await expect.poll(() => held(winner), soon).toBe(200);

    expect((await given.causeway('pipeline', 'remove', '--confirm', 'main')).code).toBe(0);
    await given.source.query(`TRUNCATE t${loser}`);
    given.configure('public.*', ['other']);
    await given.start();
    await write(201);
    await expect.poll(() => Promise.all([held(winner), held(loser)]), soon).toEqual([300, 100]);
  });
});
