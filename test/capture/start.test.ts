// The first start of a pipeline, and what a later one refuses.
import { describe, expect, test } from 'vitest';
import { controlKeys } from '#core/control-rows.ts';
import { codeOf } from '#core/errors.ts';
import type { TableId } from '#core/schema.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { PIPELINE, World } from './world.ts';

const insert = (table: TableId, id: string, value = 'v') => ({ op: 'insert', table, row: [id, value] }) as const;

describe('the first start', () => {
  test('publishes what is written from then on, and acknowledges it', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const process = await world.startStreaming();
    const sink = world.row(controlKeys.sink(PIPELINE, 'warm'));
    expect(sink).toMatchObject({ state: 'new', startOffsets: [0, 0, 0], startGeneration: 1 });
    for (let id = 0; id < 40; id += 1) world.database.commit([insert(orders, String(id)), insert(orders, `x${id}`)]);
    await world.clock.advance(5_000);
    await world.stopped(process);
    expect(world.readLog()).toEqual(world.sourceRows());
    expect(world.readLog().size).toBe(80);
    const last = world.database.transactions.at(-1);
    expect(world.database.slot?.position).toBe(last?.end);
    expect(world.checkpoint.position).toBe(String(last?.end));
  });

  test('loads a table that holds rows, and none that was copied by other means', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const copied = world.database.createTable('public.copied');
    world.database.createTable('public.empty');
    world.database.commit([insert(orders, '1'), insert(copied, '1')]);
    const process = await world.startStreaming({ snapshotNever: (table) => table === copied });
    await world.clock.advance(5_000);
    await world.stopped(process);
    expect(world.loads().map(({ table, state, rows }) => [table, state, rows])).toEqual([[orders, 'done', 1]]);
    expect([...world.readLog().keys()]).toEqual(['["public.orders","1"]']);
  });

  test('loads rows that came while the slot was being made', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    let written = false;
    world.database.onCall = (call) => {
      if (call !== 'provision' || written) return;
      written = true;
      world.database.commit([insert(orders, '1')]);
    };
    const process = await world.startStreaming();
    await world.clock.advance(5_000);
    await world.stopped(process);
    expect(world.readLog()).toEqual(world.sourceRows());
  });

  test('makes the slot of an unfinished start anew, and loads what has come since', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const process = world.start();
    world.database.onCall = (call) => {
      if (call === 'provisioned') process.kill();
    };
    await world.clock.advance(1_000);
    expect(world.database.slot).not.toBeNull();
    world.database.onCall = null;
    world.database.commit([insert(orders, '1')]);
    const again = await world.startStreaming({}, 20_000);
    await world.clock.advance(5_000);
    await world.stopped(again);
    expect(world.loads()).toMatchObject([{ table: orders, state: 'done' }]);
    expect(world.readLog()).toEqual(world.sourceRows());
  });

  test('refuses a table that cannot be captured', async () => {
    const world = new World();
    world.database.refused = [
      { table: 'public.keyless' as TableId, code: 'PG-020', reason: 'it has no primary key', mend: 'ALTER TABLE …' },
    ];
    const process = world.start();
    await world.clock.advance(1_000);
    expect(codeOf(process.outcome()?.error)).toBe('source_table_refused');
    expect(world.database.slot).toBeNull();
  });

  test('refuses one that came while the slot was being made, which is dropped again', async () => {
    const world = new World();
    world.database.onCall = (call) => {
      if (call !== 'provision') return;
      world.database.refused = [
        { table: 'public.keyless' as TableId, code: 'PG-020', reason: 'it has no primary key', mend: 'ALTER TABLE …' },
      ];
    };
    const process = world.start();
    await world.clock.advance(1_000);
    expect(codeOf(process.outcome()?.error)).toBe('source_table_refused');
    expect(world.database.slot).toBeNull();
  });

  test('is no second one where the checkpoint that it has just written is lost: the slot stays for whoever looks into it', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const control = new MemoryControlStore(world.controlRows);
    const swap = control.swap.bind(control);
    let losses = 2;
    control.swap = async (change, signal) => {
      const swapped = await swap(change, signal);
      if (change.key === controlKeys.checkpoint(PIPELINE) && (losses -= 1) >= 0) world.controlRows.rows.delete(change.key);
      return swapped;
    };
    const process = world.start({ control });
    await world.clock.advance(1_000);
    expect(codeOf(process.outcome()?.error)).toBe('checkpoint_lost');
    expect(world.database.slot).not.toBeNull();
  });

  test('takes a slot that it does not know for another life of the pipeline', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    world.database.slot = { position: 900n, unusable: null };
    const process = world.start();
    await world.clock.advance(1_000);
    expect(codeOf(process.outcome()?.error)).toBe('checkpoint_lost');
    expect(world.database.slot.position).toBe(900n);
  });
});

describe('what a later start refuses', () => {
  async function ranOnce(): Promise<{ readonly world: World; readonly orders: TableId }> {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const process = await world.startStreaming();
    world.database.commit([insert(orders, '1')]);
    await world.clock.advance(3_000);
    await world.stopped(process);
    return { world, orders };
  }

  async function refusal(world: World): Promise<{ readonly code: string; readonly message: string }> {
    const acknowledged = world.database.acknowledged.length;
    const ends = world.logStore.partitions.map((_, partition) => world.logStore.endOf(partition));
    const process = world.start();
    await world.clock.advance(20_000);
    expect(world.database.acknowledged.length).toBe(acknowledged);
    expect(world.logStore.partitions.map((_, partition) => world.logStore.endOf(partition))).toEqual(ends);
    const error = process.outcome()?.error;
    return { code: codeOf(error), message: error instanceof Error ? error.message : '' };
  }

  test('a control store that was emptied: the generation is behind, and the number is named', async () => {
    const { world } = await ranOnce();
    await world.stopped(await world.startStreaming());
    world.controlRows.rows.clear();
    const { code, message } = await refusal(world);
    expect(code).toBe('generation_behind');
    expect(message).toContain('lease raise --above 2');
  });

  test('a control store that was emptied, and gives out the very generation that the log has reached', async () => {
    const { world } = await ranOnce();
    world.controlRows.rows.clear();
    expect(await refusal(world)).toMatchObject({ code: 'generation_behind' });
  });

  test('a control store that came back old, and behind a late record of a zombie', async () => {
    const { world } = await ranOnce();
    const old = new Map(world.controlRows.rows);
    await world.stopped(await world.startStreaming());
    await world.stopped(await world.startStreaming());
    // A late record of generation 1 stands last in its partition: the highest generation need not.
    for (const { records } of world.logStore.partitions) {
      const [first] = records;
      if (first !== undefined) records.push({ ...first, offset: records.length as typeof first.offset });
    }
    world.controlRows.rows.clear();
    for (const [key, row] of old) world.controlRows.rows.set(key, row);
    // The slot is beyond that old checkpoint too; moved back, the log alone tells.
    world.database.slot = { position: BigInt(world.checkpoint.position), unusable: null };
    const { code, message } = await refusal(world);
    expect(code).toBe('generation_behind');
    expect(message).toContain('lease raise --above 3');
  });

  test('a lost checkpoint once the lease was raised', async () => {
    const { world } = await ranOnce();
    world.controlRows.rows.delete(controlKeys.checkpoint(PIPELINE));
    expect((await refusal(world)).code).toBe('checkpoint_lost');
  });

  test('a log that was truncated', async () => {
    const { world } = await ranOnce();
    world.logStore.partition(1).records.length -= 1;
    expect((await refusal(world)).code).toBe('log_truncated');
  });

  test('a log that was made again', async () => {
    const { world } = await ranOnce();
    world.logStore.clear();
    expect((await refusal(world)).code).toBe('log_truncated');
  });

  test('a partition that was emptied behind its readers has lost nothing', async () => {
    const { world } = await ranOnce();
    for (const partition of world.logStore.partitions) {
      partition.start += partition.records.length;
      partition.records.length = 0;
    }
    await world.startStreaming();
  });

  test.each([
    ['a missing slot', (world: World) => (world.database.slot = null)],
    [
      'an invalidated slot',
      (world: World) => (world.database.slot = { position: world.database.slot?.position ?? 0n, unusable: 'wal_removed' }),
    ],
    ['a slot made again', (world: World) => (world.database.slot = { position: world.database.head + 50n, unusable: null })],
  ])('%s', async (_, damage) => {
    const { world } = await ranOnce();
    damage(world);
    world.database.grow(100n);
    expect((await refusal(world)).code).toBe('source_slot_lost');
  });

  test('another server, and a slot that was made after a promotion', async () => {
    const { world } = await ranOnce();
    world.database.identity = { system: '7001', timeline: 2 };
    // Its position is below the old timeline's checkpoint, so that only the identity tells.
    world.database.slot = { position: BigInt(world.checkpoint.position) - 1n, unusable: null };
    expect((await refusal(world)).code).toBe('source_identity_changed');
  });

  test.each([
    ['that moves', 'source_slot_lost', (world: World) => (world.database.slot = { position: world.database.head, unusable: null })],
    [
      'at a server that was promoted',
      'source_identity_changed',
      (world: World) => (world.database.identity = { system: '7001', timeline: 2 }),
    ],
  ])('a slot %s between the look at the source and the stream', async (_, expected, damage) => {
    const { world, orders } = await ranOnce();
    world.database.commit([insert(orders, 'skipped')]);
    world.database.commit([insert(orders, 'first')]);
    world.database.onCall = (call) => {
      if (call === 'open') damage(world);
    };
    expect((await refusal(world)).code).toBe(expected);
    expect(world.database.connection).toBeNull();
  });

  test('another number of partitions', async () => {
    const { world } = await ranOnce();
    const other = new World({ partitions: 4 });
    const process = world.start({ log: new (await import('../support/memory-log.ts')).MemoryLog(other.logStore) });
    await world.clock.advance(1_000);
    expect(codeOf(process.outcome()?.error)).toBe('log_partitions_changed');
  });
});
