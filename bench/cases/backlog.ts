// End to end: a backlog from one server to the other, beside a subscription between the same two.
import type pg from 'pg';
import { Arena, postmasterOf } from '../arena.ts';
import { writeBacklog } from '../load.ts';
import { compareRates, type Measured, type Result } from '../pairs.ts';
import { UsageMeter } from '../usage.ts';
import { digests } from '../../test/support/digest.ts';

export type BacklogOptions = {
  readonly runs: number;
  readonly rows: number;
  readonly kind: 'thousands' | 'single';
  readonly register: 'sidecar' | 'inline';
  readonly goal: number;
};

export async function backlogCase({ runs, rows: rowsWanted, kind, register, goal }: BacklogOptions): Promise<Result[]> {
  await using arena = await Arena.create();
  for (let run = 0; run < runs; run += 1) {
    await arena.prepare(`run${run}`);
    await arena.makeSlot(`reference${run}`);
  }
  const rows = await writeBacklog(arena.client, kind, rowsWanted);
  const transactions = kind === 'thousands' ? '1,000-row' : 'one-row';
  const result = await compareRates(
    {
      name: `backlog-${kind === 'single' ? kind : register}`,
      what: `a backlog of ${rows} row changes in ${transactions} transactions, Postgres to Postgres, ${register}`,
      reference: 'subscription',
      runs,
      ours: (run) => ours(arena, { pipeline: `run${run}`, register, rows }),
      theirs: (run) => theirs(arena, `reference${run}`, rows),
    },
    goal,
  );
  return [result];
}

async function ours(
  arena: Arena,
  of: { readonly pipeline: string; readonly register: 'sidecar' | 'inline'; readonly rows: number },
): Promise<Measured> {
  const { pipeline, register, rows } = of;
  const copy = await arena.makeCopy(pipeline, false);
  const daemon = await arena.start(pipeline, 'capture,apply', { register, sinkDatabase: pipeline });
  const meter = new UsageMeter([
    { name: 'causeway', pid: daemon.pid },
    { name: 'source', pid: postmasterOf(arena.source), children: true },
    { name: 'sink', pid: postmasterOf(arena.sink), children: true },
  ]);
  const slot = `causeway_${pipeline}`;
  const startMs = await arena.untilActive(slot, daemon);
  const endMs = await arena.untilFinished(copy, daemon);
  const usage = meter.stop();
  await daemon.stop();
  await arena.dropSlot(slot);
  await assertEqual(arena, copy, register);
  await copy.end();
  return { rows, seconds: (endMs - startMs) / 1_000, usage };
}

async function theirs(arena: Arena, name: string, rows: number): Promise<Measured> {
  const copy = await arena.makeCopy(name, true);
  await subscribe(arena, copy, name);
  const meter = new UsageMeter([
    { name: 'source', pid: postmasterOf(arena.source), children: true },
    { name: 'sink', pid: postmasterOf(arena.sink), children: true },
  ]);
  await copy.query(`ALTER SUBSCRIPTION ${name} ENABLE`);
  const startMs = await arena.untilActive(name);
  const endMs = await arena.untilFinished(copy);
  const usage = meter.stop();
  await unsubscribe(copy, name);
  await arena.dropSlot(name);
  await assertEqual(arena, copy, 'sidecar');
  await copy.end();
  return { rows, seconds: (endMs - startMs) / 1_000, usage };
}

/** A commit that was applied is on the disk before it counts, as it is with Causeway: a subscription's own default is off. */
export async function subscribe(arena: Arena, copy: pg.Client, name: string): Promise<void> {
  const { source } = arena;
  const connection = `host=127.0.0.1 port=${source.port} user=${source.user} password=${source.password} dbname=bench`;
  await copy.query(
    `CREATE SUBSCRIPTION ${name} CONNECTION '${connection}' PUBLICATION reference
     WITH (slot_name = '${name}', create_slot = false, copy_data = false, enabled = false, synchronous_commit = on, streaming = off)`,
  );
}

export async function unsubscribe(copy: pg.Client, name: string): Promise<void> {
  await copy.query(`ALTER SUBSCRIPTION ${name} DISABLE`);
  await copy.query(`ALTER SUBSCRIPTION ${name} SET (slot_name = NONE)`);
  await copy.query(`DROP SUBSCRIPTION ${name}`);
}

/** A figure for a copy that is not right would mean nothing. */
export async function assertEqual(arena: Arena, copy: pg.Client, register: 'sidecar' | 'inline'): Promise<void> {
  if (register === 'inline') {
    await copy.query('ALTER TABLE bench.item RENAME TO item_with_register');
    await copy.query(
      'CREATE TABLE bench.item AS SELECT id, account, status, amount, changed_at, payload FROM bench.item_with_register WHERE NOT cw_deleted',
    );
  }
  const [there] = await digests(arena.client, ['bench.item']);
  const [here] = await digests(copy, ['bench.item']);
  if (there?.rows !== here?.rows || there?.digest !== here?.digest) {
    throw new Error(`the copy differs: ${there?.rows ?? 0} rows at the source, ${here?.rows ?? 0} at the copy`);
  }
}
