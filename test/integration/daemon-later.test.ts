// What comes after the first start, done with the daemon and the commands: a second sink, and a table, each while the source is written to
// and the daemon is killed.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { LoadRow } from '#core/load-row.ts';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { digests, type TableDigest } from '../support/digest.ts';
import type { PostgresMajor } from '../support/postgres-binaries.ts';
import { describeNewestPostgres } from '../support/postgres.ts';
import { seededRandom } from '../support/random.ts';

const rows = 10_000;
/** Between two changes of the source. */
const paceMs = 3;

describeNewestPostgres('what comes later', (major) => {
  test('a sink is brought the rows from before, under writes and a kill, and claims none until then', async () => {
    await using ground = await madeGround(major, ['copy', 'second']);
    ground.configure('public.*', ['copy']);
    await ground.start();
    await expect.poll(() => isLoading(ground, 'public.t', null), soon).toBe(false);
    const statusOfSecond = async () => (await ground.status())?.sinks.find(({ name }) => name === 'second');
    await underWrites(ground, async () => {
      await ground.daemon.stop();
      ground.configure('public.*');
      await ground.start();
      await expect.poll(() => isLoading(ground, 'public.t', 'second'), soon).toBe(true);
      await ground.daemon.kill();
      await ground.start();
      await expect.poll(async () => (await statusOfSecond())?.state, soon).toBe('running');
      const seen = await statusOfSecond();
      expect(seen?.watermark === null || seen?.loading.length === 0).toBe(true);
      await expect
        .poll(async () => [(await statusOfSecond())?.loading, (await statusOfSecond())?.watermark !== null], soon)
        .toEqual([[], true]);
      expect(await stateOf(ground, 'public.t', 'second')).toBe('done');
    });
    await expectSame(ground, ['public.t']);
  });

  test('a table is captured and loaded by one command, under writes of which one began before, and through kills', async () => {
    await using ground = await madeGround(major, ['copy']);
    const { source } = ground;
    await ground.start();
    await underWrites(ground, async (written) => {
      const old = await source.connect();
      await source.query(`CREATE TABLE later (id int PRIMARY KEY, v text, large text);
        INSERT INTO later SELECT n, 'v' || n, NULL FROM generate_series(1, ${rows}) n`);
      await old.query("BEGIN; UPDATE later SET v = 'of old' WHERE id % 1000 = 0");
      await expect.poll(async () => (await ground.causeway('status')).err, soon).toContain('causeway snapshot start --table public.later');
      expect((await ground.causeway('snapshot', 'start', '--table', 'public.later')).code).toBe(0);
      const published = (): Promise<readonly unknown[]> => source.query("SELECT FROM pg_publication_tables WHERE tablename = 'later'");
      await expect.poll(async () => (await published()).length, soon).toBe(1);
      written.add('later');
      await ground.daemon.kill();
      await ground.start();
      await expect.poll(() => ground.daemon.log.join('\n'), soon).toContain('a table waits for transactions');
      expect(await stateOf(ground, 'public.later', null)).toBe('open');
      await old.query('COMMIT');
      await old.end();
      await expect.poll(async () => (await ground.status())?.loads.map(({ state }) => state), soon).toEqual(['reading']);
      await ground.daemon.kill();
      await ground.start();
      await expect
        .poll(async () => [await isLoading(ground, 'public.later', null), (await ground.status())?.refused], soon)
        .toEqual([false, []]);
      expect(await stateOf(ground, 'public.later', null)).toBe('done');
    });
    await expectSame(ground, ['public.t', 'public.later']);
  });
});

async function madeGround(major: PostgresMajor, sinks: readonly string[]): Promise<DaemonGround> {
  const ground = await DaemonGround.create(major, { sinks });
  await ground.source.query(`CREATE TABLE t (id int PRIMARY KEY, v text, large text);
    ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
    INSERT INTO t SELECT n, 'v' || n, CASE WHEN n % 100 = 0 THEN repeat(md5(n::text), 150) END FROM generate_series(1, ${rows}) n; ANALYZE t`);
  return ground;
}

/** By the daemon, which tells of loads that are not over. */
async function isLoading(ground: DaemonGround, table: string, sink: string | null): Promise<boolean | undefined> {
  return (await ground.status())?.loads.some((row) => row.table === table && row.sink === sink);
}

async function stateOf(ground: DaemonGround, table: string, sink: string | null): Promise<string | undefined> {
  const { out } = await ground.causeway('snapshot', 'progress', '-o', 'json');
  return (JSON.parse(out) as { readonly loads: readonly LoadRow[] }).loads.find((row) => row.table === table && row.sink === sink)?.state;
}

async function expectSame(ground: DaemonGround, tables: readonly string[]): Promise<void> {
  const databases = [ground.source, ...ground.sinks.values()];
  const digestsOf = async (database: DaemonGround['source']): Promise<readonly TableDigest[]> => {
    const client = await database.connect();
    try {
      return await digests(client, tables);
    } finally {
      await client.end();
    }
  };
  const texts = async (): Promise<number> =>
    new Set((await Promise.all(databases.map(digestsOf))).map((each) => JSON.stringify(each))).size;
  await expect.poll(texts, soon).toBe(1);
  for (const { parkedKeys } of (await ground.status())?.sinks ?? []) expect(parkedKeys).toBe(0);
}

/** Changes rows of these tables, most of them without their large column, for as long as the work takes. */
async function underWrites(ground: DaemonGround, work: (written: Set<string>) => Promise<void>): Promise<void> {
  const writing = new AbortController();
  const written = new Set(['t']);
  const writer = writesTo(ground, written, writing.signal);
  try {
    await Promise.race([work(written), writer]);
  } finally {
    writing.abort();
    await writer;
  }
}

async function writesTo(ground: DaemonGround, tables: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
  const client = await ground.source.connect();
  const random = seededRandom(11);
  const below = (bound: number): number => Math.floor(random() * bound);
  let newest = 1_000_000;
  try {
    while (!signal.aborted) {
      const table = [...tables][below(tables.size)] ?? 't';
      const id = below(rows);
      const draw = random();
      if (draw < 0.6) await client.query(`UPDATE ${table} SET v = v || 'x' WHERE id BETWEEN ${id} AND ${id + 3}`);
      else if (draw < 0.7) await client.query(`DELETE FROM ${table} WHERE id = ${id}`);
      else if (draw < 0.8) await client.query(`UPDATE ${table} SET id = ${(newest += 1)} WHERE id = ${id} AND large IS NULL`);
      else await client.query(`INSERT INTO ${table} VALUES (${(newest += 1)}, 'new', repeat('l', ${below(3) * 3000}))`);
      await sleep(paceMs);
    }
  } finally {
    await client.end();
  }
}
