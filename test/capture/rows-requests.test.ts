// Reads of single keys beside the stream: an answer is true of the log when it is given, and what was published is what the source held.
import { describe, expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { controlKeys, type RequestRow } from '#core/control-rows.ts';
import type { RowKey } from '#core/key.ts';
import type { ChangeRecord, LogRecord } from '#core/record.ts';
import { rowDigest, type RowsAnswer, type RowsRequestArgs } from '#core/rows-request.ts';
import type { TableId } from '#core/schema.ts';
import { decodeSequence } from '#core/sequence.ts';
import type { Row } from '#core/value.ts';
import type { FakeStatement } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { PIPELINE, World, type StartOptions } from './world.ts';

const never = new AbortController().signal;
const columns = ['id', 'value', 'large'];
const SALT = 'salt';

const small: StartOptions = {
  options: { chunk: { targetMs: 250, rowsFirst: 3, rowsMax: 5, bytesMax: 200, hotMax: 1_000 }, leaseTtlMs: 3_000 },
  // The rows are there already: nothing but what is asked for is read.
  snapshotNever: () => true,
};

function keyOf(table: TableId, id: string): RowKey {
  return JSON.stringify([table, id]) as RowKey;
}

async function ask(world: World, id: string, args: Partial<RowsRequestArgs> & Pick<RowsRequestArgs, 'table' | 'keys'>): Promise<void> {
  const asked: RowsRequestArgs = { sink: null, purpose: 'publish', salt: '', digests: [], ...args };
  const row: RequestRow = { kind: 'rows', args: asked, state: 'pending', result: null };
  await new MemoryControlStore(world.controlRows).swap({ key: controlKeys.request(PIPELINE, id), value: row, expected: null }, never);
}

function requestOf(world: World, id: string): RequestRow {
  return present(world.row(controlKeys.request(PIPELINE, id)) as RequestRow | null, 'a request');
}

function answerOf(world: World, id: string): RowsAnswer {
  const { state, result, args } = requestOf(world, id);
  if (state !== 'done') throw new Error(`the request is ${state}: ${String(result)}`);
  return present((args as RowsRequestArgs).answer, 'an answer');
}

function repairs(world: World): readonly (LogRecord & ChangeRecord)[] {
  return world.everyRecord.filter((record): record is LogRecord & ChangeRecord => record.tag === 'change' && record.op === 'repair');
}

function insert(table: TableId, id: string, value = 'v'): FakeStatement {
  return { op: 'insert', table, row: [id, value, 'large'] };
}

describe('a request for rows', () => {
  test('is answered with what became of each key, and publishes nothing where it only confirms', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', columns);
    world.database.commit(['k1', 'k2', 'k3'].map((id) => insert(orders, id)));
    const process = await world.startStreaming(small);
    const read: Row = ['k1', 'v', 'large'];
    await ask(world, 'r1', {
      table: orders,
      keys: ['k1', 'k2', 'k3', 'k4', 'k5'].map((id) => keyOf(orders, id)),
      purpose: 'confirm',
      salt: SALT,
      digests: [rowDigest(SALT, read), rowDigest(SALT, ['k2', 'other', 'large']), null, null, rowDigest(SALT, read)],
    });
    await world.clock.advance(6_000);
    expect(requestOf(world, 'r1').result).toBe('2 same, 3 changed');
    const { low, high, keys } = answerOf(world, 'r1');
    expect(keys).toEqual(['same', 'changed', 'changed', 'same', 'changed']);
    expect(decodeSequence(low).commit).toBeLessThan(decodeSequence(high).commit);
    expect(repairs(world)).toEqual([]);
    await world.stopped(process);
  });

  test('publishes the row, or that there is none, as of its low mark, for the sink alone that asked', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', columns);
    world.database.commit([insert(orders, 'k1')]);
    const process = await world.startStreaming(small);
    await ask(world, 'r1', { table: orders, keys: ['k1', 'k9'].map((id) => keyOf(orders, id)), sink: 'warm' });
    await world.clock.advance(6_000);
    const { low, high, keys } = answerOf(world, 'r1');
    expect(keys).toEqual(['published', 'published']);
    expect(repairs(world).map(({ key, row, withheld, sequence, sink }) => ({ key, row, withheld, sequence, sink }))).toEqual(
      expect.arrayContaining([
        { key: keyOf(orders, 'k1'), row: ['k1', 'v', 'large'], withheld: null, sequence: low, sink: 'warm' },
        { key: keyOf(orders, 'k9'), row: null, withheld: null, sequence: low, sink: 'warm' },
      ]),
    );
    for (const partition of world.logStore.partitions.keys()) {
      const records = world.records(partition);
      const last = records.findLastIndex((record) => record.tag === 'change');
      const above = records.findIndex((record) => record.tag === 'watermark' && record.sequence >= high);
      expect(above).toBeGreaterThan(last);
    }
    await world.stopped(process);
  });

  test('is followed by a watermark before the next idle one is due', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', columns);
    const process = await world.startStreaming({ ...small, options: { ...small.options, idleWatermarkIntervalMs: 600_000 } }, 10_000);
    await ask(world, 'r1', { table: orders, keys: [keyOf(orders, 'k1')], purpose: 'confirm', salt: SALT, digests: [null] });
    await world.clock.advance(6_000);
    const { high } = answerOf(world, 'r1');
    expect(world.records(0).some((record) => record.tag === 'watermark' && record.sequence >= high)).toBe(true);
    await world.stopped(process);
  });

  test('says nothing of a key that comes or goes while it is read: that is for the log to tell', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', columns);
    world.database.commit(['k1', 'k2', 'k3'].map((id) => insert(orders, id)));
    const process = await world.startStreaming(small);
    let step = 0;
    world.database.onCall = (call) => {
      // Behind the low mark and before the read, then behind the read.
      if (call === 'rows' && step === 0) world.database.commit([{ op: 'delete', table: orders, id: 'k1' }]);
      if (call === 'rows-read' && step === 1)
        world.database.commit([insert(orders, 'k9', 'new'), { op: 'delete', table: orders, id: 'k2' }]);
      if (call === 'rows' || call === 'rows-read') step += 1;
    };
    await ask(world, 'r1', { table: orders, keys: ['k1', 'k2', 'k3', 'k8', 'k9'].map((id) => keyOf(orders, id)) });
    await world.clock.advance(6_000);
    expect(answerOf(world, 'r1').keys).toEqual(['hot', 'hot', 'published', 'published', 'hot']);
    expect(new Set(repairs(world).map(({ key }) => key))).toEqual(new Set([keyOf(orders, 'k3'), keyOf(orders, 'k8')]));
    await world.stopped(process);
  });

  test('publishes whole, above its changes, a key of which the window shows only a part', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', columns);
    world.database.commit([insert(orders, 'k1')]);
    const process = await world.startStreaming(small);
    let reads = 0;
    world.database.onCall = (call) => {
      reads += call === 'rows-read' ? 1 : 0;
      if (call === 'rows-read' && reads === 1) {
        world.database.commit([{ op: 'update', table: orders, id: 'k1', row: ['k1', 'w', undefined] }]);
      }
    };
    await ask(world, 'r1', { table: orders, keys: [keyOf(orders, 'k1')] });
    await world.clock.advance(6_000);
    const { high, keys } = answerOf(world, 'r1');
    expect(keys).toEqual(['published']);
    const [repair, ...others] = repairs(world);
    expect(others).toEqual([]);
    expect(repair?.row).toEqual(['k1', 'w', 'large']);
    const parts = decodeSequence(present(repair, 'a repair').sequence);
    expect([parts.commit, parts.change]).toEqual([decodeSequence(high).commit, 0n]);
    await world.stopped(process);
  });

  test('is read in parts where its rows are large, and none of them passes for absent', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', columns);
    const ids = Array.from({ length: 30 }, (_, at) => `k${at}`);
    world.database.commit(ids.map((id) => insert(orders, id, 'v'.repeat(40))));
    const process = await world.startStreaming(small);
    await ask(world, 'r1', { table: orders, keys: ids.map((id) => keyOf(orders, id)) });
    await world.clock.advance(10_000);
    expect(new Set(answerOf(world, 'r1').keys)).toEqual(new Set(['published']));
    expect(repairs(world)).toHaveLength(30);
    expect(repairs(world).every(({ row }) => row !== null)).toBe(true);
    await world.stopped(process);
  });

  test('fails in words where nothing will ever come of it', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', columns);
    const process = await world.startStreaming(small);
    const key = keyOf(orders, 'k1');
    await ask(world, 'unknown', { table: 'public.none' as TableId, keys: [keyOf('public.none' as TableId, 'k1')] });
    await ask(world, 'other', { table: orders, keys: [keyOf('public.none' as TableId, 'k1')] });
    await ask(world, 'none', { table: orders, keys: [] });
    await ask(world, 'many', { table: orders, keys: Array.from({ length: 1_001 }, () => key) });
    await ask(world, 'undigested', { table: orders, keys: [key], purpose: 'confirm', salt: SALT, digests: [] });
    await world.clock.advance(6_000);
    for (const id of ['unknown', 'other', 'none', 'many', 'undigested']) {
      expect({ id, ...requestOf(world, id) }).toMatchObject({ state: 'failed' });
      expect(requestOf(world, id).result).not.toContain('k1');
    }
    expect(requestOf(world, 'unknown').result).toContain('public.none is stopped or not captured');
    await world.stopped(process);
  });
});
