// A reconciliation whose process dies in the middle goes on where it was, and counts nothing twice.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isUnderWay, type LoadRow } from '#core/load-row.ts';
import type { ReconcileRow, ReconcileTable } from '#core/reconcile-row.ts';
import type { Difference } from '#core/sink.ts';
import { CommandProcess } from '../support/command-process.ts';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { describeNewestPostgres } from '../support/postgres.ts';

const ROWS = 12_000;
/** Places are stored every ten seconds: a quarter of the rows, or half of them. */
const ROWS_PER_SECOND = 300;
const BETWEEN_PULSES_MS = 200;
/** The first place, on a machine that does other things as well. */
const placed = { timeout: 60_000, interval: 200 };

describeNewestPostgres('a reconciliation that is killed', (major) => {
  let ground: DaemonGround;

  beforeAll(async () => {
    ground = await DaemonGround.create(major);
    await ground.source.query(`CREATE TABLE things (id int PRIMARY KEY, note text);
      CREATE TABLE pulse (id int PRIMARY KEY, n int); INSERT INTO pulse VALUES (1, 0);
      INSERT INTO things SELECT g, repeat(md5(g::text), 64) FROM generate_series(1, ${ROWS}) g`);
    await ground.start();
  });
  afterAll(async () => {
    await ground[Symbol.asyncDispose]();
  });

  const isLoaded = async (): Promise<boolean> => {
    const { loads } = JSON.parse((await ground.causeway('snapshot', 'progress', '-o', 'json')).out) as {
      readonly loads: readonly LoadRow[];
    };
    return loads.length > 0 && !loads.some(isUnderWay);
  };
  const newest = async (): Promise<ReconcileRow | undefined> => {
    const { runs } = JSON.parse((await ground.causeway('reconcile', 'status', '-o', 'json')).out) as {
      readonly runs: readonly ReconcileRow[];
    };
    return runs[0];
  };

  const things = async (): Promise<ReconcileTable | undefined> => (await newest())?.tables.find(({ table }) => table === 'public.things');

  test('is resumed to the end, with exact counts', async () => {
    await expect.poll(isLoaded, soon).toBe(true);
    const writing = new AbortController();
    // While something changes, the daemon tells every second how far it is.
    const writer = pulses(writing.signal);
    try {
      await killedAndResumed();
    } finally {
      writing.abort();
      await writer;
    }
  });

  const pulses = async (signal: AbortSignal): Promise<void> => {
    while (!signal.aborted) {
      await ground.source.query('UPDATE pulse SET n = n + 1');
      await sleep(BETWEEN_PULSES_MS);
    }
  };

  const killedAndResumed = async (): Promise<void> => {
    await ground.sink.query(`DELETE FROM things WHERE id = 10; UPDATE things SET note = 'planted' WHERE id IN (20, ${ROWS - 20});
      INSERT INTO things VALUES (-1, NULL), (${ROWS + 1}, NULL); DELETE FROM things WHERE id = ${ROWS - 10}`);
    const job = new CommandProcess(ground.file, 'reconcile', 'run', '--rate', String(ROWS_PER_SECOND));
    await expect.poll(async () => (job.exit === null ? ((await things())?.counts.rows ?? 0) : job.err), placed).toBeGreaterThan(0);
    await job.kill();
    const left = await newest();
    expect(left).toMatchObject({ state: 'running', verdict: null });
    const before = await things();
    expect(before).toMatchObject({ state: 'running', counts: { missing: 1, extra: 1, mismatched: 1 } });
    expect(before?.counts.rows).toBeLessThan(ROWS);

    // Its lease ends fifteen seconds after it died.
    const resumed = await ground.causeway('reconcile', 'resume', '-o', 'json');
    expect(resumed.code).toBe(3);
    expect(await newest()).toMatchObject({
      run: left?.run,
      state: 'ended',
      verdict: 'differences',
    });
    expect(await things()).toMatchObject({
      state: 'compared',
      counts: { rows: ROWS, missing: 2, extra: 2, mismatched: 2, parked: 0 },
    });
    const { differences } = JSON.parse((await ground.causeway('reconcile', 'report', '-o', 'json')).out) as {
      readonly differences: readonly Difference[];
    };
    expect(differences.map(({ kind, key }) => `${kind} ${key}`).toSorted()).toEqual(
      [
        ...[-1, ROWS + 1].map((id) => `extra ["public.things","${id}"]`),
        ...[20, ROWS - 20].map((id) => `mismatched ["public.things","${id}"]`),
        ...[10, ROWS - 10].map((id) => `missing ["public.things","${id}"]`),
      ].toSorted(),
    );
  };
});
