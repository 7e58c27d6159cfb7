// What comes after the first start, done with the daemon and the commands: a second sink, and then a table, both while the source is written
// to and the daemon is killed.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { LoadRow } from '#core/load-row.ts';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { digests } from '../support/digest.ts';
import { describeNewestPostgres } from '../support/postgres.ts';
import { seededRandom } from '../support/random.ts';

const rows = 20_000;

/** Leaves the loads room beside the writer. */
const BETWEEN_CHANGES_MS = 3;

describeNewestPostgres('what comes later', (major) => {
  test('a sink, and a table, under writes and kills', async () => {
    await using ground = await DaemonGround.create(major, { sinks: ['copy', 'second'] });
    const { source } = ground;
    const [copy, second] = [...ground.sinks.values()];
    if (copy === undefined || second === undefined) throw new Error('there are two sinks');
    ground.configure('public.*', ['copy']);
    await source.query(`CREATE TABLE t (id int PRIMARY KEY, v text, large text);
      ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
      INSERT INTO t SELECT n, 'v' || n, CASE WHEN n % 100 = 0 THEN repeat(md5(n::text), 150) END FROM generate_series(1, ${rows}) n; ANALYZE t`);
    const loads = async (): Promise<readonly LoadRow[]> => {
      const { out } = await ground.causeway('snapshot', 'progress', '-o', 'json');
      return (JSON.parse(out) as { readonly loads: readonly LoadRow[] }).loads;
    };
    const loadOf = async (table: string, sink: string | null): Promise<LoadRow | undefined> =>
      (await loads()).find((row) => row.table === table && row.sink === sink);
    await ground.start();
    await expect.poll(async () => (await loadOf('public.t', null))?.state, soon).toBe('done');

    const writing = new AbortController();
    const written = new Set(['t']);
    const writer = writesTo(ground, written, writing.signal);
    try {
      await ground.daemon.stop();
      ground.configure('public.*');
      await ground.start();
      const statusOfSecond = async () => (await ground.status())?.sinks.find(({ name }) => name === 'second');
      for (let kill = 0; kill < 2; kill += 1) {
        await expect.poll(async () => (await loadOf('public.t', 'second'))?.state, soon).toMatch(/open|reading/);
        await ground.daemon.kill();
        await ground.start();
        await expect.poll(async () => (await statusOfSecond())?.state, soon).toBe('running');
        // As long as it lacks rows it claims none.
        const seen = await statusOfSecond();
        expect([seen?.watermark === null, seen?.lagSeconds === null]).toEqual([seen?.loading.length === 1, seen?.loading.length === 1]);
      }
      await expect.poll(async () => (await loadOf('public.t', 'second'))?.state, soon).toBe('done');
      await expect
        .poll(async () => [(await statusOfSecond())?.loading, (await statusOfSecond())?.watermark !== null], soon)
        .toEqual([[], true]);
      expect((await statusOfSecond())?.parkedKeys).toBe(0);

      // One transaction writes it before it is captured and ends much later.
      const old = await source.connect();
      await source.query(`CREATE TABLE later (id int PRIMARY KEY, v text, large text);
        INSERT INTO later SELECT n, 'v' || n, NULL FROM generate_series(1, ${rows}) n`);
      await old.query("BEGIN; UPDATE later SET v = 'of old' WHERE id % 1000 = 0");
      await expect.poll(async () => (await ground.causeway('status')).err, soon).toContain('causeway snapshot start --table public.later');
      expect((await ground.causeway('snapshot', 'start', '--table', 'public.later')).code).toBe(0);
      const published = async (): Promise<readonly unknown[]> =>
        await source.query("SELECT FROM pg_publication_tables WHERE tablename = 'later'");
      await expect.poll(async () => (await published()).length, soon).toBe(1);
      written.add('later');
      await ground.daemon.kill();
      await ground.start();
      await expect.poll(() => ground.daemon.log.join('\n'), soon).toContain('a table waits for transactions');
      expect(await loadOf('public.later', null)).toMatchObject({ state: 'open', rows: 0 });
      await old.query('COMMIT');
      await old.end();
      await expect.poll(async () => (await loadOf('public.later', null))?.state, soon).toBe('reading');
      await ground.daemon.kill();
      await ground.start();
      await expect.poll(async () => (await loadOf('public.later', null))?.state, soon).toBe('done');
    } finally {
      writing.abort();
      await writer;
    }
    const tables = ['public.t', 'public.later'];
    const expected = await digestsOf(source, tables);
    await expect.poll(async () => [await digestsOf(copy, tables), await digestsOf(second, tables)], soon).toEqual([expected, expected]);
    expect((await ground.status())?.sinks.map(({ parkedKeys }) => parkedKeys)).toEqual([0, 0]);
  });
});

async function digestsOf(
  database: { connect(): ReturnType<DaemonGround['source']['connect']> },
  tables: readonly string[],
): Promise<unknown> {
  const client = await database.connect();
  try {
    return await digests(client, tables);
  } finally {
    await client.end();
  }
}

/** Changes rows of these tables, most of them without their large column, until the signal. */
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
      await sleep(BETWEEN_CHANGES_MS);
    }
  } finally {
    await client.end();
  }
}
