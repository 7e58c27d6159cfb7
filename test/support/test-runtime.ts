import type { MonoMs, WallMs } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';

/** Numbers in [0, 1) that a seed repeats (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The machine's own clock, with chance from a seed. */
export function realRuntime(seed = 1): Runtime {
  return {
    wallMs: () => Date.now() as WallMs,
    monotonicMs: () => performance.now() as MonoMs,
    sleep: (ms, signal) =>
      abortable(signal, (wake) => {
        const timer = setTimeout(wake, ms);
        return () => clearTimeout(timer);
      }),
    random: seededRandom(seed),
  };
}

type Sleeper = { readonly dueMs: number; readonly order: number; readonly wake: () => void };

/**
 * A clock that a test moves by hand. Nothing happens by itself: `advance` wakes those whose time has come, in order, and
 * lets everything that they start run dry before the next one.
 */
export class VirtualClock {
  readonly runtime: Runtime;
  #nowMs = 0;
  #order = 0;
  readonly #sleepers = new Set<Sleeper>();

  constructor(seed = 1, wallAtStartMs = Date.UTC(2026, 0, 1)) {
    this.runtime = {
      wallMs: () => (wallAtStartMs + this.#nowMs) as WallMs,
      monotonicMs: () => this.#nowMs as MonoMs,
      sleep: (ms, signal) => abortable(signal, (wake) => this.#add(ms, wake)),
      random: seededRandom(seed),
    };
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** How many are asleep. */
  get sleeping(): number {
    return this.#sleepers.size;
  }

  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await settle();
    for (let next = this.#next(untilMs); next !== null; next = this.#next(untilMs)) {
      this.#wake(next);
      await settle();
    }
    this.#nowMs = untilMs;
  }

  /** Moves the clock from sleeper to sleeper until `work` settles. Throws if it waits for longer than `maxMs` or for nothing. */
  async runUntil<T>(work: Promise<T>, maxMs = 3_600_000): Promise<T> {
    const progress: { done: boolean } = { done: false };
    const finished = work.finally(() => {
      progress.done = true;
    });
    finished.catch(() => undefined);
    const untilMs = this.#nowMs + maxMs;
    let idleRounds = 0;
    while (true) {
      await settle();
      if (progress.done) return finished;
      const next = this.#next(untilMs);
      if (next !== null) this.#wake(next);
      idleRounds = next === null ? idleRounds + 1 : 0;
      if (idleRounds > 1_000) throw new Error(`nothing left to wake before ${untilMs} ms, and the work is not done`);
    }
  }

  #add(ms: number, wake: () => void): () => void {
    const sleeper = { dueMs: this.#nowMs + Math.max(0, ms), order: (this.#order += 1), wake };
    this.#sleepers.add(sleeper);
    return () => this.#sleepers.delete(sleeper);
  }

  #next(untilMs: number): Sleeper | null {
    let next: Sleeper | null = null;
    for (const sleeper of this.#sleepers) {
      if (sleeper.dueMs > untilMs) continue;
      if (next === null || sleeper.dueMs < next.dueMs || (sleeper.dueMs === next.dueMs && sleeper.order < next.order)) next = sleeper;
    }
    return next;
  }

  #wake(sleeper: Sleeper): void {
    this.#sleepers.delete(sleeper);
    this.#nowMs = Math.max(this.#nowMs, sleeper.dueMs);
    sleeper.wake();
  }
}

/** Lets promises and callbacks that are ready run, in-process input and output included. */
export async function settle(rounds = 3): Promise<void> {
  for (let round = 0; round < rounds; round += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** A promise that `start` resolves through `wake`, or that rejects with the signal's reason; what `start` returns undoes it. */
function abortable(signal: AbortSignal, start: (wake: () => void) => () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const aborted = (): void => {
      undo();
      reject(signal.reason as Error);
    };
    const undo = start(() => {
      signal.removeEventListener('abort', aborted);
      resolve();
    });
    signal.addEventListener('abort', aborted, { once: true });
  });
}
