// A pipeline whose tables hold rows already: loaded beside writers by a daemon that is killed again and again, and equal in the end.
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isUnderWay, type LoadRow } from '#core/load-row.ts';
import { compareMarks } from '../support/accounting.ts';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { digests } from '../support/digest.ts';
import { ledgerSchema, ledgerTables, openAccount, writer } from '../support/ledger-writer.ts';
import { describeNewestPostgres } from '../support/postgres.ts';
import { seededRandom } from '../support/random.ts';
import { insertion, kinds, kindsSchema } from '../support/table-kinds.ts';

const names = Object.keys(kinds);
const loaded = [...names.map((name) => `public.${name}`), ...ledgerTables];
const filledLedgers = ['ledger.marks', 'ledger.accounts', 'ledger.papers'];
const rowsOfTable = 2_000;
const kills = 2;
/** Leaves the loads room beside the writers. */
const BETWEEN_CHANGES_MS = 20;

describeNewestPostgres('tables that hold rows', (major) => {
  let ground: DaemonGround;
  let source: pg.Client;
  let sink: pg.Client;

  beforeAll(async () => {
    ground = await DaemonGround.create(major, { tables: '"public.*", "ledger.*", { name: "archive.*", snapshot: never }' });
    source = await ground.source.connect();
    sink = await ground.sink.connect();
    await source.query(kindsSchema);
    await source.query(`ALTER TABLE kinds ALTER large SET STORAGE EXTERNAL; ALTER TABLE kinds REPLICA IDENTITY FULL;
      CREATE SCHEMA archive; CREATE TABLE archive.frozen (id int PRIMARY KEY); INSERT INTO archive.frozen SELECT generate_series(1, 100)`);
    await source.query(ledgerSchema);
    // Rows that the writers come to change, large ones among them, and marks of one who was here before.
    await source.query(`INSERT INTO ledger.marks SELECT 0, g FROM generate_series(1, ${rowsOfTable}) g;
      INSERT INTO ledger.accounts SELECT w * 1000 + g, 0, 0 FROM generate_series(1, 2) w, generate_series(0, 39) g;
      INSERT INTO ledger.papers SELECT w * 1000 + g, repeat(md5(g::text), 150), 0 FROM generate_series(1, 2) w, generate_series(0, 5) g`);
    for (const name of names) await source.query(insertion(name, 1, name === 'many' ? 20_000 : rowsOfTable));
  });

  afterAll(async () => {
    await source.end();
    await sink.end();
    await ground[Symbol.asyncDispose]();
  });

  const loads = async (): Promise<readonly LoadRow[]> => {
    const { code, out, err } = await ground.causeway('snapshot', 'progress', '-o', 'json');
    expect([code, err]).toEqual([0, '']);
    return (JSON.parse(out) as { readonly loads: readonly LoadRow[] }).loads;
  };
  const rowsSoFar = async (): Promise<number> => (await loads()).reduce((sum, { rows }) => sum + rows, 0);
  const stateOf = async (table: string): Promise<string | undefined> => (await loads()).find((row) => row.table === table)?.state;
  const arrived = async (): Promise<void> => {
    const [row] = (await source.query<{ now: string }>('SELECT extract(epoch FROM clock_timestamp()) AS now')).rows;
    // Behind a change a watermark is due at once.
    await source.query('UPDATE ledger.totals SET changes = changes + 1 WHERE id = 0');
    await ground.daemon.untilWatermark(Number(row?.now), soon.timeout);
  };
  const expectEqual = async (): Promise<void> => {
    expect(await digests(sink, loaded)).toEqual(await digests(source, loaded));
  };

  test('are loaded beside writers, through kills, a pause and a resume', async () => {
    const writing = new AbortController();
    const accounts = [1, 2].map(openAccount);
    const connect = (): Promise<pg.Client> => ground.source.connect();
    const writers = [
      ...accounts.map((account) => writer(account, { connect, seed: account.writer, transactionsPerSecond: 40 }, writing.signal)),
      changesOf(await connect(), writing.signal),
    ];
    try {
      await Promise.race([killedWhileItLoads(), Promise.all(writers)]);
    } finally {
      writing.abort();
      await Promise.all(writers);
    }
    const rows = await loads();
    // Those that were empty when the pipeline began need none.
    expect(rows.map(({ table }) => table)).toEqual(expect.arrayContaining([...names.map((name) => `public.${name}`), ...filledLedgers]));
    expect(rows.filter(({ state }) => state !== 'done')).toEqual([]);
    await arrived();
    await expectEqual();
    const marks = (await sink.query<{ mark: string }>("SELECT writer || '/' || number AS mark FROM ledger.marks")).rows;
    expect(await compareMarks(source, new Set(marks.map(({ mark }) => mark)), accounts)).toEqual({
      lostAtSource: [],
      missingMarks: [],
      surplusMarks: [],
    });
    expect(accounts.every(({ committed }) => committed.size > 50)).toBe(true);
  });

  async function killedWhileItLoads(): Promise<void> {
    let before = 0;
    for (let kill = 0; kill < kills; kill += 1) {
      await ground.start();
      // Further than the last time. Chunks are always on their way then, as what is stored lags behind.
      await expect.poll(rowsSoFar, soon).toBeGreaterThan(before);
      expect((await loads()).some(isUnderWay)).toBe(true);
      await ground.daemon.kill();
      before = await rowsSoFar();
    }
    const [many] = (await loads()).filter(isUnderWay);
    const table = many?.table ?? '';
    const command = async (...words: readonly string[]): Promise<number> => (await ground.causeway('snapshot', ...words)).code;
    const second = await ground.causeway('snapshot', 'start', '--table', table);
    expect([second.code, second.err]).toEqual([4, expect.stringContaining(`a load of ${table} is under way`)]);
    expect(await command('pause', '--table', table)).toBe(0);
    const paused = async (): Promise<LoadRow | undefined> => (await loads()).find((row) => row.table === table);
    const held = await paused();
    await ground.start();
    const others = async (): Promise<readonly string[]> => (await loads()).flatMap((row) => (row.table === table ? [] : [row.state]));
    await expect.poll(async () => new Set(await others()), soon).toEqual(new Set(['done']));
    expect(await paused()).toEqual({ ...held, ...paceless, paused: true });
    const shown = await ground.causeway('snapshot', 'progress');
    expect(shown.out).toMatch(new RegExp(`${table} +all +paused`));
    expect(await command('resume', '--all')).toBe(0);
    await expect.poll(() => stateOf(table), soon).toBe('done');
  }

  test('and those that were copied by other means are left alone until they change', async () => {
    await source.query('INSERT INTO archive.frozen VALUES (101)');
    await arrived();
    expect((await sink.query('SELECT id FROM archive.frozen')).rows).toEqual([{ id: 101 }]);
    expect(await stateOf('archive.frozen')).toBeUndefined();
  });

  test('are loaded again when asked for, which can be cancelled', async () => {
    const words = ['--table', 'public.words'];
    expect((await ground.causeway('snapshot', 'start', ...words)).code).toBe(0);
    await expect.poll(() => stateOf('public.words'), soon).toBe('done');
    await arrived();
    await expectEqual();
    // While nobody carries it on.
    await ground.daemon.stop();
    expect((await ground.causeway('snapshot', 'start', ...words)).code).toBe(0);
    expect((await ground.causeway('snapshot', 'start', ...words)).code).toBe(4);
    expect((await ground.causeway('snapshot', 'cancel', ...words)).code).toBe(0);
    expect((await ground.causeway('snapshot', 'cancel', '--table', 'public.ids')).code).toBe(4);
    await ground.start();
    await expect.poll(() => stateOf('public.words'), soon).toBe('cancelled');
    await arrived();
    await expectEqual();
  });
});

/** Figures of progress that go on changing with the clock. */
const paceless = { rowsPerSecond: expect.any(Number) as number, secondsLeft: null };

/** Changes some rows of every table, keys too, takes some away and makes new ones, until the signal. */
async function changesOf(client: pg.Client, signal: AbortSignal): Promise<void> {
  const random = seededRandom(7);
  const pick = 499;
  let newest = 1_000_000;
  try {
    while (!signal.aborted) {
      const name = names[Math.floor(random() * names.length)] ?? '';
      const some = `n % ${pick} = ${Math.floor(random() * pick)} AND n < 1000000`;
      const draw = random();
      const moved = (kinds[name]?.key ?? []).map(([column, , value]) => `${column} = ${value.replaceAll('$', '(n + 2000000)')}`);
      if (draw < 0.5) await client.query(`UPDATE ${name} SET v = v || 'x' WHERE ${some}`);
      else if (draw < 0.65) await client.query(`DELETE FROM ${name} WHERE ${some}`);
      else if (draw < 0.8) await client.query(`UPDATE ${name} SET ${moved.join(', ')}, n = n + 2000000 WHERE ${some}`);
      else await client.query(insertion(name, newest, newest + 5));
      newest += 6;
      await sleep(BETWEEN_CHANGES_MS);
    }
  } finally {
    await client.end();
  }
}
