import type { LoadRow } from '#core/load-row.ts';
import type { Runtime } from '#core/runtime.ts';
import type { SlotFacts } from '#core/source.ts';
import { budgetAfter, loadsRunning, noBudget, type Budget } from '#core/wal-budget.ts';
import type { CaptureObserver } from './observer.ts';

/** Holds loads, never the stream, while the log that the slot makes the source keep would run out before they end. */
export class LoadBudget {
  readonly #deps: { readonly runtime: Runtime; readonly observer: CaptureObserver };
  #budget: Budget = noBudget;

  constructor(deps: { readonly runtime: Runtime; readonly observer: CaptureObserver }) {
    this.#deps = deps;
  }

  get isHeld(): boolean {
    return this.#budget.held !== null;
  }

  /** The slot was looked at, while these loads are known. */
  look(slot: SlotFacts | null, loads: readonly LoadRow[]): void {
    if (slot === null) return;
    const { runtime, observer } = this.#deps;
    const { headroomBytes, retainedBytes } = slot;
    const look = { atMs: runtime.monotonicMs(), headroomBytes, retainedBytes };
    this.#budget = budgetAfter(this.#budget, look, loadsRunning(loads, runtime.wallMs()));
    observer.loadsHeld(this.#budget.held);
  }
}
