import { sizeOf, type MemoryLogStore } from '../support/memory-log-store.ts';
import type { EventLoop } from './event-loop.ts';

/** What becomes of appends under a limit, each told once: one waits, and who made room for one. */
export type LimitStage = 'reached' | 'relieved by the sinks' | 'relieved by the operator';

/** What goes wrong with the log itself: a full disk, a limit that is reached, records that are lost. */
export class LogFaults {
  readonly #store: MemoryLogStore;
  readonly #loop: EventLoop;
  #fullUntilMs = 0;
  /** What was told of the limit as it is now. */
  readonly #told = new Set<LimitStage>();

  constructor(store: MemoryLogStore, loop: EventLoop, onLimit: (stage: LimitStage) => void) {
    this.#store = store;
    this.#loop = loop;
    store.onRoom = (stage) => {
      const relieved = store.bytesMax === null ? 'relieved by the operator' : 'relieved by the sinks';
      const told = stage === 'waits' ? 'reached' : relieved;
      if (!this.#told.has(told)) onLimit(told);
      this.#told.add(told);
    };
  }

  /** What an append has to wait for before it takes effect. */
  beforeAppend(): Promise<void> | undefined {
    if (this.#fullUntilMs <= this.#loop.nowMs) return undefined;
    return new Promise((resolve) => this.#loop.at(this.#fullUntilMs, resolve));
  }

  full(forMs: number): void {
    this.#fullUntilMs = this.#loop.nowMs + forMs;
  }

  limit(sinks: readonly string[], of: { readonly bytes: number; readonly forMs: number }): void {
    this.#told.clear();
    this.#store.bytesMax = of.bytes;
    this.#store.retained = sinks;
    this.#loop.in(of.forMs, () => {
      this.#store.bytesMax = null;
      this.#store.retained = null;
      this.#store.wakeAll();
    });
  }

  loseTail(): void {
    for (const { records } of this.#store.partitions) this.#lost(records.splice(Math.max(0, records.length - 7)));
    this.#store.wakeAll();
  }

  loseStart(): void {
    for (const partition of this.#store.partitions) {
      const lost = partition.records.splice(0, Math.max(0, partition.records.length - 1));
      partition.start += lost.length;
      this.#lost(lost);
    }
    this.#store.wakeAll();
  }

  #lost(records: readonly Parameters<typeof sizeOf>[0][]): void {
    for (const record of records) this.#store.bytes -= sizeOf(record);
  }
}
