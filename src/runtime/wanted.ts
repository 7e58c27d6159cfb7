/** Whether something should run now, with a way to wait for the change. */
export class Wanted {
  #on: boolean;
  readonly #waiting = new Set<() => void>();

  constructor(on: boolean) {
    this.#on = on;
  }

  get on(): boolean {
    return this.#on;
  }

  set(on: boolean): void {
    if (on === this.#on) return;
    this.#on = on;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Resolves once it is `on` (or off), or the signal aborts. */
  async until(on: boolean, signal: AbortSignal): Promise<void> {
    while (this.#on !== on && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#waiting.add(wake);
        signal.addEventListener('abort', wake, { once: true });
      });
    }
  }
}
