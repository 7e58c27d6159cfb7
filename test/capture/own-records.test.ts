import { describe, expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { controlKeys } from '#core/control-rows.ts';
import { codeOf } from '#core/errors.ts';
import type { Log, LogWriter } from '#core/log.ts';
import type { FencingToken, Offset } from '#core/position.ts';
import type { LogRecord } from '#core/record.ts';
import { OwnRecords } from '../../src/capture/own-records.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { PIPELINE, World } from './world.ts';

const signal = new AbortController().signal;
const OWN = { generation: 3, holder: 'aaaaaaaa' };

/** One partition of a log, to which this generation and others append. */
class Partition {
  readonly store = new MemoryLogStore({ partitions: 1 });
  readonly log = new MemoryLog(this.store);
  readonly #counters = new Map<string, number>();

  async own(): Promise<OwnRecords> {
    const owner = { generation: OWN.generation as FencingToken, holder: `${OWN.holder}bbbbbbbb` };
    return new OwnRecords({ log: this.log, codec: jsonCodec, owner, ends: await this.log.ends(signal) });
  }

  async append(by: { readonly generation: number; readonly holder: string }, records: number): Promise<Offset> {
    const writer = await this.log.writer(signal);
    const values = Array.from({ length: records }, () => jsonCodec.encode(this.#next(by), null));
    const offsets = await writer.append(
      values.map((value) => ({ partition: 0, key: null, value })),
      signal,
    );
    return offsets.get(0) ?? (0 as Offset);
  }

  #next({ generation, holder }: { readonly generation: number; readonly holder: string }): LogRecord {
    const counter = (this.#counters.get(holder) ?? 0) + 1;
    this.#counters.set(holder, counter);
    const envelope = { generation: generation as FencingToken, holder, counter };
    return { ...envelope, tag: 'generation-open', epoch: 1 as never, fork: 0n, partitions: 1, acknowledged: null };
  }
}

const told = (offset: number, counter: number) => ({ offsets: new Map([[0, offset as Offset]]), counters: [counter] });

async function codeFrom(work: Promise<unknown> | null): Promise<string> {
  return Promise.resolve(work).then(
    () => 'none',
    (error: unknown) => codeOf(error),
  );
}

describe('between own records', () => {
  test('nothing is read while they follow on each other', async () => {
    const partition = new Partition();
    await partition.append({ generation: 2, holder: 'cccccccc' }, 4);
    const own = await partition.own();
    expect(own.appended(told(await partition.append(OWN, 2), 2), signal)).toBeNull();
    expect(own.appended(told(await partition.append(OWN, 3), 5), signal)).toBeNull();
  });

  test('older generations and own records that the log took twice change nothing', async () => {
    const partition = new Partition();
    const own = await partition.own();
    await partition.append({ generation: 2, holder: 'cccccccc' }, 1);
    expect(await codeFrom(own.appended(told(await partition.append(OWN, 1), 1), signal))).toBe('none');
    await partition.append(OWN, 2);
    const looked = own.appended(told(await partition.append(OWN, 2), 3), signal);
    expect(looked).not.toBeNull();
    expect(await codeFrom(looked)).toBe('none');
    expect(own.appended(told(await partition.append(OWN, 1), 4), signal)).toBeNull();
  });

  for (const [what, by, code] of [
    ['a higher generation', { generation: 4, holder: 'dddddddd' }, 'fenced'],
    ['another holder of the same one', { generation: 3, holder: 'dddddddd' }, 'generation_behind'],
  ] as const) {
    test(`${what} ends it: in front of its opening, in front of a later record, and behind its last one`, async () => {
      for (const before of [0, 2]) {
        const partition = new Partition();
        const own = await partition.own();
        if (before > 0) expect(own.appended(told(await partition.append(OWN, before), before), signal)).toBeNull();
        await partition.append(by, 1);
        expect(await codeFrom(own.lookBehind(await partition.log.ends(signal), signal))).toBe(code);
        expect(await codeFrom(own.appended(told(await partition.append(OWN, 2), before + 2), signal))).toBe(code);
      }
    });
  }

  test('what was freed before it was looked at ends the generation, and a log that became shorter stops it', async () => {
    const freed = new Partition();
    const own = await freed.own();
    await freed.append({ generation: 2, holder: 'cccccccc' }, 3);
    const offset = await freed.append(OWN, 1);
    const progress = new Map([[0, { offset: 2 as Offset, pair: null }]]);
    freed.store.progress.set('warm', progress);
    freed.store.retained = ['warm'];
    freed.store.trim();
    expect(await codeFrom(own.appended(told(offset, 1), signal))).toBe('log_unavailable');

    const cut = new Partition();
    const shortened = await cut.own();
    expect(shortened.appended(told(await cut.append(OWN, 3), 3), signal)).toBeNull();
    expect(() => shortened.appended(told(2, 4), signal)).toThrow('partition 0 of the log ends at offset 3');
  });
});

/** One process whose calls to the control store do not come back while `held`; its lease seems to be renewed. */
class Suspended extends MemoryControlStore {
  held: Promise<undefined> | null = null;
  blind = false;
  override async get(...call: Parameters<MemoryControlStore['get']>): ReturnType<MemoryControlStore['get']> {
    await this.held;
    return super.get(...call);
  }
  override async swap(...[write, signalOf]: Parameters<MemoryControlStore['swap']>): ReturnType<MemoryControlStore['swap']> {
    if (this.blind && write.key === controlKeys.lease(PIPELINE)) return { tag: 'stored', version: write.expected ?? ('0' as never) };
    return super.swap(write, signalOf);
  }
}

describe('a control store that goes back makes a superseded holder the holder again', () => {
  const slow = { checkpointIntervalMs: 3_600_000, fingerprintIntervalMs: 3_600_000 };

  test('which acknowledges nothing that it published behind its successor', async () => {
    const world = new World();
    const orders = world.database.createTable('public.orders');
    const control = new Suspended(world.controlRows);
    const zombie = await world.startStreaming({ control, options: slow });
    const old = new Map(world.controlRows.rows);
    const late: { release: () => void } = { release: () => undefined };
    world.logStore.onAppend = (stage) => (stage === 'before' ? new Promise<void>((resolve) => (late.release = resolve)) : undefined);
    world.database.commit([{ op: 'insert', table: orders, row: ['1', 'value'] }]);
    await world.clock.advance(500);
    world.logStore.onAppend = null;
    control.blind = true;
    const successor = await world.startStreaming({ options: slow }, 25_000);
    expect(successor.states.at(-1)).toMatchObject({ generation: 2 });
    successor.kill();
    await world.clock.advance(100);
    for (const [key, row] of old) world.controlRows.rows.set(key, row);
    control.blind = false;

    const acknowledged = world.database.acknowledged.length;
    late.release();
    await world.clock.advance(100);
    zombie.stop();
    await world.clock.advance(5_000);
    expect(codeOf(zombie.outcome()?.error)).toBe('fenced');
    expect(world.database.acknowledged.length).toBe(acknowledged);
  });

  test('which takes no slot again, though it has nothing to publish', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const control = new Suspended(world.controlRows);
    const quiet = { ...slow, heartbeatIntervalMs: 3_600_000, idleWatermarkIntervalMs: 3_600_000 };
    const zombie = await world.startStreaming({ control, options: quiet });
    const old = new Map(world.controlRows.rows);
    const held = Promise.withResolvers<undefined>();
    control.held = held.promise;
    control.blind = true;
    const successor = await world.startStreaming({ options: quiet }, 25_000);
    successor.kill();
    await world.clock.advance(100);
    for (const [key, row] of old) world.controlRows.rows.set(key, row);

    held.resolve(undefined);
    await world.clock.advance(5_000);
    expect(codeOf(zombie.outcome()?.error)).toBe('fenced');
    expect(world.database.connections).toBe(2);
  });

  test('a successor that opens between the tail and the own opening is noticed', async () => {
    const world = new World();
    world.database.createTable('public.orders');
    const between = new Partition();
    class Overtaken extends MemoryLog implements Log {
      override async writer(signalOf: AbortSignal): Promise<LogWriter> {
        await between.append({ generation: 2, holder: 'dddddddd' }, 1);
        const others = await super.writer(signalOf);
        const opening = present(between.store.partition(0).records[0], 'opening');
        await others.append([{ ...opening, partition: 1 }], signalOf);
        return super.writer(signalOf);
      }
    }
    const process = world.start({ log: new Overtaken(world.logStore) });
    await world.clock.advance(3_000);
    expect(codeOf(process.outcome()?.error)).toBe('fenced');
    expect(process.states.some(({ tag }) => tag === 'streaming')).toBe(false);
  });
});
