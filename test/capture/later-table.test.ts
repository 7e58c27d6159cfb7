// A table that is made after the pipeline has started: it is captured once a load is asked for, from the opening of that load on, and
// whatever happens in between, a reader of the log ends up with the source's rows.
import { describe, expect, test } from 'vitest';
import { controlKeys } from '#core/control-rows.ts';
import { newLoad, type LoadRow } from '#core/load-row.ts';
import type { TableId } from '#core/schema.ts';
import { PIPELINE, World, type Process, type StartOptions } from './world.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';

const never = new AbortController().signal;
const LATER = 'public.later' as TableId;
const small: StartOptions = {
  options: { chunk: { targetMs: 250, rowsFirst: 3, rowsMax: 5, bytesMax: 200, hotMax: 1_000 }, leaseTtlMs: 3_000 },
};

/** As the command asks for it. */
async function ask(world: World, table: TableId, sink: string | null = null): Promise<void> {
  const value = newLoad({ table, sink, rowsExpected: null, wallMs: world.clock.runtime.wallMs() });
  await change(world, controlKeys.load(PIPELINE, table, sink), () => value);
}

async function change(world: World, key: ReturnType<typeof controlKeys.load>, to: (row: LoadRow) => LoadRow): Promise<void> {
  const control = new MemoryControlStore(world.controlRows);
  const stored = await control.get(key, never);
  await control.swap({ key, value: to(stored?.value as LoadRow), expected: stored?.version ?? null }, never);
}

function loadOf(world: World, table: TableId, sink: string | null = null): LoadRow | null {
  return world.row(controlKeys.load(PIPELINE, table, sink)) as LoadRow | null;
}

function fill(world: World, table: TableId, rows: number): void {
  world.database.commit(Array.from({ length: rows }, (_, at) => ({ op: 'insert', table, row: [`k${at}`, `v${at}`, 'large'] })));
}

/** In each generation of each partition the table's schema stands first; in the log, the opening of its load before its first change. */
function assertOpened(world: World): void {
  for (const partition of world.logStore.partitions.keys()) {
    const records = world.records(partition).filter((record) => 'table' in record && record.table === LATER);
    const first = records.findIndex(({ tag }) => tag === 'change');
    const opening = records.findIndex(({ tag }) => tag === 'load-open');
    if (first >= 0) expect(opening).toBeGreaterThanOrEqual(0);
    if (first >= 0) expect(opening).toBeLessThan(first);
  }
}

describe('a table that is made later', () => {
  test('is left out until a load is asked for, and then captured from the opening of that on', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', ['id', 'value', 'large']);
    const process = await world.startStreaming(small);
    world.database.createTable(LATER, ['id', 'value', 'large']);
    fill(world, LATER, 12);
    await world.clock.advance(12_000);
    expect([world.row(controlKeys.table(PIPELINE, LATER)), world.database.connections]).toEqual([null, 1]);
    await ask(world, LATER);
    let writes = 0;
    world.database.onCall = () => {
      writes += 1;
      if (writes % 3 !== 0) return;
      world.database.commit([
        { op: 'update', table: LATER, id: `k${writes % 12}`, row: [`k${writes % 12}`, `w${writes}`, undefined] },
        { op: 'insert', table: orders, row: [`o${writes}`, 'v', 'l'] },
      ]);
    };
    await world.clock.advance(10_000);
    world.database.onCall = null;
    await world.clock.advance(2_000);
    expect(world.tableRow(LATER).state).toBe('streaming');
    expect(loadOf(world, LATER)?.state).toBe('done');
    // The stream began anew once, and nobody was told of a trouble.
    expect(world.database.connections).toBe(2);
    expect(process.states.map(({ tag }) => tag)).not.toContain('reconnecting');
    assertOpened(world);
    expect(world.readLog()).toEqual(world.sourceRows());
    await world.stopped(process);
  });

  test('waits until those who wrote it before are through', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const process = await world.startStreaming(small);
    world.database.createTable(LATER, ['id', 'value', 'large']);
    world.database.writtenBefore = new Set([LATER]);
    await ask(world, LATER);
    await world.clock.advance(20_000);
    expect([loadOf(world, LATER)?.state, world.row(controlKeys.table(PIPELINE, LATER))]).toEqual(['open', null]);
    world.database.writtenBefore = new Set();
    await world.clock.advance(10_000);
    expect(loadOf(world, LATER)?.state).toBe('done');
    await world.stopped(process);
  });

  test('that is not there breaks no stream, and its load can be ended', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const process = await world.startStreaming(small);
    await ask(world, LATER);
    await world.clock.advance(20_000);
    expect([loadOf(world, LATER)?.state, world.database.connections]).toEqual(['open', 1]);
    await change(world, controlKeys.load(PIPELINE, LATER, null), (row) => ({ ...row, state: 'cancel' }));
    await world.clock.advance(10_000);
    expect(loadOf(world, LATER)?.state).toBe('cancelled');
    await world.stopped(process);
  });

  test('that a connection does not show after all is tried once', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const process = await world.startStreaming(small);
    world.database.createTable(LATER);
    await ask(world, LATER);
    // Between the question and the connection it is gone.
    world.database.onCall = (call) => {
      if (call === 'inspect') world.database.dropTable(LATER);
      if (call === 'follow') world.database.createTable(LATER);
    };
    await world.clock.advance(60_000);
    expect(world.database.connections).toBe(2);
    world.database.onCall = null;
    await world.stopped(process);
  });

  test.each(Array.from({ length: 40 }, (_, at) => ({ killedAtMs: 100 * at })))(
    'loses nothing by a kill $killedAtMs ms after the load was asked for',
    async ({ killedAtMs }) => {
      const world = new World({ partitions: 2 });
      const { database, clock } = world;
      database.createTable('public.orders');
      const first = await world.startStreaming(small);
      database.createTable(LATER, ['id', 'value', 'large']);
      fill(world, LATER, 12);
      let calls = 0;
      database.onCall = () => {
        calls += 1;
        const id = `k${calls % 12}`;
        if (calls < 200) database.commit([{ op: 'update', table: LATER, id, row: [id, `w${calls}`, calls % 2 === 0 ? undefined : 'l'] }]);
      };
      await ask(world, LATER);
      let isDead = false;
      world.logStore.onAppend = async (stage) => {
        if (stage === 'before') await clock.runtime.sleep(200, never);
        if (isDead) throw new Error('what was on its way never came');
      };
      await clock.advance(killedAtMs);
      first.kill();
      isDead = true;
      await clock.advance(500);
      isDead = false;
      // Either it is not captured, or its load is still owed or was carried on.
      if (world.row(controlKeys.table(PIPELINE, LATER)) === null) expect(loadOf(world, LATER)?.state).toBe('open');
      const second = await world.startStreaming(small, 60_000);
      database.onCall = null;
      world.logStore.onAppend = null;
      await clock.advance(5_000);
      expect(loadOf(world, LATER)?.state).toBe('done');
      await world.stopped(second);
      assertOpened(world);
      expect(world.readLog()).toEqual(world.sourceRows());
    },
  );
});

const SEEDS = 40;

test('tables that come under writes and restarts end with the source’s rows', async () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const world = new World({ seed, partitions: 2 });
    const { database, clock } = world;
    const below = (bound: number): number => Math.floor(clock.runtime.random() * bound);
    const orders = database.createTable('public.orders', ['id', 'value', 'large']);
    let process: Process = await world.startStreaming(small);
    database.createTable(LATER, ['id', 'value', 'large']);
    fill(world, LATER, 5 + below(20));
    let writes = 0;
    database.onCall = (call) => {
      writes += 1;
      if (call === 'rows' && below(30) === 0) database.disconnect();
      if (below(3) > 0) return;
      const id = `k${below(25)}`;
      const table = below(4) === 0 ? orders : LATER;
      if (database.isLocked(table, id)) return;
      const exists = database.table(table).rows.has(JSON.stringify([table, id]) as never);
      const row = [id, `w${writes}`, below(2) === 0 ? undefined : `l${writes}`];
      const whole = [id, `w${writes}`, `l${writes}`];
      const isGone = exists && below(4) === 0;
      database.commit(
        [isGone ? { op: 'delete', table, id } : exists ? { op: 'update', table, id, row } : { op: 'insert', table, row: whole }],
        {
          hidden: below(4) === 0,
        },
      );
    };
    await clock.advance(below(3_000));
    await ask(world, LATER);
    // For one sink alone at the same time: neither ends the other.
    await ask(world, LATER, 'warm');
    for (let step = 0; step < 6; step += 1) {
      await clock.advance(100 + below(3_000));
      if (below(2) === 0) continue;
      if (below(2) === 0) process.kill();
      else process.stop();
      await clock.advance(500);
      process = world.start(small);
    }
    database.onCall = null;
    database.show();
    await clock.advance(40_000);
    expect({ seed, error: process.outcome()?.error }).toEqual({ seed, error: undefined });
    await world.stopped(process);
    expect([seed, loadOf(world, LATER)?.state, loadOf(world, LATER, 'warm')?.state]).toEqual([seed, 'done', 'done']);
    assertOpened(world);
    expect([seed, [...world.readLog()].toSorted()]).toEqual([seed, [...world.sourceRows()].toSorted()]);
  }
});
