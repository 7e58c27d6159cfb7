// Reads of single keys beside the stream: an answer is true of the log when it is given, and what was published is what the source held.
import { describe, expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { controlKeys, type RequestRow } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { ChangeRecord, LogRecord } from '#core/record.ts';
import { rowDigest, type RowsAnswer, type RowsRequestArgs } from '#core/rows-request.ts';
import type { TableId } from '#core/schema.ts';
import { decodeSequence } from '#core/sequence.ts';
import { mergePartial, type Row } from '#core/value.ts';
import { FakeSource, type FakeStatement } from '../support/fake-source.ts';
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

test('what no other try mends is told in words, and what passes by itself is tried again', async () => {
  const world = new World();
  const orders = world.database.createTable('public.orders', columns);
  const source = new FakeSource(world.database);
  const errors = [new CausewayError('source_unavailable', 'away'), new CausewayError('source_misconfigured', 'SQLSTATE 22P02')];
  const open = source.rows.bind(source);
  source.rows = () => {
    const rows = open();
    const read = rows.read.bind(rows);
    rows.read = async (wanted, signal) => {
      const error = errors.shift();
      if (error !== undefined) throw error;
      return await read(wanted, signal);
    };
    return rows;
  };
  const process = await world.startStreaming({ ...small, source });
  await ask(world, 'r1', { table: orders, keys: [keyOf(orders, 'k1')] });
  await world.clock.advance(2_500);
  expect(requestOf(world, 'r1').state).toBe('pending');
  await world.clock.advance(5_000);
  expect(requestOf(world, 'r1')).toMatchObject({ state: 'failed', result: 'public.orders: source_misconfigured: SQLSTATE 22P02' });
  await ask(world, 'r2', { table: orders, keys: [keyOf(orders, 'k1')] });
  await world.clock.advance(5_000);
  expect(requestOf(world, 'r2').state).toBe('done');
  await world.stopped(process);
});

test('one that cannot be served now keeps none of the others waiting', async () => {
  const world = new World();
  const tables = ['public.locked', 'public.orders'].map((name) => world.database.createTable(name, columns)) as [TableId, TableId];
  const source = new FakeSource(world.database);
  const open = source.rows.bind(source);
  source.rows = () => {
    const rows = open();
    const read = rows.read.bind(rows);
    rows.read = async (wanted, signal) => {
      if (wanted.table === tables[0]) throw new CausewayError('source_unavailable', 'SQLSTATE 55P03');
      return await read(wanted, signal);
    };
    return rows;
  };
  const process = await world.startStreaming({ ...small, source });
  for (const [at, table] of tables.entries()) await ask(world, `r${at}`, { table, keys: [keyOf(table, 'k1')] });
  await world.clock.advance(6_000);
  expect(['r0', 'r1'].map((id) => requestOf(world, id).state)).toEqual(['pending', 'done']);
  await world.stopped(process);
});

describe('what is published', () => {
  test('is answered for only once it is durable, and behind the checkpoint of a holder that may still store anything', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', columns);
    world.database.commit([insert(orders, 'k1')]);
    const process = await world.startStreaming(small);
    const durable = Promise.withResolvers<undefined>();
    world.logStore.onAppend = (stage, records) =>
      stage === 'before' && records.some(({ value }) => Buffer.from(value).includes('"repair"')) ? durable.promise : undefined;
    await ask(world, 'r1', { table: orders, keys: [keyOf(orders, 'k1')] });
    await world.clock.advance(8_000);
    expect(requestOf(world, 'r1').state).toBe('pending');
    durable.resolve(undefined);
    await world.clock.advance(3_000);
    expect(answerOf(world, 'r1').keys).toEqual(['published']);
    await world.stopped(process);
  });

  test('counts as durable by the checkpoint alone, which may be stored while more becomes so', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders', columns);
    world.database.commit([insert(orders, 'k1')]);
    const control = new MemoryControlStore(world.controlRows);
    const swap = control.swap.bind(control);
    const checkpoint = controlKeys.checkpoint(PIPELINE);
    const replies = { held: null as Promise<undefined> | null, waiting: 0 };
    control.swap = async (write, signal) => {
      const stored = await swap(write, signal);
      if (write.key === checkpoint && replies.held !== null) {
        replies.waiting += 1;
        await replies.held;
      }
      return stored;
    };
    const durable = Promise.withResolvers<undefined>();
    world.logStore.onAppend = (stage, records) =>
      stage === 'before' && records.some(({ value }) => Buffer.from(value).includes('"repair"')) ? durable.promise : undefined;
    // Nobody else comes meanwhile: that is not what this is about.
    const process = await world.startStreaming({ ...small, control, options: { ...small.options, leaseTtlMs: 600_000 } });
    await ask(world, 'r1', { table: orders, keys: [keyOf(orders, 'k1')] });
    await world.clock.advance(4_000);
    const replied = Promise.withResolvers<undefined>();
    replies.held = replied.promise;
    world.database.commit([insert(orders, 'k2')]);
    await world.clock.advance(4_000);
    expect(replies.waiting).toBe(1);
    durable.resolve(undefined);
    await world.clock.advance(4_000);
    // What is durable now stands in no checkpoint yet: a holder that came in between would have opened its generation before it.
    const next = Promise.withResolvers<undefined>();
    replies.held = next.promise;
    replied.resolve(undefined);
    await world.clock.advance(500);
    expect(requestOf(world, 'r1').state).toBe('pending');
    next.resolve(undefined);
    replies.held = null;
    await world.clock.advance(4_000);
    expect(requestOf(world, 'r1').state).toBe('done');
    await world.stopped(process);
  });

  test('stands before the first watermark at or above what is told of it, however long the log takes', async () => {
    const world = new World({ partitions: 1 });
    const orders = world.database.createTable('public.orders', columns);
    world.database.commit(['k1', 'k2', 'k3'].map((id) => insert(orders, id)));
    world.logStore.onAppend = async (stage) => {
      if (stage === 'before') await world.clock.runtime.sleep(1_500, never);
    };
    // The second mark comes while watermarks wait for the log.
    const source = new FakeSource(world.database);
    const open = source.rows.bind(source);
    source.rows = () => {
      const rows = open();
      const read = rows.read.bind(rows);
      rows.read = async (wanted, signal) => {
        await world.clock.runtime.sleep(1_750, signal);
        return await read(wanted, signal);
      };
      return rows;
    };
    const options = { ...small.options, pendingBytesMax: 1, watermarkIntervalMs: 100, idleWatermarkIntervalMs: 100 };
    const process = await world.startStreaming({ ...small, source, options }, 30_000);
    await ask(world, 'r1', { table: orders, keys: ['k1', 'k2', 'k3'].map((id) => keyOf(orders, id)) });
    await world.clock.advance(60_000);
    const { high } = answerOf(world, 'r1');
    const records = world.records(0);
    const first = records.findIndex((record) => record.tag === 'watermark' && record.sequence >= high);
    expect(first).toBeGreaterThan(records.findLastIndex((record) => record.tag === 'change' && record.op === 'repair'));
    world.logStore.onAppend = null;
    await world.stopped(process);
  });
});

const SEEDS = 25;

describe.each([{ from: 1 }, { from: 1 + SEEDS }])('requests under writes, seeds from $from on', ({ from }) => {
  test('are answered truly, whoever dies meanwhile', async () => {
    for (let seed = from; seed < from + SEEDS; seed += 1) await requestsUnderWrites(seed);
  });
});

/** One chunk for each request, so that what is told of it is true of its own two marks. */
const roomy: StartOptions = {
  options: { ...small.options, loadPollMs: 400, chunk: { targetMs: 250, rowsFirst: 3, rowsMax: 5, bytesMax: 1_000_000, hotMax: 1_000 } },
  snapshotNever: () => true,
};

async function requestsUnderWrites(seed: number): Promise<void> {
  const world = new World({ seed, partitions: 2 });
  const { database, clock } = world;
  const random = (): number => clock.runtime.random();
  const below = (bound: number): number => Math.floor(random() * bound);
  const table = database.createTable('public.orders', columns);
  const write = (): void => {
    const statement = randomStatement(world, table, { random, below });
    if (statement !== null) database.commit([statement], { hidden: random() < 0.3 });
  };
  database.onCall = (call) => {
    if (random() < 0.3) write();
    if (random() < 0.3) database.show(1);
    if ((call === 'rows' || call === 'rows-read') && random() < 0.5) write();
    if (call === 'rows' && random() < 0.03) database.disconnect();
  };
  world.logStore.onAppend = async (stage) => {
    if (stage === 'before' && random() < 0.3) await clock.runtime.sleep(300, never);
  };
  let process = world.start(roomy);
  const asked: { readonly id: string; readonly digested: readonly (Row | null)[] }[] = [];
  for (let step = 0; step < 15; step += 1) {
    await clock.advance(100 + below(900));
    for (let writes = below(4); writes > 0; writes -= 1) write();
    const ids = Array.from({ length: 12 }, (_, at) => `k${at}`).filter(() => random() < 0.6);
    if (ids.length > 0) {
      const keys = ids.map((id) => keyOf(table, id));
      const digested = keys.map((key) => (random() < 0.2 ? ['other'] : (database.table(table).rows.get(key) ?? null)));
      const digests = digested.map((row) => (row === null ? null : rowDigest(SALT, row)));
      const args = { table, keys, ...(random() < 0.5 ? {} : { purpose: 'confirm' as const, salt: SALT, digests }) };
      await ask(world, `r${step}`, args);
      asked.push({ id: `r${step}`, digested });
    }
    if (random() < 0.4) {
      if (random() < 0.7) process.kill();
      else process.stop();
      await clock.advance(below(1_000));
      process = world.start(roomy);
    }
  }
  database.onCall = null;
  database.show();
  await clock.advance(60_000);
  world.logStore.onAppend = null;
  const failure = process.outcome()?.error;
  if (failure !== undefined) throw new Error(`seed ${seed}: it ended`, { cause: failure });
  await world.stopped(process);
  expect({ seed, rows: new Map([...world.readLog()].toSorted()) }).toEqual({ seed, rows: new Map([...world.sourceRows()].toSorted()) });
  const valid = validRepairs(world);
  for (const { key, sequence, row } of valid) {
    expect({ seed, key, row }).toEqual({ seed, key, row: stateAt(world, decodeSequence(sequence).commit).get(key) ?? null });
  }
  for (const { id, digested } of asked) expectTrue(world, { seed, id, digested, valid });
}

function expectTrue(
  world: World,
  of: {
    readonly seed: number;
    readonly id: string;
    readonly digested: readonly (Row | null)[];
    readonly valid: readonly (LogRecord & ChangeRecord)[];
  },
): void {
  const { low, high, keys } = answerOf(world, of.id);
  const args = requestOf(world, of.id).args as RowsRequestArgs;
  const [lowCommit, highCommit] = [decodeSequence(low).commit, decodeSequence(high).commit];
  const [before, after] = [stateAt(world, lowCommit), stateAt(world, highCommit)];
  for (const [at, told] of keys.entries()) {
    const key = present(args.keys[at], 'a key');
    const where = { seed: of.seed, id: of.id, key };
    const text = (row: Row | null | undefined): string => JSON.stringify(row ?? null);
    if (told === 'published') {
      const found = of.valid.some(
        ({ key: other, sequence }) => other === key && (sequence === low || decodeSequence(sequence).commit === highCommit),
      );
      expect({ ...where, found }).toEqual({ ...where, found: true });
    } else if (told !== 'hot') {
      expect({ ...where, row: text(before.get(key)) }).toEqual({ ...where, row: text(after.get(key)) });
      expect({ ...where, told }).toEqual({ ...where, told: text(before.get(key)) === text(of.digested[at]) ? 'same' : 'changed' });
    }
  }
}

/** Those that no later generation's opening stands before. */
function validRepairs(world: World): readonly (LogRecord & ChangeRecord)[] {
  return world.logStore.partitions.flatMap((_, partition) => {
    let generation = 0;
    return world.records(partition).filter((record): record is LogRecord & ChangeRecord => {
      if (record.generation < generation) return false;
      generation = record.generation;
      return record.tag === 'change' && record.op === 'repair';
    });
  });
}

/** The source's rows behind the commit. */
function stateAt(world: World, commit: bigint): ReadonlyMap<string, Row> {
  const rows = new Map<string, Row>();
  for (const transaction of world.database.transactions) {
    if (transaction.commit > commit) break;
    for (const message of transaction.messages) {
      if (message.tag !== 'change') continue;
      if (message.op === 'delete') rows.delete(message.key);
      if (message.op === 'insert') rows.set(message.key, message.row);
      if (message.op !== 'update') continue;
      const base = rows.get(message.oldKey ?? message.key) ?? [];
      if (message.oldKey !== null) rows.delete(message.oldKey);
      rows.set(message.key, mergePartial(base, message.row));
    }
  }
  return rows;
}

function randomStatement(
  { database }: World,
  table: TableId,
  by: { readonly random: () => number; readonly below: (bound: number) => number },
): FakeStatement | null {
  const { random, below } = by;
  const id = `k${below(12)}`;
  if (database.isLocked(table, id)) return null;
  const { rows } = database.table(table);
  const value = `v${below(1_000)}`;
  if (!rows.has(keyOf(table, id))) return { op: 'insert', table, row: [id, value, `large${value}`] };
  const chance = random();
  if (chance < 0.3) return { op: 'delete', table, id };
  if (chance < 0.6) return { op: 'update', table, id, row: [id, value, undefined] };
  const other = `k${below(12)}`;
  const isFree = !rows.has(keyOf(table, other)) && !database.isLocked(table, other);
  return { op: 'update', table, id, row: [chance < 0.75 && isFree ? other : id, value, `large${value}`] };
}
