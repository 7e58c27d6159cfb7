import type { MonoMs } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';

/** Keeps a run below so many rows a second, over the time since it began. */
export class Pace {
  readonly #runtime: Runtime;
  readonly #rowsPerSecond: number | null;
  readonly #startedAt: MonoMs;
  #rows = 0;

  constructor(runtime: Runtime, rowsPerSecond: number | null) {
    this.#runtime = runtime;
    this.#rowsPerSecond = rowsPerSecond;
    this.#startedAt = runtime.monotonicMs();
  }

  async took(rows: number, signal: AbortSignal): Promise<void> {
    if (this.#rowsPerSecond === null) return;
    this.#rows += rows;
    const dueMs = (this.#rows / this.#rowsPerSecond) * 1_000;
    const waitMs = dueMs - (this.#runtime.monotonicMs() - this.#startedAt);
    if (waitMs > 0) await this.#runtime.sleep(waitMs, signal);
  }
}
