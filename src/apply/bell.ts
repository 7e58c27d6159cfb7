import type { Runtime } from '#core/runtime.ts';

const RUNG = new Error('the bell rang');

/** Wakes one waiter. A ring that nobody waits for is kept for the next one to wait. */
export class Bell {
  #rung = false;
  #waiter: (() => void) | null = null;

  ring(): void {
    this.#rung = true;
    this.#waiter?.();
  }

  /** Resolves at a ring, or after `ms` where that is not null. Whoever wants to be woken by a signal rings when it aborts. */
  async wait(ms: number | null, runtime: Runtime): Promise<void> {
    if (!this.#rung) {
      const cut = new AbortController();
      await new Promise<void>((resolve) => {
        this.#waiter = resolve;
        if (ms !== null) runtime.sleep(ms, cut.signal).then(resolve, () => undefined);
      });
      this.#waiter = null;
      // With a reason of its own: without one, an error with its stack is made each time.
      cut.abort(RUNG);
    }
    this.#rung = false;
  }
}
