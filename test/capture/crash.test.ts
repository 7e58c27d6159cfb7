import { describe, expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import type { Log } from '#core/log.ts';
import type { TableId } from '#core/schema.ts';
import { FakeSource } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog } from '../support/memory-log.ts';
import { seededRandom } from '../support/test-runtime.ts';
import { World } from './world.ts';

const insert = (table: TableId, id: string) => ({ op: 'insert', table, row: [id, `value ${id}`] }) as const;

/** Fails the call with this number, before or after it took effect, and every later one: as a process that ended there. */
class Crash {
  calls = 0;
  readonly #at: number;
  readonly #stage: 'before' | 'after';
  readonly #code: 'internal' | 'control_unavailable';

  constructor(at: number, stage: 'before' | 'after', code: 'internal' | 'control_unavailable' = 'internal') {
    this.#at = at;
    this.#stage = stage;
    this.#code = code;
  }

  /** A port of which every method that returns a promise is counted. */
  around<T extends object>(port: T): T {
    return new Proxy(port, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          const result = (): unknown => Reflect.apply(value, target, args);
          if (!COUNTED.has(String(name))) return result();
          return this.#call(result as () => Promise<unknown>);
        };
      },
    });
  }

  async #call(act: () => Promise<unknown>): Promise<unknown> {
    this.calls += 1;
    const mine = this.calls;
    if (mine > this.#at || (mine === this.#at && this.#stage === 'before')) throw this.#error();
    const result = await act();
    if (mine === this.#at) throw this.#error();
    return result;
  }

  #error(): CausewayError {
    return new CausewayError(this.#code, 'the process ended here');
  }
}

const COUNTED = new Set(['get', 'swap', 'remove', 'list', 'inspect', 'provision', 'open', 'ends', 'writer']);

function startCrashing(world: World, crash: Crash): ReturnType<World['start']> {
  return world.start({
    source: crash.around(new FakeSource(world.database)),
    log: crash.around<Log>(new MemoryLog(world.logStore)),
    control: crash.around(new MemoryControlStore(world.controlRows)),
    options: { leaseTtlMs: 15_000 },
  });
}

const STEPS_MAX = 90;

describe('a process that ends at any step of opening', () => {
  test.each(['before', 'after'] as const)('of the first start, %s the step took effect', async (stage) => {
    let completed = false;
    for (let at = 1; at < STEPS_MAX && !completed; at += 1) {
      const world = new World({ seed: at });
      const orders = world.database.createTable('public.orders');
      const crash = new Crash(at, stage);
      const process = startCrashing(world, crash);
      await world.clock.advance(400);
      completed = process.outcome() === undefined;
      process.kill();
      await world.startStreaming({}, 20_000);
      world.database.commit([insert(orders, '1'), insert(orders, '2')]);
      await world.clock.advance(2_000);
      expect(world.readLog(), `step ${at}`).toEqual(world.sourceRows());
    }
    expect(completed).toBe(true);
  });

  test.each(['before', 'after'] as const)(
    'of a later start, %s the step took effect: nothing that was committed is lost',
    async (stage) => {
      let completed = false;
      for (let at = 1; at < STEPS_MAX && !completed; at += 1) {
        const world = new World({ seed: at });
        const orders = world.database.createTable('public.orders');
        const first = await world.startStreaming();
        world.database.commit([insert(orders, 'a')]);
        await world.clock.advance(300);
        first.kill();
        world.database.commit([insert(orders, 'b')]);
        const crash = new Crash(at, stage);
        const process = startCrashing(world, crash);
        await world.clock.advance(17_000);
        completed = process.outcome() === undefined;
        process.kill();
        world.database.commit([insert(orders, 'c')]);
        await world.startStreaming({}, 20_000);
        await world.clock.advance(2_000);
        expect(world.readLog(), `step ${at}`).toEqual(world.sourceRows());
        expect(world.readLog().size).toBe(3);
      }
      expect(completed).toBe(true);
    },
  );
});

/** Takes effect, and the caller is told otherwise: once, at the call with this number. */
class LosesReply extends MemoryControlStore {
  calls = 0;
  at = 0;

  override async swap(...args: Parameters<MemoryControlStore['swap']>): ReturnType<MemoryControlStore['swap']> {
    const result = await super.swap(...args);
    this.calls += 1;
    if (this.calls === this.at) throw new CausewayError('control_unavailable', 'the reply was lost');
    return result;
  }
}

test('a lost reply of the control store changes nothing, wherever it falls', async () => {
  let calls = 0;
  for (let at = 1; at === 1 || at <= calls; at += 1) {
    const world = new World({ seed: at });
    const orders = world.database.createTable('public.orders');
    const control = new LosesReply(world.controlRows);
    control.at = at;
    const process = await world.startStreaming({ control });
    world.database.commit([insert(orders, '1')]);
    world.database.alterTable(orders, { columns: ['id', 'value', 'more'], verdict: { tag: 'reconcile', text: 'rewritten' } });
    world.database.commit([{ op: 'insert', table: orders, row: ['2', 'v', 'w'] }]);
    await world.clock.advance(12_000);
    await world.stopped(process);
    calls = control.calls;
    expect(world.readLog(), `call ${at}`).toEqual(world.sourceRows());
    expect(world.tableRow(orders)).toMatchObject({ reconcileWanted: 1, schemas: [{}, {}] });
    expect(world.checkpoint.generation).toBe(1);
  }
  expect(calls).toBeGreaterThan(10);
});

test.each(Array.from({ length: 30 }, (_, index) => index + 1))(
  'kills, breaks and restarts at random leave the log whole (seed %i)',
  async (seed) => {
    const world = new World({ seed });
    const random = seededRandom(seed * 7_919);
    const orders = world.database.createTable('public.orders');
    const lines = world.database.createTable('public.lines');
    const options = {
      leaseTtlMs: 1_500,
      checkpointIntervalMs: 200,
      watermarkIntervalMs: 300,
      idleWatermarkIntervalMs: 900,
      fingerprintIntervalMs: 2_000,
    };
    let process = world.start({ options });
    await world.clock.advance(2_500);
    let next = 0;
    const live: string[] = [];
    for (let round = 0; round < 60; round += 1) {
      for (let count = Math.floor(random() * 4); count > 0; count -= 1) {
        const victim = live[Math.floor(random() * live.length)];
        if (victim !== undefined && random() < 0.3) {
          live.splice(live.indexOf(victim), 1);
          world.database.commit([{ op: 'delete', table: orders, id: victim }, insert(lines, `line ${(next += 1)}`)]);
        } else if (victim !== undefined && random() < 0.4) {
          const id = `moved ${(next += 1)}`;
          live.splice(live.indexOf(victim), 1, id);
          world.database.commit([{ op: 'update', table: orders, id: victim, row: [id, `new ${next}`] }]);
        } else {
          const ids = Array.from({ length: 1 + Math.floor(random() * 4) }, () => `order ${(next += 1)}`);
          live.push(...ids);
          world.database.commit(ids.map((id) => insert(orders, id)));
        }
      }
      const chance = random();
      if (chance < 0.08) {
        process.kill();
        await world.clock.advance(random() * 500);
        process = world.start({ options });
      } else if (chance < 0.16) {
        process.stop();
        await world.clock.advance(10);
        process = world.start({ options });
      } else if (chance < 0.3) {
        const back = BigInt(Math.floor(random() * 200));
        world.database.restart((world.database.slot?.position ?? back) - back);
      }
      await world.clock.advance(random() * 400);
      if (process.outcome()?.error instanceof Error) throw process.outcome()?.error as Error;
    }
    await world.clock.advance(6_000);
    expect(world.readLog()).toEqual(world.sourceRows());
    const head = BigInt(world.checkpoint.position);
    for (const acknowledged of world.database.acknowledged) expect(acknowledged).toBeLessThanOrEqual(head);
  },
);
