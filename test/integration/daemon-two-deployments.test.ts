// Two deployments whose pipelines and sinks have the same names, over one sink database. Progress and fences there are kept by these names.
import { readFileSync, writeFileSync } from 'node:fs';
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

  test('the second one over one slot is told that it knows nothing of it, and cannot take it from the first by removing its pipeline', async () => {
    await using first = await DaemonGround.create(major);
    await using second = await DaemonGround.create(major, { sinkUrl: () => first.sink.url });
    await first.source.query('CREATE TABLE t (id int PRIMARY KEY)');
    await first.start();
    const { url, name } = second.source;
    writeFileSync(second.file, readFileSync(second.file, 'utf8').replaceAll(url, first.source.url).replaceAll(name, first.source.name));
    await second.start('failed');
    expect((await second.status())?.trouble?.code).toBe('checkpoint_lost');
    await second.daemon.stop();
    for (const words of [
      ['pipeline', 'remove', '--confirm', 'main'],
      ['slot', 'drop', '--confirm', first.source.name],
    ]) {
      const refused = await second.causeway(...words);
      expect([refused.code, refused.err]).toEqual([4, expect.stringContaining(`a connection holds the slot ${first.source.name}`)]);
    }
    await first.source.query('INSERT INTO t VALUES (1)');
    await expect.poll(async () => (await first.sink.query('SELECT FROM t')).length, soon).toBe(1);
    expect((await first.status())?.state).toBe('streaming');
  });
});
