import { expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import { keepRunning, type StopSignals } from '../../src/runtime/policy.ts';
import { supervise, type StopRequests, type Unit } from '../../src/runtime/supervisor.ts';
import { runUnit } from '../../src/runtime/unit.ts';
import { Wanted } from '../../src/runtime/wanted.ts';
import { keepingLogger, silentLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';

/** Requests that a test makes. */
class Requests implements StopRequests {
  readonly #waiting: ((name: string) => void)[] = [];

  make(name: string): void {
    this.#waiting.shift()?.(name);
  }

  next(signal: AbortSignal): Promise<string> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      signal.addEventListener('abort', () => this.#waiting.splice(this.#waiting.indexOf(resolve), 1), { once: true });
    });
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })));
}

function bench(): {
  readonly clock: VirtualClock;
  readonly requests: Requests;
  readonly events: string[];
  readonly start: (units: readonly Unit[]) => { readonly code: Promise<number>; readonly ended: () => number | null };
} {
  const clock = new VirtualClock();
  const requests = new Requests();
  const events: string[] = [];
  return {
    clock,
    requests,
    events,
    start: (units) => {
      const state: { code: number | null } = { code: null };
      const code = supervise(units, {
        runtime: clock.runtime,
        logger: silentLogger,
        requests,
        graceMs: 25_000,
        onStopping: () => events.push('stopping'),
      }).then((result) => {
        state.code = result;
        return result;
      });
      return { code, ended: () => state.code };
    },
  };
}

/** A unit that takes `finishMs` to finish once it is asked to, and notes what it was told. */
function unit(name: string, { clock, events }: ReturnType<typeof bench>, finishMs: number): Unit {
  return {
    name,
    run: async ({ stop, kill }) => {
      aborted(kill).then(
        () => events.push(`${name} killed at ${clock.nowMs}`),
        () => undefined,
      );
      await aborted(stop);
      events.push(`${name} stops at ${clock.nowMs}`);
      try {
        await clock.runtime.sleep(finishMs, kill);
        events.push(`${name} finished at ${clock.nowMs}`);
      } catch {
        // Killed: it ends at once.
      }
    },
  };
}

test('the first request stops the units, which get the time to finish', async () => {
  const on = bench();
  const { ended } = on.start([unit('a', on, 3_000), unit('b', on, 1_000)]);
  await on.clock.advance(500);
  on.requests.make('SIGTERM');
  await on.clock.advance(10_000);
  expect(on.events).toEqual(['stopping', 'a stops at 500', 'b stops at 500', 'b finished at 1500', 'a finished at 3500']);
  expect(ended()).toBe(0);
});

test('when the grace is over what is left is killed', async () => {
  const on = bench();
  const { ended } = on.start([unit('a', on, 60_000)]);
  await on.clock.advance(0);
  on.requests.make('SIGTERM');
  await on.clock.advance(24_999);
  expect(ended()).toBeNull();
  await on.clock.advance(1);
  expect(on.events).toContain('a killed at 25000');
  expect(ended()).toBe(1);
});

test('a second request kills at once', async () => {
  const on = bench();
  const { ended } = on.start([unit('a', on, 60_000)]);
  await on.clock.advance(0);
  on.requests.make('SIGINT');
  await on.clock.advance(100);
  on.requests.make('SIGINT');
  await on.clock.advance(0);
  expect(on.events).toContain('a killed at 100');
  expect(ended()).toBe(1);
});

test('a unit that does not even end when it is killed does not keep the process', async () => {
  const on = bench();
  const { ended } = on.start([{ name: 'stuck', run: () => new Promise<never>(() => undefined) }]);
  await on.clock.advance(0);
  on.requests.make('SIGTERM');
  await on.clock.advance(25_000);
  expect(ended()).toBeNull();
  await on.clock.advance(2_000);
  expect(ended()).toBe(1);
});

test('a fatal unit ends the process with its code, after at most five seconds for the others', async () => {
  const on = bench();
  const fatal: Unit = {
    name: 'fatal',
    run: async () => {
      await on.clock.runtime.sleep(1_000, new AbortController().signal);
      throw new CausewayError('lease_lost', 'taken');
    },
  };
  const { ended } = on.start([fatal, unit('other', on, 60_000)]);
  await on.clock.advance(5_999);
  expect(on.events).toEqual(['stopping', 'other stops at 1000']);
  expect(ended()).toBeNull();
  await on.clock.advance(1);
  expect(on.events).toContain('other killed at 6000');
  expect(ended()).toBe(6);
});

test('a request while a fatal unit ends the process kills at once', async () => {
  const on = bench();
  const { ended } = on.start([
    { name: 'fatal', run: () => Promise.reject(new CausewayError('fenced', 'newer')) },
    unit('other', on, 60_000),
  ]);
  await on.clock.advance(10);
  on.requests.make('SIGTERM');
  await on.clock.advance(0);
  expect(ended()).toBe(6);
});

function kept(loop: (signals: StopSignals, run: number) => Promise<void>): {
  readonly clock: VirtualClock;
  readonly starts: number[];
  readonly troubles: string[];
  readonly stop: AbortController;
  readonly kill: AbortController;
  readonly done: Promise<void>;
  readonly lines: () => readonly string[];
} {
  const clock = new VirtualClock();
  const starts: number[] = [];
  const troubles: string[] = [];
  const stop = new AbortController();
  const kill = new AbortController();
  const logger = keepingLogger();
  const done = keepRunning(
    (signals) => {
      starts.push(clock.nowMs);
      return loop(signals, starts.length);
    },
    { runtime: clock.runtime, logger, onTrouble: (error) => troubles.push((error as CausewayError).code) },
    { stop: stop.signal, kill: kill.signal },
  );
  done.catch(() => undefined);
  return { clock, starts, troubles, stop, kill, done, lines: () => logger.lines.map(({ message }) => message) };
}

test('what passes by itself is tried again with a growing delay', async () => {
  const { clock, starts, troubles } = kept(() => Promise.reject(new CausewayError('source_unavailable', 'down')));
  await clock.advance(60_000);
  const delays = starts.slice(1).map((at, index) => at - (starts[index] ?? 0));
  expect(delays[0]).toBeGreaterThanOrEqual(250);
  expect(delays[0]).toBeLessThanOrEqual(500);
  expect(delays.at(-1)).toBeGreaterThan(2_000);
  expect(Math.max(...delays)).toBeLessThanOrEqual(5_000);
  expect(new Set(troubles)).toEqual(new Set(['source_unavailable']));
});

test('what needs a person is shown, said once, and looked at every ten seconds', async () => {
  const { clock, starts, troubles, lines } = kept(() => Promise.reject(new CausewayError('source_slot_lost', 'gone')));
  await clock.advance(25_000);
  expect(starts).toEqual([0, 10_000, 20_000]);
  expect(troubles).toHaveLength(3);
  expect(lines()).toEqual(['waiting to try again']);
});

test('what is fatal is thrown, and so is a defect without a code', async () => {
  const lost = kept(() => Promise.reject(new CausewayError('fenced', 'newer')));
  await expect(lost.done).rejects.toMatchObject({ code: 'fenced' });
  const defect = kept(() => Promise.reject(new TypeError('a defect')));
  await expect(defect.done).rejects.toThrow('a defect');
});

test('a loop that ends by itself without being told to is a defect', async () => {
  const { done } = kept(() => Promise.resolve());
  await expect(done).rejects.toThrow('a loop ends only when it is told to');
});

test('a stop while waiting to try again ends at once', async () => {
  const { clock, stop, done, starts } = kept(() => Promise.reject(new CausewayError('source_slot_lost', 'gone')));
  await clock.advance(1_000);
  stop.abort();
  await done;
  expect(starts).toEqual([0]);
});

test('a loop that ran for long begins with a short delay again', async () => {
  const { clock, starts } = kept(async (signals, run) => {
    if (run === 8) await clock.runtime.sleep(120_000, signals.stop);
    throw new CausewayError('source_unavailable', 'down');
  });
  await clock.advance(400_000);
  const again = (starts[8] ?? 0) - (starts[7] ?? 0) - 120_000;
  expect(again).toBeLessThanOrEqual(500);
});

test('a unit runs while it is wanted, is stopped gently when it is not, and starts again', async () => {
  const clock = new VirtualClock();
  const wanted = new Wanted(false);
  const events: string[] = [];
  const stop = new AbortController();
  const done = runUnit(
    async (signals) => {
      events.push(`runs at ${clock.nowMs}`);
      await aborted(signals.stop);
      events.push(signals.kill.aborted ? 'killed' : `stopped at ${clock.nowMs}`);
    },
    { runtime: clock.runtime, logger: silentLogger, wanted, onRunning: () => undefined, onTrouble: () => undefined },
    { stop: stop.signal, kill: new AbortController().signal },
  );
  await clock.advance(100);
  expect(events).toEqual([]);
  wanted.set(true);
  await clock.advance(100);
  wanted.set(false);
  await clock.advance(100);
  wanted.set(true);
  await clock.advance(100);
  stop.abort();
  await done;
  expect(events).toEqual(['runs at 100', 'stopped at 200', 'runs at 300', 'stopped at 400']);
});
