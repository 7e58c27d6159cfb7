import { describe, expect, test } from 'vitest';
import { controlKeys } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { TableId } from '#core/schema.ts';
import { PIPELINE, World } from './world.ts';

const insert = (table: TableId, id: string, value = 'v') => ({ op: 'insert', table, row: [id, value] }) as const;

describe('while it streams', () => {
  test('a key change is a delete and an upsert, each in the partition of its own key', async () => {
    const world = new World({ partitions: 8 });
    const orders = world.database.createTable('public.orders');
    await world.startStreaming();
    world.database.commit([insert(orders, '1', 'a')]);
    const moved = world.database.commit([{ op: 'update', table: orders, id: '1', row: ['2', undefined] }]);
    await world.clock.advance(2_000);
    const changes = world.everyRecord.filter((record) => record.tag === 'change' && record.transactionId === String(moved.xid));
    expect(changes).toHaveLength(2);
    const sequences = changes.map((record) =>
      record.tag === 'change' ? [record.op, record.sequence.slice(-8), record.sequence.slice(0, 40)] : [],
    );
    const [removed] = sequences.filter(([op]) => op === 'delete');
    const [upserted] = sequences.filter(([op]) => op === 'update');
    expect(removed?.[1]).toBe('00000000');
    expect(upserted?.[1]).toBe('00000001');
    expect(removed?.[2]).toBe(upserted?.[2]);
  });

  test('a truncate stands in every partition, at the start of its message', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const process = await world.startStreaming();
    world.database.commit([insert(orders, '1'), insert(orders, '2'), insert(orders, '3')]);
    world.database.commit([{ op: 'truncate', tables: [orders] }, insert(orders, '2', 'again')]);
    await world.clock.advance(2_000);
    for (const partition of world.logStore.partitions.keys()) {
      const truncates = world.records(partition).filter(({ tag }) => tag === 'truncate');
      expect(truncates).toHaveLength(1);
    }
    expect(world.readLog()).toEqual(world.sourceRows());
    await world.stopped(process);
  });

  test('a row too large and a row that cannot be read are published without values', async () => {
    const world = new World({ recordBytesMax: 2_000 });
    const orders = world.database.createTable('public.orders');
    const process = await world.startStreaming();
    world.database.commit([insert(orders, '2')]);
    world.database.commit([insert(orders, '1', 'x'.repeat(5_000)), { op: 'unreadable', table: orders, id: '2' }, insert(orders, '3')]);
    await world.clock.advance(2_000);
    const withheld = world.everyRecord.flatMap((record) => (record.tag === 'change' && record.withheld !== null ? [record] : []));
    expect(withheld.map(({ row }) => row)).toEqual([null, null]);
    expect(withheld.map((record) => record.withheld?.split(':')[0]).sort()).toEqual(['record_too_large', 'value_unreadable']);
    expect(JSON.stringify(withheld)).not.toContain('xxxx');
    expect(process.outcome()).toBeUndefined();
  });

  test('an idle source is acknowledged by its keepalives, and heartbeats move the watermark', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const seen: number[] = [];
    await world.startStreaming({
      observer: { watermark: ({ sourceTime }) => void seen.push(sourceTime) },
      options: { heartbeatIntervalMs: 3_000 },
    });
    world.database.grow(10_000n);
    const { head } = world.database;
    await world.clock.advance(1_500);
    expect(world.database.slot?.position).toBeGreaterThanOrEqual(head);
    await world.clock.advance(30_000);
    expect(seen.length).toBeGreaterThanOrEqual(5);
    expect(seen.length).toBeLessThan(9);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  test('a schema stands in the control store and in every partition before its first change', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const process = await world.startStreaming();
    world.database.commit([insert(orders, '1')]);
    await world.clock.advance(1_000);
    world.database.alterTable(orders, { columns: ['id', 'value', 'more'], verdict: { tag: 'harmless', text: 'a column was added' } });
    world.database.commit([{ op: 'insert', table: orders, row: ['2', 'v', 'w'] }]);
    await world.clock.advance(1_000);
    expect(world.tableRow(orders).schemas.map(({ columns }) => columns.length)).toEqual([2, 3]);
    expect(world.readLog()).toEqual(world.sourceRows());
    await world.stopped(process);
    await world.startStreaming();
    for (const partition of world.logStore.partitions.keys()) {
      const again = world.records(partition).filter(({ generation, tag }) => generation === 2 && tag === 'schema');
      expect(again).toHaveLength(2);
    }
  });

  test('a table that appears later is told and not captured, unless its rows need no copying', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const refused: string[] = [];
    await world.startStreaming({
      observer: { refused: (tables) => void refused.push(...tables.map(({ table, code }) => `${table} ${code}`)) },
      snapshotNever: (table) => table === 'public.marked',
    });
    const later = world.database.createTable('public.later');
    const marked = world.database.createTable('public.marked');
    world.database.commit([insert(orders, '1'), insert(later, '2'), insert(marked, '3')]);
    await world.clock.advance(11_000);
    world.database.commit([insert(orders, '4'), insert(later, '5'), insert(marked, '6')]);
    await world.clock.advance(1_000);
    expect(refused).toContain('public.later table_not_loaded');
    expect(refused).not.toContain('public.marked table_not_loaded');
    const tables = new Set(world.everyRecord.flatMap((record) => (record.tag === 'change' ? [record.table] : [])));
    expect(tables).toEqual(new Set([orders, marked]));
  });

  test('an opening names what was acknowledged last in its partition', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const process = await world.startStreaming();
    for (let id = 0; id < 10; id += 1) world.database.commit([insert(orders, String(id))]);
    await world.clock.advance(3_000);
    await world.stopped(process);
    const acknowledged = world.checkpoint.partitions;
    await world.startStreaming();
    for (const partition of world.logStore.partitions.keys()) {
      const before = acknowledged[partition] ?? null;
      expect(before).not.toBeNull();
      const opening = world.records(partition).find(({ generation }) => generation === 2);
      expect(opening).toMatchObject({
        tag: 'generation-open',
        acknowledged: { generation: before?.generation, counter: before?.counter },
      });
    }
  });

  test('a table that lies elsewhere because the stream has truncated it asks for no reconcile', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const lines = world.database.createTable('public.lines');
    await world.startStreaming();
    world.database.commit([insert(orders, '1'), { op: 'truncate', tables: [orders] }, insert(orders, '2')]);
    for (const table of [orders, lines]) {
      world.database.alterTable(table, { verdict: { tag: 'reconcile', text: 'another file', onlyFiles: true } });
    }
    await world.clock.advance(25_000);
    expect(world.tableRow(orders)).toMatchObject({ state: 'streaming', reconcileWanted: 0 });
    expect(world.tableRow(lines)).toMatchObject({ state: 'streaming', reconcileWanted: 1 });
  });

  test('fingerprints: a reconcile is counted, a re-sync shown, a stopped table dropped', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const lines = world.database.createTable('public.lines');
    const gone = world.database.createTable('public.gone');
    let dropped = 0;
    await world.startStreaming({ observer: { read: (counts) => void (dropped += counts.dropped) } });
    world.database.alterTable(orders, { verdict: { tag: 'reconcile', text: 'rewritten' } });
    world.database.alterTable(lines, { verdict: { tag: 'resync_required', text: 'left the publication' } });
    world.database.dropTable(gone);
    await world.clock.advance(11_000);
    expect(world.tableRow(orders)).toMatchObject({ state: 'streaming', reconcileWanted: 1 });
    expect(world.tableRow(lines)).toMatchObject({ state: 'resync_required', reason: { text: 'left the publication' } });
    expect(world.tableRow(gone)).toMatchObject({ state: 'stopped' });
    world.database.alterTable(orders, { verdict: { tag: 'stopped', text: 'another primary key' } });
    await world.clock.advance(11_000);
    world.database.commit([insert(orders, '1'), insert(lines, '1'), { op: 'truncate', tables: [orders] }]);
    await world.clock.advance(1_000);
    expect(dropped).toBe(2);
    expect([...world.readLog().keys()]).toEqual(['["public.lines","1"]']);
    // A graver state stays, whatever comes later.
    world.database.alterTable(orders, { verdict: { tag: 'resync_required', text: 'again' } });
    await world.clock.advance(11_000);
    expect(world.tableRow(orders).state).toBe('stopped');
  });

  test('a table that the stream leaves out is stored as stopped before anything behind it is acknowledged', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const stored: string[] = [];
    // A checkpoint is what allows the acknowledgement.
    const observer = { checkpoint: () => void stored.push(world.tableRow(orders).state) };
    await world.startStreaming({ options: { fingerprintIntervalMs: 3_600_000 }, observer });
    await world.clock.advance(3_000);
    expect(new Set(stored)).toEqual(new Set(['streaming']));
    stored.length = 0;
    world.database.stopTable(orders, 'its replica identity does not cover the primary key');
    await world.clock.advance(3_000);
    expect(new Set(stored)).toEqual(new Set(['stopped']));
    expect(world.tableRow(orders)).toMatchObject({ state: 'stopped', reason: { code: 'table_stopped' } });
    world.database.commit([insert(orders, '1')]);
    await world.clock.advance(3_000);
    expect([...world.readLog().keys()]).toEqual([]);
  });

  test('a broken connection is ridden out in the same generation, and what was not acknowledged is sent again', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const process = await world.startStreaming({ options: { reconnectMaxMs: 200 } });
    for (let round = 0; round < 12; round += 1) {
      for (let id = 0; id < 5; id += 1) world.database.commit([insert(orders, `${round}.${id}`), insert(orders, `${round}/${id}`)]);
      if (round % 3 === 0) world.database.available = false;
      world.database.restart(world.checkpoint.position === '' ? null : BigInt(world.checkpoint.position) - 20n);
      await world.clock.advance(700);
      world.database.available = true;
      await world.clock.advance(700);
    }
    await world.clock.advance(5_000);
    await world.stopped(process);
    expect(world.readLog()).toEqual(world.sourceRows());
    expect(world.everyRecord.filter(({ tag }) => tag === 'generation-open')).toHaveLength(3);
    expect(world.database.connections).toBeGreaterThan(10);
  });

  test('a source that breaks each connection at once is not asked without a pause', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const process = await world.startStreaming();
    world.database.onCall = (call) => {
      if (call === 'messages') throw new CausewayError('source_unavailable', 'it ended');
    };
    world.database.disconnect();
    await world.clock.advance(60_000);
    expect(world.database.connections).toBeGreaterThan(10);
    expect(world.database.connections).toBeLessThan(40);
    expect(process.outcome()).toBeUndefined();
  });

  test('a transaction much larger than what may be held flows through', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    let waitingMax = 0;
    const process = await world.startStreaming({
      options: { pendingBytesMax: 20_000, largeTransactionChanges: 1_000 },
      observer: { queue: (bytes) => (waitingMax = Math.max(waitingMax, bytes)) },
    });
    world.database.commit(Array.from({ length: 5_000 }, (_, id) => insert(orders, String(id))));
    await world.clock.advance(3_000);
    expect(world.readLog().size).toBe(5_000);
    // One array of messages at most beyond the limit.
    expect(waitingMax).toBeLessThan(20_000 + 50 * 500);
    await world.stopped(process);
  });

  test('what waits for a slow log is bounded', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    let waitingMax = 0;
    await world.startStreaming({
      options: { pendingBytesMax: 20_000 },
      observer: { queue: (bytes) => (waitingMax = Math.max(waitingMax, bytes)) },
    });
    world.logStore.onAppend = (stage) => (stage === 'before' ? world.clock.runtime.sleep(50, new AbortController().signal) : undefined);
    world.database.commit(Array.from({ length: 2_000 }, (_, id) => insert(orders, String(id))));
    await world.clock.advance(10_000);
    expect(waitingMax).toBeGreaterThan(10_000);
    expect(waitingMax).toBeLessThan(20_000 + 50 * 500);
    expect(world.readLog().size).toBe(2_000);
  });

  test('a connection that breaks inside a transaction sends it again from its begin', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    world.database.arrayMax = 1;
    let broken = false;
    const process = await world.startStreaming({
      observer: {
        read: () => {
          if (!broken) world.database.disconnect();
          broken = true;
        },
      },
    });
    world.database.commit([insert(orders, '1'), insert(orders, '2')]);
    await world.clock.advance(2_000);
    await world.stopped(process);
    expect(world.database.connections).toBe(2);
    expect(world.everyRecord.filter(({ tag }) => tag === 'change')).toHaveLength(3);
    expect(world.readLog()).toEqual(world.sourceRows());
  });

  test('a stop waits for what is on its way, stores and acknowledges it', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const process = await world.startStreaming({ options: { checkpointIntervalMs: 3_600_000 } });
    world.logStore.onAppend = (stage) => (stage === 'before' ? world.clock.runtime.sleep(500, new AbortController().signal) : undefined);
    const { end } = world.database.commit([insert(orders, '1')]);
    await world.clock.advance(50);
    process.stop();
    await world.clock.advance(100);
    expect(process.outcome()).toBeUndefined();
    await world.clock.advance(1_000);
    expect(process.outcome()).toEqual({ error: null });
    expect(world.checkpoint.position).toBe(String(end));
    expect(world.database.slot?.position).toBe(end);
    expect(world.row(controlKeys.lease(PIPELINE))).toMatchObject({ token: 1, holder: null });
  });

  test('an append that fails ends the generation; the next one sends again', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const process = await world.startStreaming();
    world.database.commit([insert(orders, '1')]);
    let failing = true;
    world.logStore.onAppend = (stage) => {
      if (stage === 'after' && failing) throw new Error('the reply was lost');
    };
    await world.clock.advance(100);
    expect(process.outcome()?.error).toMatchObject({ message: 'the reply was lost' });
    failing = false;
    const next = await world.startStreaming();
    await world.stopped(next);
    expect(world.readLog()).toEqual(world.sourceRows());
  });

  test('a full log is waited out, and shown', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const process = await world.startStreaming();
    const gate: { open: () => void } = { open: () => undefined };
    world.logStore.onAppend = (stage) => (stage === 'before' ? new Promise<void>((resolve) => (gate.open = resolve)) : undefined);
    const before = world.database.slot?.position;
    world.database.commit([insert(orders, '1')]);
    await world.clock.advance(9_000);
    expect(process.states.at(-1)?.tag).toBe('waiting_for_log');
    expect(world.database.slot?.position).toBe(before);
    world.logStore.onAppend = null;
    gate.open();
    await world.clock.advance(3_000);
    expect(process.states.at(-1)?.tag).toBe('streaming');
    expect(world.readLog()).toEqual(world.sourceRows());
  });
});
