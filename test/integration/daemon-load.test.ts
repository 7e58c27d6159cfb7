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

/**
 * Each has also a number `n`, which tells its rows apart, and a text `v`. `key`: column, type and value of row number `$`; `more`: columns
 * beside, in the same form.
 */
type Kind = { readonly key: readonly Part[]; readonly more?: readonly Part[]; readonly rows?: number; readonly after?: string };
type Part = readonly [column: string, type: string, value: string];

const kinds: Readonly<Record<string, Kind>> = {
  words: { key: [['w', 'text COLLATE "sv-SE-x-icu"', "translate(($::bigint * 7919 % 1000003)::text, '0123456789', 'aÅäÖzé ß-B') || $"]] },
  parts: {
    key: [
      ['id', 'int', '$'],
      ['at', 'date', "date '2019-06-01' + $ % 600"],
    ],
    after: 'PARTITION BY RANGE (at)',
  },
  moods: {
    key: [
      ['m', 'mood', '(enum_range(NULL::mood))[1 + $ % 3]'],
      ['at', 'timestamptz', "timestamptz '1999-12-31 23:00+01' + $ * interval '1.000001 hour'"],
    ],
  },
  blobs: { key: [['b', 'bytea', "decode(md5($::text), 'hex')"]] },
  kinds: {
    key: [['id', 'uuid', 'md5($::text)::uuid']],
    more: [
      ['padded', 'char(9)', '$::text'],
      ['flag', 'bool', 'nullif($ % 3, 0) = 1'],
      ['f', 'float8', "CASE $ % 5 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE $ / 7.0::float8 END"],
      ['tags', 'text[]', `ARRAY['a,b', NULL, '"' || $ || E'\\\\\\n']`],
      ['moods', 'mood[]', "'{glad,NULL}'::mood[]"],
      ['doc', 'jsonb', `jsonb_build_object('n', $, 'x', 1.50)`],
      ['d', 'date', "CASE $ % 9 WHEN 0 THEN 'infinity' WHEN 1 THEN date '0044-03-15 BC' ELSE date '2020-01-01' + $ END"],
      ['t', 'timetz', "time '23:59:59.999999' AT TIME ZONE 'UTC'"],
      ['i', 'interval', "$ * interval '1 month -1 day 00:00:01.5'"],
      ['bits', 'bit(5)', '($ % 32)::bit(5)'],
      ['addr', 'inet', "inet '10.0.0.0/8' + $"],
      ['amount', 'numeric(12,4)', '$ / 3.0'],
      ['large', 'text', 'CASE WHEN $ % 50 = 0 THEN repeat(md5($::text), 200) END'],
    ],
  },
  many: { key: [['amount', 'numeric', '($ - 1500) * 1.10']], rows: 20_000 },
};
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
    await source.query("CREATE TYPE mood AS ENUM ('sad', 'glad', 'calm')");
    await source.query(names.map(definition).join(''));
    await source.query(`ALTER TABLE kinds ALTER large SET STORAGE EXTERNAL; ALTER TABLE kinds REPLICA IDENTITY FULL;
      CREATE TABLE parts_old PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
      CREATE TABLE parts_new PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO (MAXVALUE) PARTITION BY LIST (id);
      CREATE TABLE parts_new_any PARTITION OF parts_new DEFAULT;
      CREATE SCHEMA archive; CREATE TABLE archive.frozen (id int PRIMARY KEY); INSERT INTO archive.frozen SELECT generate_series(1, 100)`);
    await source.query(ledgerSchema);
    // Rows that the writers come to change, large ones among them, and marks of one who was here before.
    await source.query(`INSERT INTO ledger.marks SELECT 0, g FROM generate_series(1, ${rowsOfTable}) g;
      INSERT INTO ledger.accounts SELECT w * 1000 + g, 0, 0 FROM generate_series(1, 2) w, generate_series(0, 39) g;
      INSERT INTO ledger.papers SELECT w * 1000 + g, repeat(md5(g::text), 150), 0 FROM generate_series(1, 2) w, generate_series(0, 5) g`);
    for (const name of names) await source.query(insertion(name, 1, kinds[name]?.rows ?? rowsOfTable));
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

function definition(name: string): string {
  const { key, more = [], after = '' } = kinds[name] ?? { key: [] };
  const columns = [...key, ...more].map(([column, type]) => `${column} ${type}`);
  return `CREATE TABLE ${name} (${columns.join(', ')}, n int NOT NULL, v text, PRIMARY KEY (${key.map(([column]) => column).join(', ')})) ${after};`;
}

function insertion(name: string, from: number, to: number): string {
  const { key, more = [] } = kinds[name] ?? { key: [] };
  const parts = [...key, ...more];
  const values = parts.map(([, , value]) => value.replaceAll('$', 'g'));
  return `INSERT INTO ${name} (${parts.map(([column]) => column).join(', ')}, n, v) SELECT ${values.join(', ')}, g, 'v' || g FROM generate_series(${from}, ${to}) g`;
}

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
