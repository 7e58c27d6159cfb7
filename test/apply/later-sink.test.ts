// A sink that is configured after the pipeline has started: it begins at the log's ends, owes itself what the log held before, and claims
// nothing of a table until the end of its own load has come by in every partition.
import { describe, expect, test } from 'vitest';
import { controlKeys, type SinkRow, type TableRow } from '#core/control-rows.ts';
import type { LoadRow } from '#core/load-row.ts';
import { tableSchema, type TableId } from '#core/schema.ts';
import { opened, part, put, schema, textColumn, truncate, watermark, type Bare, type Publisher, type Stage, never } from './stage.ts';

const SINK = 'later';
const table = schema.table;
const own = { table, sink: SINK };

function load(tag: 'load-open' | 'load-close', sink: string | null): Bare {
  return { tag, table, sink };
}

/** A row of a chunk, for this sink alone. */
function read(id: string, commit: number, a: string): Bare {
  return { ...put(id, commit, a), op: 'read', sink: SINK } as Bare;
}

async function running(partitions = 1): Promise<{ stage: Stage; first: Publisher }> {
  const { stage, first } = await opened({ partitions });
  await first.send(put('1', 10, 'a'), watermark(10));
  await stage.write('checkpoint/p' as never, { generation: 1 });
  return { stage, first };
}

async function loadRow(stage: Stage): Promise<LoadRow | null> {
  return ((await stage.control.get(controlKeys.load('p', table, SINK), never))?.value ?? null) as LoadRow | null;
}

async function sinkRow(stage: Stage): Promise<SinkRow | null> {
  return ((await stage.control.get(controlKeys.sink('p', SINK), never))?.value ?? null) as SinkRow | null;
}

describe('a sink that is configured later', () => {
  test('is known with first progress in every partition before it asks for its tables', async () => {
    const { stage } = await running(2);
    const run = stage.start({ sinkName: SINK });
    await stage.clock.advance(2_000);
    const row = await stage.sinkRow(SINK);
    expect(row).toMatchObject({ state: 'known', startGeneration: 1 });
    expect(row).not.toHaveProperty('owes');
    expect(await loadRow(stage)).toMatchObject({ ...own, id: row.owner, state: 'open', after: null });
    for (const partition of [0, 1]) expect(stage.progress(partition)?.openLoads).toEqual([own]);
    await run.stop();
    expect(run.code()).toBeNull();
  });

  test('asks for no table that was copied by other means, nor for one that is stopped', async () => {
    const { stage } = await running();
    const gone = tableSchema({ table: 'public.gone' as TableId, columns: [textColumn('id', { nullable: false })], key: [0] });
    await stage.tables([[gone]]);
    const key = controlKeys.table('p', gone.table);
    await stage.write(key, { ...((await stage.control.get(key, never))?.value as TableRow), state: 'stopped' });
    await stage.drain({ sinkName: SINK });
    expect((await stage.control.list(controlKeys.loads('p'), never)).map(({ key: of }) => of)).toEqual([
      controlKeys.load('p', table, SINK),
    ]);
    // Of the one that is left nothing is known yet.
    const { stage: copied } = await running();
    await copied.drain({ sinkName: SINK, snapshot: 'never' });
    expect(await copied.control.list(controlKeys.loads('p'), never)).toEqual([]);
    expect(copied.progress()?.openLoads).toEqual([]);
  });

  test('claims no watermark until its own load is over in every partition, and drops what finds no row so long', async () => {
    const { stage, first } = await running(2);
    const run = stage.start({ sinkName: SINK });
    await stage.clock.advance(2_000);
    const claims = (): readonly [boolean, readonly string[]] => [run.status().watermark !== null, run.status().loading];
    const pass = async (...records: readonly Bare[]): Promise<void> => {
      await first.send(...records);
      await stage.clock.advance(2_000);
    };
    // Before the holder has met the load.
    await pass(part('7', 11, 'b'), watermark(11));
    expect([run.status().position !== null, ...claims()]).toEqual([true, false, [table]]);
    await pass(load('load-open', null), load('load-open', SINK), part('8', 12, 'b'), watermark(12));
    // One for all sinks began before this one read: its end says nothing of what came before.
    await pass(load('load-close', null), part('9', 13, 'b'), watermark(13));
    expect(claims()).toEqual([false, [table]]);
    await pass(read('1', 14, 'a'), read('7', 14, 'b'), watermark(14));
    await first.to(0, load('load-close', SINK));
    await stage.clock.advance(2_000);
    expect(claims()).toEqual([false, [table]]);
    await first.to(1, load('load-close', SINK));
    await stage.clock.advance(2_000);
    expect(claims()).toEqual([true, []]);
    await run.stop();
    expect(run.outcomes.get('filtered')).toBe(3);
    expect(stage.letters(SINK)).toEqual([]);
    expect(stage.rows()).toEqual({ 1: ['a', 'big'], 7: ['b', 'big'] });
  });

  test('keeps out what a truncate behind its start took away, whenever the rows were read', async () => {
    const { stage, first } = await running();
    await stage.drain({ sinkName: SINK });
    await first.send(load('load-open', SINK), read('1', 20, 'old'), truncate(21), read('2', 20, 'old'), read('3', 22, 'new'));
    await first.send(load('load-close', SINK), watermark(22));
    const run = stage.start({ sinkName: SINK });
    await stage.clock.advance(3_000);
    expect(run.status().watermark).not.toBeNull();
    await run.stop();
    expect(stage.rows()).toEqual({ 3: ['new', 'big'] });
  });

  test('makes its tables as they are now, though the log holds an older schema before its start', async () => {
    const { stage, first } = await running();
    const wider = tableSchema({ ...schema, columns: [...schema.columns, textColumn('more')] });
    await stage.tables([[schema, wider]]);
    await first.send({ tag: 'schema', schema: wider });
    await stage.drain({ sinkName: SINK });
    await first.send(load('load-open', SINK), { ...read('1', 12, 'a'), schemaVersion: wider.version, row: ['1', 'a', 'big', 'm'] } as Bare);
    const run = await stage.drain({ sinkName: SINK });
    expect([run.code(), stage.rows(wider)]).toEqual([null, { 1: ['a', 'big', 'm'] }]);
  });

  test('waits until the first start of its pipeline is through', async () => {
    const { stage } = await opened();
    const run = stage.start({ sinkName: SINK });
    await stage.clock.advance(5_000);
    expect([await sinkRow(stage), run.status().state]).toEqual([null, 'waiting']);
    await stage.write('checkpoint/p' as never, { generation: 1 });
    await stage.clock.advance(2_000);
    expect(await sinkRow(stage)).toMatchObject({ state: 'known' });
    await run.stop();
  });

  test('takes no load of an earlier sink with its name for its own', async () => {
    const { stage } = await running();
    const stale = { ...own, id: 'another', state: 'reading', after: '["public.t","5"]', rows: 5, generation: 3 };
    await stage.write(controlKeys.load('p', table, SINK), stale);
    await stage.drain({ sinkName: SINK });
    expect(await loadRow(stage)).toMatchObject({
      id: (await stage.sinkRow(SINK)).owner,
      state: 'open',
      after: null,
      rows: 0,
      generation: 3,
    });
  });

  test('and asks a second time for nothing that was asked for, however far that is', async () => {
    const { stage } = await running();
    const swap = stage.control.swap.bind(stage.control);
    // Whoever was to note that all is asked for dies, and the load is carried on meanwhile.
    stage.control.swap = async (write, signal) => {
      const value = write.value as SinkRow;
      if (write.key === controlKeys.sink('p', SINK) && value.state === 'known' && value.owes === undefined) throw new Error('killed');
      return await swap(write, signal);
    };
    await stage.drain({ sinkName: SINK });
    stage.control.swap = swap;
    const asked = { ...((await loadRow(stage)) as LoadRow), state: 'reading', after: '["public.t","1"]' as never, rows: 1 };
    await stage.write(controlKeys.load('p', table, SINK), asked);
    expect(await sinkRow(stage)).toMatchObject({ state: 'known', owes: [table] });
    await stage.drain({ sinkName: SINK });
    expect(await sinkRow(stage)).not.toHaveProperty('owes');
    expect(await loadRow(stage)).toEqual(asked);
  });
});

/** Runs until the `step`th change of control store or sink, which takes effect or not, and ends the process there. Null: there were not so many. */
async function killedAt(step: number, processes: number): Promise<Stage | null> {
  const { stage } = await running(3);
  const seen = { steps: 0, dead: false };
  const met = async (): Promise<void> => {
    await assertOrder(stage);
    if (seen.dead) throw new Error('dead');
    seen.steps += 1;
    if (seen.steps !== step) return;
    seen.dead = true;
    throw new Error('killed here');
  };
  const swap = stage.control.swap.bind(stage.control);
  stage.control.swap = async (write, signal) => {
    await met();
    const result = await swap(write, signal);
    await met();
    return result;
  };
  stage.sinkStore.onCall = async (_, call) => {
    if (call.name === 'save' || call.name === 'assign') await met();
  };
  const runs = Array.from({ length: processes }, () => stage.start({ sinkName: SINK }));
  await stage.clock.advance(3_000);
  for (const run of runs) await run.kill();
  stage.control.swap = swap;
  stage.sinkStore.onCall = null;
  return seen.dead ? stage : null;
}

/** What has to be true at any moment: nothing is read for the sink before it reads itself, and nothing that it lacks is forgotten. */
async function assertOrder(stage: Stage): Promise<void> {
  const row = await sinkRow(stage);
  const asked = (await loadRow(stage)) !== null;
  const isStarted = [0, 1, 2].every((partition) => stage.progress(partition) !== undefined);
  if (row?.state === 'known') expect(isStarted).toBe(true);
  if (asked) expect(row?.state).toBe('known');
  if (row !== null && row.owes === undefined) expect(asked).toBe(true);
}

describe.each([1, 2])('a sink that is configured later, in %i processes', (processes) => {
  test('gets its rows though they end anywhere', async () => {
    let step = 1;
    for (let ended: Stage | null; (ended = await killedAt(step, processes)) !== null; step += 1) {
      const stage = ended;
      await assertOrder(stage);
      const runs = Array.from({ length: processes }, () => stage.start({ sinkName: SINK }));
      await stage.clock.advance(40_000);
      const row = await stage.sinkRow(SINK);
      expect(row, `step ${step}`).toMatchObject({ state: 'known' });
      expect(await loadRow(stage), `step ${step}`).toMatchObject({ id: row.owner, state: 'open' });
      expect(row, `step ${step}`).not.toHaveProperty('owes');
      for (const partition of [0, 1, 2]) expect(stage.progress(partition)?.openLoads, `step ${step}`).toEqual([own]);
      for (const run of runs) await run.kill();
    }
    expect(step).toBeGreaterThan(10);
  });
});
