import { describe, expect, test } from 'vitest';
import { controlKeys, type LeaseRow } from '#core/control-rows.ts';
import { CausewayError, codeOf } from '#core/errors.ts';
import type { LogWriter } from '#core/log.ts';
import type { TableId } from '#core/schema.ts';
import { decodeSequence } from '#core/sequence.ts';
import { raiseEpoch } from '../../src/cli/raise-epoch.ts';
import type { FakeCall } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, type MemoryLogStore } from '../support/memory-log.ts';
import { PIPELINE, type Process, World } from './world.ts';

const insert = (table: TableId, id: string) => ({ op: 'insert', table, row: [id, `value ${id}`] }) as const;

/** A control store through which one process sees its lease renewed although it is not: its clock stood still. */
class BlindToLease extends MemoryControlStore {
  blind = false;
  override async swap(...[write, signal]: Parameters<MemoryControlStore['swap']>): ReturnType<MemoryControlStore['swap']> {
    if (this.blind && write.key === controlKeys.lease(PIPELINE)) return { tag: 'stored', version: write.expected ?? ('0' as never) };
    return super.swap(write, signal);
  }
}

/** A log whose writer is given out once `opening` resolves. */
class OpensLate extends MemoryLog {
  readonly #opening: Promise<undefined>;

  constructor(store: MemoryLogStore, opening: Promise<undefined>) {
    super(store);
    this.#opening = opening;
  }

  override async writer(signal: AbortSignal): Promise<LogWriter> {
    await this.#opening;
    return super.writer(signal);
  }
}

describe('a holder that was suspended', () => {
  test('wakes, publishes behind its successor, and acknowledges nothing', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const control = new BlindToLease(world.controlRows);
    const zombie = await world.startStreaming({ control });
    world.database.commit([insert(orders, '101')]);
    await world.clock.advance(2_000);

    control.blind = true;
    const successor = await world.startStreaming({ options: { leaseTtlMs: 3_000 } }).catch(() => null);
    expect(successor).toBeNull();
    await world.clock.advance(20_000);
    const lease = world.row(controlKeys.lease(PIPELINE)) as LeaseRow;
    expect(lease.token).toBe(2);
    expect(world.checkpoint.generation).toBe(2);
    await world.clock.advance(5_000);
    // Its next store, or its next connect, found the higher generation.
    expect(codeOf(zombie.outcome()?.error)).toBe('fenced');

    world.database.commit([insert(orders, '103')]);
    await world.clock.advance(3_000);
    expect(world.readLog()).toEqual(world.sourceRows());
  });

  test('cannot acknowledge what it published after its successor opened', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const control = new BlindToLease(world.controlRows);
    // It stores no checkpoint for an hour, so that nothing but the fence before the slot stands in its way.
    const slow = { checkpointIntervalMs: 3_600_000, fingerprintIntervalMs: 3_600_000 };
    const zombie = await world.startStreaming({ control, options: slow });
    control.blind = true;
    const successor = world.start();
    await world.clock.advance(25_000);
    expect(successor.states.at(-1)?.tag).toBe('streaming');
    const slotBefore = world.database.slot?.position ?? 0n;

    // The successor's connection breaks while the zombie takes the slot again.
    world.database.commit([insert(orders, '102')]);
    await world.clock.advance(10_000);
    expect(codeOf(zombie.outcome()?.error)).toBe('fenced');
    expect(world.database.slot?.position).toBeGreaterThanOrEqual(slotBefore);
    successor.stop();
    await world.clock.advance(1_000);
    expect(world.readLog()).toEqual(world.sourceRows());
    const acknowledged = world.database.acknowledged.at(-1) ?? 0n;
    expect(acknowledged).toBeLessThanOrEqual(BigInt(world.checkpoint.position));
  });

  test('finds its successor before it takes the slot again, even with nothing left to store', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const control = new BlindToLease(world.controlRows);
    const quiet = { heartbeatIntervalMs: 3_600_000, idleWatermarkIntervalMs: 3_600_000 };
    const zombie = await world.startStreaming({ control, options: quiet });
    await world.clock.advance(5_000);
    control.blind = true;
    // The successor has the slot and has not opened yet: the log tells nothing of it.
    const opening = Promise.withResolvers<undefined>();
    world.start({ options: quiet, log: new OpensLate(world.logStore, opening.promise) });
    await world.clock.advance(25_000);
    expect(codeOf(zombie.outcome()?.error)).toBe('fenced');
    expect(world.everyRecord.some(({ generation }) => generation === 2)).toBe(false);
    expect(world.database.connections).toBe(2);
    opening.resolve(undefined);
    await world.clock.advance(1_000);
    expect(world.everyRecord.some(({ generation }) => generation === 2)).toBe(true);
  });

  /** Holds the next call of that name until it is released. */
  function holdNext(world: World, call: FakeCall): { readonly release: () => void } {
    const held = Promise.withResolvers<undefined>();
    world.database.onCall = (at) => {
      if (at !== call) return undefined;
      world.database.onCall = null;
      return held.promise;
    };
    return { release: () => held.resolve(undefined) };
  }

  /** A holder that was suspended at that call of its start, and its successor, which streams by now. */
  async function succeededAt(world: World, call: FakeCall): Promise<{ zombie: Process; successor: Process; wake: () => Promise<void> }> {
    const control = new BlindToLease(world.controlRows);
    const held = holdNext(world, call);
    const zombie = world.start({ control });
    await world.clock.advance(1_000);
    control.blind = true;
    const successor = await world.startStreaming({}, 25_000);
    const wake = async (): Promise<void> => {
      held.release();
      await world.clock.advance(1_000);
    };
    return { zombie, successor, wake };
  }

  for (const call of ['inspect', 'provision'] as const) {
    test(`in its first start, at ${call}, drops no slot of its successor, and takes no load from it`, async () => {
      const world = new World();
      const orders = world.database.createTable('public.orders');
      const { zombie, successor, wake } = await succeededAt(world, call);
      world.database.commit([insert(orders, '1')]);
      await world.clock.advance(2_000);

      await wake();
      expect(['lease_lost', 'fenced']).toContain(codeOf(zombie.outcome()?.error));
      world.database.commit([insert(orders, '2')]);
      await world.clock.advance(2_000);
      await world.stopped(successor);
      expect(world.database.slot?.position).toBe(BigInt(world.checkpoint.position));
      expect(world.readLog()).toEqual(world.sourceRows());
    });
  }

  test('makes no slot in place of the one that its successor made', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    // A first start that ended before the checkpoint left a slot behind.
    world.database.onCall = (call) => {
      if (call === 'provisioned') throw new CausewayError('source_permission', 'ended here');
    };
    world.start();
    await world.clock.advance(1_000);
    const { zombie, successor, wake } = await succeededAt(world, 'inspect');

    await wake();
    expect(codeOf(zombie.outcome()?.error)).toBe('lease_lost');
    expect(world.database.connections).toBe(1);
    await world.stopped(successor);
  });

  test('between its checkpoint and its look at the source, takes what its successor acknowledged for no lost slot', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    await world.stopped(await world.startStreaming());
    const { zombie, successor, wake } = await succeededAt(world, 'inspect');
    world.database.commit([insert(orders, '1')]);
    await world.clock.advance(2_000);

    await wake();
    expect(codeOf(zombie.outcome()?.error)).toBe('lease_lost');
    await world.stopped(successor);
    expect(world.readLog()).toEqual(world.sourceRows());
  });

  test('stores no progress of a load whose rows landed behind its successor', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    world.database.commit(Array.from({ length: 10 }, (_, at) => insert(orders, String(at))));
    const control = new BlindToLease(world.controlRows);
    const late: { release: () => void } = { release: () => undefined };
    world.logStore.onAppend = (stage, records) => {
      const isOfChunk = records.some(({ value }) => Buffer.from(value).includes('"read"'));
      return stage === 'before' && isOfChunk ? new Promise<void>((resolve) => (late.release = resolve)) : undefined;
    };
    const zombie = await world.startStreaming({ control });
    world.logStore.onAppend = null;
    control.blind = true;
    // The successor streams, and carries no load on yet.
    const successor = await world.startStreaming({ options: { loadsAtOnce: 0 } }, 25_000);
    late.release();
    await world.clock.advance(5_000);
    expect(codeOf(zombie.outcome()?.error)).toBe('fenced');
    expect(world.everyRecord.filter((record) => record.tag === 'change' && record.op === 'read')).toHaveLength(10);
    expect(world.loads()).toMatchObject([{ table: orders, after: null, rows: 0 }]);
    await world.stopped(successor);
    await world.stopped(await world.startStreaming({}, 10_000));
    expect(world.loads()).toMatchObject([{ table: orders, state: 'done' }]);
    expect(world.readLog()).toEqual(world.sourceRows());
  });

  test('a late record of the older generation changes nothing, and the slot serves it again', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const control = new BlindToLease(world.controlRows);
    const zombie = await world.startStreaming({ control });
    // Its append is on its way when it is suspended, and lands after the successor has opened.
    const late: { release: () => void } = { release: () => undefined };
    world.logStore.onAppend = (stage) => (stage === 'before' ? new Promise<void>((resolve) => (late.release = resolve)) : undefined);
    world.database.commit([insert(orders, '1')]);
    await world.clock.advance(500);
    world.logStore.onAppend = null;
    control.blind = true;
    const successor = world.start();
    await world.clock.advance(25_000);
    late.release();
    await world.clock.advance(5_000);
    expect(codeOf(zombie.outcome()?.error)).toBe('fenced');
    const generations = world.everyRecord.filter(({ tag }) => tag === 'change').map(({ generation }) => generation);
    expect([...generations].sort()).toEqual([1, 2]);
    expect(world.readLog()).toEqual(world.sourceRows());
    await world.stopped(successor);
  });
});

describe('the control store is away', () => {
  test.each(['control_unavailable', 'control_credentials'] as const)(
    '%s: capture goes on until the deadline, then drops its slot, stands by, and comes back as a new generation',
    async (code) => {
      const world = new World();
      const orders = world.database.createTable('public.orders');
      const process = await world.startStreaming();
      world.controlRows.failure = new CausewayError(code, 'away');
      world.database.commit([insert(orders, '1')]);
      await world.clock.advance(5_000);
      expect(process.states.at(-1)?.tag).toBe('streaming');
      expect(world.everyRecord.some(({ tag }) => tag === 'change')).toBe(true);
      const slot = world.database.slot?.position;
      await world.clock.advance(15_000);
      expect(process.states.at(-1)?.tag).toBe('standby');
      expect(world.database.connection).toBeNull();
      expect(world.database.slot?.position).toBe(slot);
      world.controlRows.failure = null;
      await world.clock.advance(8_000);
      expect(process.states.at(-1)).toMatchObject({ tag: 'streaming', generation: 2 });
      await world.stopped(process);
      expect(world.readLog()).toEqual(world.sourceRows());
    },
  );

  test('a lease lost to another process ends this one', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const process = await world.startStreaming();
    const lease = world.row(controlKeys.lease(PIPELINE)) as LeaseRow;
    world.controlRows.rows.set(controlKeys.lease(PIPELINE), {
      text: JSON.stringify({ ...lease, token: lease.token + 1, holder: 'another' }),
      version: 'another' as never,
    });
    await world.clock.advance(6_000);
    expect(codeOf(process.outcome()?.error)).toBe('lease_lost');
    expect(world.database.connection).toBeNull();
  });

  test('an epoch that it does not know stops capture, until the next one above is opened', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const control = new MemoryControlStore(world.controlRows);
    await world.stopped(await world.startStreaming());
    const old = new Map(world.controlRows.rows);
    const signal = new AbortController().signal;
    expect(await raiseEpoch(control, { pipeline: PIPELINE, above: 4 }, signal)).toBe(5);
    const later = await world.startStreaming({ options: { checkpointIntervalMs: 3_600_000 } });
    world.database.commit([insert(orders, '1')]);
    await world.clock.advance(2_000);
    later.kill();
    await world.clock.advance(100);

    // The store comes back from before that epoch. The generation was raised by whoever did that.
    for (const [key, row] of old) if (key !== controlKeys.lease(PIPELINE)) world.controlRows.rows.set(key, row);
    const refused = world.start();
    await world.clock.advance(20_000);
    const { error } = refused.outcome() ?? {};
    expect([codeOf(error), String(error)]).toEqual(['generation_behind', expect.stringContaining('lease raise --epoch --above 5')]);

    expect(await raiseEpoch(control, { pipeline: PIPELINE, above: 5 }, signal)).toBe(6);
    const process = await world.startStreaming({}, 20_000);
    world.database.commit([insert(orders, '2')]);
    await world.clock.advance(2_000);
    await world.stopped(process);
    const newest = world.everyRecord.filter(({ generation }) => generation === world.checkpoint.generation);
    expect(newest.filter(({ tag }) => tag === 'generation-open')).toEqual(Array(3).fill(expect.objectContaining({ epoch: 6, fork: 0n })));
    expect(newest.flatMap((record) => (record.tag === 'change' ? [decodeSequence(record.sequence).epoch] : []))).toContain(6);
    expect(world.tableRow(orders).state).toBe('resync_required');
  });

  test('a generation given out twice is not used', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const process = await world.startStreaming();
    const row = world.checkpoint;
    world.controlRows.rows.set(controlKeys.checkpoint(PIPELINE), {
      text: JSON.stringify({ ...row, holder: 'another' }),
      version: 'another' as never,
    });
    await world.clock.advance(6_000);
    expect(codeOf(process.outcome()?.error)).toBe('generation_behind');
  });
});
