/** What happens at a virtual time. `fire` must not throw. */
type Event = { readonly atMs: number; readonly order: number; readonly fire: () => void };

/** Now and then the machine's own event loop gets a turn, so that what it collects does not pile up. */
const EVENTS_PER_TURN = 20_000;

/**
 * The only clock of a simulated world. Events happen in the order of their time, and in the order of their making where that is
 * equal; between two of them every promise that can go on has gone on. Nothing here waits for real time.
 */
export class EventLoop {
  #nowMs = 0;
  #order = 0;
  #fired = 0;
  readonly #heap: Event[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events that have happened. */
  get fired(): number {
    return this.#fired;
  }

  in(ms: number, fire: () => void): void {
    this.at(this.#nowMs + Math.max(0, ms), fire);
  }

  at(atMs: number, fire: () => void): void {
    this.#order += 1;
    this.#push({ atMs: Math.max(atMs, this.#nowMs), order: this.#order, fire });
  }

  /**
   * Lets events happen until `done`, which is asked between two of them, or until none is left. Throws what an event throws.
   *
   * A callback of `process.nextTick` that is asked for by a microtask runs once no microtask is left: that is what tells,
   * without a turn of the machine's event loop, that everything has come to rest.
   */
  run(done: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const step = (): void => {
        try {
          const next = done() ? undefined : this.#pop();
          if (next === undefined) {
            resolve();
            return;
          }
          this.#nowMs = next.atMs;
          this.#fired += 1;
          next.fire();
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
          return;
        }
        if (this.#fired % EVENTS_PER_TURN === 0) setImmediate(step);
        else queueMicrotask(() => process.nextTick(step));
      };
      queueMicrotask(() => process.nextTick(step));
    });
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Event;
      if (!isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    while (true) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child += 1;
      const below = heap[child] as Event;
      if (!isBefore(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
