// A reconciliation as an operator runs it: beside writers, against a daemon, with differences that somebody made at the sink.
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isUnderWay, type LoadRow } from '#core/load-row.ts';
import type { ReconcileRow } from '#core/reconcile-row.ts';
import type { Difference } from '#core/sink.ts';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { digests } from '../support/digest.ts';
import { ledgerSchema, openAccount, writer } from '../support/ledger-writer.ts';
import { describeNewestPostgres } from '../support/postgres.ts';

const tables = ['public.words', 'public.things'];
const rows = 5_000;

type RunList = { readonly runs: readonly ReconcileRow[] };
type Report = {
  readonly differences: readonly (Difference & { readonly values?: { readonly source: unknown; readonly sink: unknown } })[];
};

describeNewestPostgres('a reconciliation', (major) => {
  let ground: DaemonGround;
  let source: pg.Client;
  let sink: pg.Client;

  beforeAll(async () => {
    ground = await DaemonGround.create(major, { tables: '"public.*", "ledger.*"' });
    source = await ground.source.connect();
    sink = await ground.sink.connect();
    await source.query(`CREATE TABLE words (w text COLLATE "sv-SE-x-icu" PRIMARY KEY, n int, doc jsonb, amount numeric(12,4), at timestamptz);
      INSERT INTO words SELECT translate((g::bigint * 7919 % 1000003)::text, '0123456789', 'aÅäÖzé ß-B') || g, g, jsonb_build_object('n', g, 'x', 1.50),
        g / 3.0, timestamptz '1999-12-31 23:00+01' + g * interval '1.000001 hour' FROM generate_series(1, ${rows}) g`);
    await source.query(`CREATE TABLE things (id uuid, part int, large text, PRIMARY KEY (id, part));
      INSERT INTO things SELECT md5(g::text)::uuid, g % 3, CASE WHEN g % 50 = 0 THEN repeat(md5(g::text), 200) END FROM generate_series(1, ${rows}) g`);
    await source.query(ledgerSchema);
    await ground.start();
  });

  afterAll(async () => {
    await source.end();
    await sink.end();
    await ground[Symbol.asyncDispose]();
  });

  const run = async (...words: readonly string[]): Promise<{ readonly code: number; readonly row: ReconcileRow }> => {
    const { code, out, err } = await ground.causeway('reconcile', 'run', '-o', 'json', ...words);
    const [row] = (JSON.parse(out) as Partial<RunList>).runs ?? [];
    if (row === undefined) throw new Error(`${code} ${out} ${err}`);
    return { code, row };
  };
  const isLoaded = async (): Promise<boolean> => {
    const { loads } = JSON.parse((await ground.causeway('snapshot', 'progress', '-o', 'json')).out) as {
      readonly loads: readonly LoadRow[];
    };
    return loads.length > 0 && !loads.some(isUnderWay);
  };
  const countsOf = ({ tables: all }: ReconcileRow, table: string) => all.find((one) => one.table === table)?.counts;

  test('beside writers finds what was planted and nothing else, and mends it', async () => {
    await expect.poll(isLoaded, soon).toBe(true);
    const writing = new AbortController();
    const accounts = [1, 2].map(openAccount);
    const connect = (): Promise<pg.Client> => ground.source.connect();
    const writers = accounts.map((account) =>
      writer(account, { connect, seed: account.writer, transactionsPerSecond: 100 }, writing.signal),
    );
    try {
      await sink.query(`DELETE FROM words WHERE n = 17; UPDATE words SET doc = '{"n": 0}' WHERE n = 18;
        INSERT INTO words VALUES ('nobody wrote this', 0, NULL, NULL, NULL);
        UPDATE things SET large = 'short' WHERE id = md5('50')::uuid`);
      const second = await run();
      expect(second.row.tables.flatMap(({ reason }) => reason ?? [])).toEqual([]);
      expect([second.code, second.row.verdict]).toEqual([3, 'differences']);
      expect(countsOf(second.row, 'public.words')).toMatchObject({ rows, missing: 1, extra: 1, mismatched: 1 });
      expect(countsOf(second.row, 'public.things')).toMatchObject({ rows, missing: 0, extra: 0, mismatched: 1 });
    } finally {
      writing.abort();
      await Promise.all(writers);
    }
    const plain = await ground.causeway('reconcile', 'report');
    expect(plain.out).toContain('extra  public.words nobody wrote this');
    expect(plain.out).not.toContain('short');
    const { differences } = JSON.parse((await ground.causeway('reconcile', 'report', '--show-data', '-o', 'json')).out) as Report;
    expect(differences.map(({ kind, cause, columns }) => [kind, cause, columns])).toEqual(
      expect.arrayContaining([
        ['missing', 'foreign_write', []],
        ['mismatched', 'foreign_write', ['doc']],
        ['extra', 'foreign_write', []],
        ['mismatched', 'foreign_write', ['large']],
      ]),
    );
    expect(JSON.stringify(differences)).toContain('short');

    expect((await ground.causeway('reconcile', 'repair', '--apply', 'another')).code).toBe(4);
    const plan = JSON.parse((await ground.causeway('reconcile', 'repair', '--plan', '-o', 'json')).out) as { readonly plan: string };
    const above = await ground.causeway('reconcile', 'repair', '--apply', plan.plan, '--max', '3');
    expect([above.code, above.err]).toEqual([4, expect.stringContaining('--max 4')]);
    const repaired = await ground.causeway('reconcile', 'repair', '--apply', plan.plan);
    expect([repaired.code, repaired.out]).toEqual([0, '4 keys published, 4 are right now, 0 still differ\n']);
    expect((await run()).row.verdict).toBe('clean');
    expect(await digests(sink, tables)).toEqual(await digests(source, tables));
  }, 120_000);
});
