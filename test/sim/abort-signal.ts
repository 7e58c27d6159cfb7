// AbortController and AbortSignal as the platform defines them (DOM standard, section 3.2), as far as the product uses them. Node's own
// keep a signal made by `any` alive for as long as it has a listener and is not aborted: a process that died in the simulator aborts
// nothing, so each run would leave its whole world behind. They are a tenth of a run's time, too. Where several signals made by
// `any` depend on one, they are told in the order in which they were made, as the standard says.

type Listener = (() => void) | { handleEvent: () => void };

/** The reason of an abort without one. Made once: its stack tells nothing here. */
const NO_REASON = new DOMException('This operation was aborted', 'AbortError');

class SimulatedSignal {
  aborted = false;
  reason: unknown = undefined;
  /** In the order in which they were added. */
  #listeners: Listener[] = [];
  /** Signals that depend on this one, which itself depends on none. */
  readonly #dependents: SimulatedSignal[] = [];
  /** What this one depends on; none of these depends on another. */
  #sources: readonly SimulatedSignal[] = [];

  static any(signals: Iterable<SimulatedSignal>): SimulatedSignal {
    const made = new SimulatedSignal();
    const sources = new Set<SimulatedSignal>();
    for (const signal of signals) {
      if (signal.aborted) {
        made.#mark(signal.reason);
        return made;
      }
      if (signal.#sources.length === 0) sources.add(signal);
      else for (const source of signal.#sources) sources.add(source);
    }
    made.#sources = [...sources];
    for (const source of sources) source.#dependents.push(made);
    return made;
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  addEventListener(_type: 'abort', listener: Listener): void {
    if (!this.aborted && !this.#listeners.includes(listener)) this.#listeners.push(listener);
  }

  removeEventListener(_type: 'abort', listener: Listener): void {
    const at = this.#listeners.indexOf(listener);
    if (at >= 0) this.#listeners.splice(at, 1);
  }

  /** All that depend on it are aborted before anybody is told. */
  abort(reason: unknown): void {
    if (this.aborted) return;
    this.#mark(reason === undefined ? NO_REASON : reason);
    const dependents = this.#dependents.filter((dependent) => !dependent.aborted);
    for (const dependent of dependents) dependent.#mark(this.reason);
    this.#tell();
    for (const dependent of dependents) dependent.#tell();
    this.#dependents.length = 0;
  }

  #mark(reason: unknown): void {
    this.aborted = true;
    this.reason = reason;
    this.#sources = [];
  }

  /** One that is removed by another before its turn is not called. */
  #tell(): void {
    while (true) {
      const listener = this.#listeners.shift();
      if (listener === undefined) return;
      if (typeof listener === 'function') listener();
      else listener.handleEvent();
    }
  }
}

class SimulatedController {
  readonly signal = new SimulatedSignal();

  abort(reason?: unknown): void {
    this.signal.abort(reason);
  }
}

/** From now on everything in this thread is made of these. */
globalThis.AbortController = SimulatedController as unknown as typeof AbortController;
globalThis.AbortSignal = SimulatedSignal as unknown as typeof AbortSignal;
