// Loads beside the stream: whatever happens while a table is read, a reader of the log ends up with the source's rows.
import { describe, expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { controlKeys } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { LoadRow } from '#core/load-row.ts';
import type { TableId } from '#core/schema.ts';
import { FakeSource, type FakeStatement } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { PIPELINE, World, type Process, type StartOptions } from './world.ts';

/** After so many chunks that were too hot one holds the stream. */
const HOT_READS = 6;

const small: StartOptions = {
  options: { chunk: { targetMs: 250, rowsFirst: 3, rowsMax: 5, bytesMax: 200, hotMax: 1_000 }, leaseTtlMs: 3_000 },
};

describe('a load', () => {
  test('brings what a table held before the pipeline began', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    fill(world, orders, 40);
    const process = await world.startStreaming(small);
    await world.clock.advance(10_000);
    expect(loadOf(world, orders)).toMatchObject({ state: 'done', rows: 40, after: '["public.orders","k039"]' });
    await world.stopped(process);
    expect(world.readLog()).toEqual(world.sourceRows());
    const ops = world.everyRecord.flatMap((record) => (record.tag === 'change' ? [record.op] : []));
    expect(ops).toEqual(Array.from({ length: 40 }, () => 'read'));
  });

  test('stands between its marks in every partition, before any watermark', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    fill(world, orders, 10);
    // A control store that is slow to tell of loads: watermarks would be due meanwhile.
    const control = new MemoryControlStore(world.controlRows);
    const list = control.list.bind(control);
    control.list = async (prefix, signal) => {
      if (prefix === controlKeys.loads(PIPELINE)) await world.clock.runtime.sleep(3_000, signal);
      return await list(prefix, signal);
    };
    await world.stopped(await world.startStreaming({ ...small, control }, 30_000));
    for (const partition of world.logStore.partitions.keys()) {
      const tags = world.records(partition).map(({ tag }) => tag);
      expect(tags.indexOf('load-open')).toBeLessThan(tags.indexOf('watermark'));
      expect(tags.lastIndexOf('change')).toBeLessThan(tags.indexOf('load-close'));
      expect(tags.filter((tag) => tag === 'load-open' || tag === 'load-close')).toHaveLength(2);
    }
  });

  test('is stored only behind records that are durable', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    fill(world, orders, 10);
    const answers = Promise.withResolvers<undefined>();
    world.logStore.onAppend = (stage, records) =>
      stage === 'before' && records.some(({ value }) => Buffer.from(value).includes('"read"')) ? answers.promise : undefined;
    const process = world.start(small);
    await world.clock.advance(10_000);
    expect(loadOf(world, orders)).toMatchObject({ state: 'reading', after: null, rows: 0 });
    answers.resolve(undefined);
    await world.clock.advance(10_000);
    expect(loadOf(world, orders)).toMatchObject({ state: 'done', rows: 10 });
    await world.stopped(process);
  });

  test('and behind the checkpoint that has them: more can become durable while that is stored', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    fill(world, orders, 3);
    const control = new MemoryControlStore(world.controlRows);
    const swap = control.swap.bind(control);
    let reply: Promise<undefined> | null = null;
    control.swap = async (write, signal) => {
      const stored = await swap(write, signal);
      if (write.key === controlKeys.checkpoint(PIPELINE)) await reply;
      return stored;
    };
    const [answers, first, second] = [0, 1, 2].map(() => Promise.withResolvers<undefined>()) as [Reply, Reply, Reply];
    world.logStore.onAppend = (stage, records) => {
      if (stage !== 'before' || !records.some(({ value }) => Buffer.from(value).includes('"read"'))) return undefined;
      // A checkpoint is due by now, of what came before.
      reply ??= first.promise;
      return answers.promise;
    };
    const process = world.start({ ...small, control, options: { ...small.options, leaseTtlMs: 600_000 } });
    await world.clock.advance(10_000);
    answers.resolve(undefined);
    await world.clock.advance(5_000);
    reply = second.promise;
    first.resolve(undefined);
    await world.clock.advance(500);
    expect(loadOf(world, orders)).toMatchObject({ state: 'reading', after: null });
    reply = null;
    second.resolve(undefined);
    await world.clock.advance(10_000);
    expect(loadOf(world, orders)).toMatchObject({ state: 'done' });
    await world.stopped(process);
  });

  test('a commit that the stream shows before reads do is not undone by them', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    fill(world, orders, 3);
    const process = world.start(small);
    world.database.onCall = (call) => {
      if (call !== 'opened') return;
      world.database.onCall = null;
      world.database.commit([{ op: 'update', table: orders, id: 'k001', row: ['k001', 'new'] }], { hidden: true });
    };
    await world.clock.advance(20_000);
    expect(loadOf(world, orders)?.state).toBe('reading');
    world.database.show();
    await world.clock.advance(5_000);
    expect(loadOf(world, orders)?.state).toBe('done');
    await world.stopped(process);
    expect(world.readLog()).toEqual(world.sourceRows());
  });

  test('nor by those of the next holder, to whom the stream does not show it again', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    fill(world, orders, 3);
    const paused: StartOptions = { ...small, options: { ...small.options, loadPollMs: 1_000_000 } };
    const first = await world.startStreaming({ ...paused, options: { ...paused.options, loadsAtOnce: 0 } });
    world.database.commit([{ op: 'update', table: orders, id: 'k001', row: ['k001', 'new'] }], { hidden: true });
    await world.clock.advance(5_000);
    await world.stopped(first);
    const second = await world.startStreaming(small);
    await world.clock.advance(10_000);
    expect(loadOf(world, orders)?.state).toBe('reading');
    world.database.show();
    await world.clock.advance(5_000);
    await world.stopped(second);
    expect(loadOf(world, orders)?.state).toBe('done');
    expect(world.readLog()).toEqual(world.sourceRows());
  });

  test('that the log shows as open is carried on where the control store has lost it', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    fill(world, orders, 30);
    const first = world.start({
      ...small,
      options: { ...small.options, chunk: { ...present(small.options?.chunk, 'limits'), rowsMax: 3 } },
    });
    const opened = (): boolean => world.everyRecord.some(({ tag }) => tag === 'load-open');
    while (!opened()) await world.clock.advance(50);
    first.kill();
    await world.clock.advance(100);
    // It came back as it was before the load began.
    world.controlRows.rows.delete(controlKeys.load(PIPELINE, orders, null));
    await world.stopped(await world.startStreaming(small, 30_000));
    expect(loadOf(world, orders)?.state).toBe('done');
    const last = world.records(0).findLast(({ tag }) => tag === 'load-open' || tag === 'load-close');
    expect(last?.tag).toBe('load-close');
    expect(world.readLog()).toEqual(world.sourceRows());
  });

  test('a key of which the window shows only a part is published whole', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', ['id', 'value', 'large']);
    world.database.commit([{ op: 'insert', table: orders, row: ['k1', 'v', 'large'] }]);
    let reads = 0;
    world.database.onCall = (call) => {
      if (call !== 'rows-read') return;
      reads += 1;
      if (reads === 1) world.database.commit([{ op: 'update', table: orders, id: 'k1', row: ['k1', 'w', undefined] }]);
    };
    await world.stopped(await world.startStreaming(small, 10_000));
    expect(world.readLog()).toEqual(world.sourceRows());
  });
});

test('loads that the source refuses keep no other from its turn', async () => {
  const world = new World();
  const tables = ['public.a', 'public.b', 'public.c', 'public.d'].map((name) => world.database.createTable(name));
  for (const table of tables) fill(world, table, 10);
  const refused = new Set(tables.slice(0, 3));
  const source = new FakeSource(world.database);
  const open = source.rows.bind(source);
  source.rows = () => {
    const rows = open();
    const read = rows.read.bind(rows);
    rows.read = async (wanted, signal) => {
      if (refused.has(wanted.table)) throw new CausewayError('source_misconfigured', 'SQLSTATE 42501');
      return await read(wanted, signal);
    };
    return rows;
  };
  const process = await world.startStreaming({ ...small, source });
  await world.clock.advance(20_000);
  expect(tables.map((table) => loadOf(world, table)?.state)).toEqual(['reading', 'reading', 'reading', 'done']);
  refused.clear();
  await world.clock.advance(20_000);
  expect(tables.map((table) => loadOf(world, table)?.state)).toEqual(['done', 'done', 'done', 'done']);
  await world.stopped(process);
  expect(world.readLog()).toEqual(world.sourceRows());
});

test.each(['row-mark', 'rows'] as const)(
  'a chunk that holds the stream lets it go on while a standby stalls from its "%s" on',
  async (from) => {
    const world = new World();
    const { database, clock } = world;
    const [orders, lines] = ['public.orders', 'public.lines'].map((name) => database.createTable(name)) as [TableId, TableId];
    fill(world, orders, 10);
    const update = (id: string, value: string): FakeStatement => ({ op: 'update', table: orders, id, row: [id, value] });
    let reads = 0;
    let isStalled = false;
    database.onCall = async (call) => {
      if (call === from && reads === HOT_READS && !isStalled) {
        isStalled = true;
        database.commit([update('k009', 'hidden')], { hidden: true });
      }
      if (call !== 'rows' || reads === HOT_READS) return;
      reads += 1;
      database.commit(['k000', 'k001', 'k002'].map((id) => update(id, `w${reads}`)));
      // The stream shows them before they are read.
      await clock.runtime.sleep(50, new AbortController().signal);
    };
    const chunk = { ...present(small.options?.chunk, 'limits'), hotMax: 2 };
    const process = await world.startStreaming({ options: { ...small.options, chunk } }, 10_000);
    expect([reads, isStalled, loadOf(world, orders)?.state]).toEqual([HOT_READS, true, 'reading']);
    database.commit([{ op: 'insert', table: lines, row: ['new', 'row'] }]);
    await clock.advance(2_000);
    expect([...world.readLog().values()]).toContainEqual(['new', 'row']);
    database.show();
    await clock.advance(10_000);
    expect(loadOf(world, orders)?.state).toBe('done');
    await world.stopped(process);
    expect(world.readLog()).toEqual(world.sourceRows());
  },
);

describe('loads while the source runs out of room for its log', () => {
  test('are held and the stream is not, until there is room again; a cancelled one ends all the same', async () => {
    const world = new World();
    const { database, clock } = world;
    const [orders, lines] = ['public.orders', 'public.lines'].map((name) => database.createTable(name)) as [TableId, TableId];
    for (const table of [orders, lines]) fill(world, table, 10);
    database.budget = { headroomBytes: 10, retainedBytes: 990 };
    const held: (string | null)[] = [];
    const loadsHeld = (of: { readonly reason: string } | null): void => {
      if (of?.reason !== held.at(-1)) held.push(of?.reason ?? null);
    };
    const process = await world.startStreaming({ ...small, observer: { loadsHeld } });
    await clock.advance(30_000);
    expect([held, loadOf(world, orders)]).toMatchObject([['low'], { state: 'reading', rows: 0 }]);
    database.commit([{ op: 'insert', table: orders, row: ['new', 'row'] }]);
    await clock.advance(1_000);
    expect([...world.readLog().values()]).toEqual([['new', 'row']]);
    const key = controlKeys.load(PIPELINE, lines, null);
    const control = new MemoryControlStore(world.controlRows);
    const never = new AbortController().signal;
    const stored = await control.get(key, never);
    await control.swap({ key, value: { ...loadOf(world, lines), state: 'cancel' }, expected: stored?.version ?? null }, never);
    await clock.advance(10_000);
    expect(loadOf(world, lines)?.state).toBe('cancelled');
    database.budget = { headroomBytes: 500, retainedBytes: 500 };
    await clock.advance(30_000);
    expect([held.slice(0, 2), loadOf(world, orders)]).toMatchObject([['low', null], { state: 'done', rows: 11 }]);
    await world.stopped(process);
  });
});

describe('what is stored of a load', () => {
  test.each(Array.from({ length: 24 }, (_, at) => ({ killedAtMs: 500 + at * 250 })))(
    'stands in the log before, however long that takes, as a kill after $killedAtMs ms shows',
    async ({ killedAtMs }) => {
      const world = new World({ partitions: 2 });
      const { database, clock } = world;
      const orders = database.createTable('public.orders', ['id', 'value', 'large']);
      fill(world, orders, 12);
      let reads = 0;
      database.onCall = (call) => {
        if (call !== 'rows-read') return;
        reads += 1;
        // Among them are keys of the chunk that is read, and the log alone does not tell their rows.
        const ids = [0, 3, 6, 9].map((at) => `k${String(at).padStart(3, '0')}`);
        database.commit(ids.map((id) => ({ op: 'update', table: orders, id, row: [id, `w${reads}`, undefined] })));
      };
      let isDead = false;
      world.logStore.onAppend = async (stage) => {
        if (stage === 'before') await clock.runtime.sleep(700, new AbortController().signal);
        if (isDead) throw new Error('what was on its way never came');
      };
      // No more waits for the log than one part of a chunk.
      const slow: StartOptions = { options: { ...small.options, pendingBytesMax: 1 } };
      const first = world.start(slow);
      await clock.advance(killedAtMs);
      first.kill();
      isDead = true;
      await clock.advance(1_000);
      isDead = false;
      const second = await world.startStreaming(slow, 60_000);
      expect(loadOf(world, orders)?.state).toBe('done');
      world.logStore.onAppend = null;
      await clock.advance(1_000);
      await world.stopped(second);
      expect(world.readLog()).toEqual(world.sourceRows());
      for (const partition of world.logStore.partitions.keys()) {
        const marks = world.records(partition).map((record) => (record.tag === 'change' ? record.op : record.tag));
        expect(marks).toContain('load-open');
        expect(marks.lastIndexOf('read')).toBeLessThan(marks.indexOf('load-close'));
      }
    },
  );
});

const SEEDS = 40;

describe.each([{ from: 1 }, { from: 1 + SEEDS }])('loads under writes, seeds from $from on', ({ from }) => {
  test('end with the source’s rows', async () => {
    for (let seed = from; seed < from + SEEDS; seed += 1) await loadUnderWrites(seed);
  });
});

async function loadUnderWrites(seed: number): Promise<void> {
  const world = new World({ seed, partitions: 2 });
  const { database, clock } = world;
  const random = (): number => clock.runtime.random();
  const below = (bound: number): number => Math.floor(random() * bound);
  const tables = ['public.orders', 'public.lines'].map((name) => database.createTable(name, ['id', 'value', 'large']));
  for (const table of tables) fill(world, table, 5 + below(30));
  let writes = 0;
  const write = (): void => {
    writes += 1;
    const statements: FakeStatement[] = [];
    for (let at = below(3); at >= 0; at -= 1) {
      const statement = randomStatement(world, tables, { random, below, number: writes * 10 + at });
      if (statement !== null && !statements.some((other) => idOf(other) === idOf(statement))) statements.push(statement);
    }
    if (statements.length === 0) return;
    const isTruncate = statements.some(({ op }) => op === 'truncate');
    if (isTruncate) database.show();
    database.commit(isTruncate ? statements.filter(({ op }) => op === 'truncate') : statements, { hidden: !isTruncate && random() < 0.3 });
  };
  database.onCall = (call) => {
    if (random() < 0.4) write();
    if (random() < 0.2) database.show(1);
    if (call === 'rows-read' && random() < 0.5) write();
    if (call === 'rows' && random() < 0.03) database.disconnect();
  };
  let process: Process = world.start(small);
  for (let step = 0; step < 12; step += 1) {
    await clock.advance(200 + below(1_500));
    if (random() < 0.5) write();
    if (random() < 0.3) {
      if (random() < 0.5) process.kill();
      else process.stop();
      await clock.advance(500);
      process = world.start(small);
    }
  }
  database.onCall = null;
  database.show();
  await clock.advance(30_000);
  const failure = process.outcome()?.error;
  if (failure !== undefined) throw new Error(`seed ${seed}: it ended`, { cause: failure });
  await world.stopped(process);
  const states = tables.map((table) => loadOf(world, table)?.state);
  expect({ seed, different: differences(world.readLog(), world.sourceRows()) }).toEqual({ seed, different: [] });
  // A table that was empty when the slot was made needs none.
  for (const state of states) expect(['done', undefined]).toContain(state);
}

type Reply = PromiseWithResolvers<undefined>;

function differences(copy: ReadonlyMap<string, unknown>, source: ReadonlyMap<string, unknown>): string[] {
  const keys = new Set([...copy.keys(), ...source.keys()]);
  const text = (row: unknown): string => (row === undefined ? 'none' : JSON.stringify(row));
  return [...keys]
    .filter((key) => text(copy.get(key)) !== text(source.get(key)))
    .map((key) => `${key}: ${text(copy.get(key))} for ${text(source.get(key))}`);
}

function randomStatement(
  world: World,
  tables: readonly TableId[],
  by: { readonly random: () => number; readonly below: (bound: number) => number; readonly number: number },
): FakeStatement | null {
  const { database } = world;
  const { random, below, number } = by;
  const table = tables[below(tables.length)] as TableId;
  if (random() < 0.02) return { op: 'truncate', tables: [table] };
  const id = `k${String(below(40)).padStart(3, '0')}`;
  if (database.isLocked(table, id)) return null;
  const rows = database.table(table).rows;
  const exists = rows.has(JSON.stringify([table, id]) as never);
  if (!exists) return { op: 'insert', table, row: [id, `v${number}`, `large${number}`] };
  const chance = random();
  if (chance < 0.3) return { op: 'delete', table, id };
  if (chance < 0.6) return { op: 'update', table, id, row: [id, `v${number}`, undefined] };
  const other = `k${String(below(40)).padStart(3, '0')}`;
  const isFree = !rows.has(JSON.stringify([table, other]) as never) && !database.isLocked(table, other);
  if (chance < 0.7 && isFree) return { op: 'update', table, id, row: [other, `v${number}`, `large${number}`] };
  return { op: 'update', table, id, row: [id, `v${number}`, `large${number}`] };
}

/** Two statements on one row need not stand in one transaction. */
function idOf(statement: FakeStatement): string {
  switch (statement.op) {
    case 'truncate':
      return 'all';
    case 'insert':
      return `${statement.table} ${String(statement.row[0])}`;
    case 'update':
      return `${statement.table} ${statement.id}`;
    default:
      return `${statement.table} ${statement.id}`;
  }
}

function fill(world: World, table: TableId, rows: number): void {
  const { schema } = world.database.table(table);
  const row = (at: number): readonly string[] =>
    [`k${String(at).padStart(3, '0')}`, `v${at}`, `large${at}`].slice(0, schema.columns.length);
  world.database.commit(Array.from({ length: rows }, (_, at) => ({ op: 'insert', table, row: row(at) })));
}

function loadOf(world: World, table: TableId): LoadRow | null {
  return world.row(controlKeys.load(PIPELINE, table, null)) as LoadRow | null;
}
