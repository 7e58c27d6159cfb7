import type { RowKey } from '#core/key.ts';

export type SuspectsInput = {
  /** With more that wait, whoever adds waits. */
  readonly keysMax: number;
  readonly keysAtOnce: number;
  readonly look: (keys: readonly RowKey[], signal: AbortSignal) => Promise<void>;
};

type Entry = { readonly tag: 'keys'; readonly keys: RowKey[] } | { readonly tag: 'mark'; readonly reached: () => Promise<void> };

/**
 * Keys of one table that wait for a close look, which goes on beside the scans. A mark is reached once everything in front of it was
 * looked at: only then a place may be stored.
 */
export class Suspects {
  readonly #input: SuspectsInput;
  readonly #entries: Entry[] = [];
  #waiting = 0;
  #isEnded = false;
  #wake: (() => void)[] = [];

  constructor(input: SuspectsInput) {
    this.#input = input;
  }

  /** Waits while too many are there. */
  async add(keys: readonly RowKey[], signal: AbortSignal): Promise<void> {
    if (keys.length === 0) return;
    this.#entries.push({ tag: 'keys', keys: [...keys] });
    this.#waiting += keys.length;
    this.#moved();
    while (this.#waiting > this.#input.keysMax) await this.#move(signal);
  }

  mark(reached: () => Promise<void>): void {
    this.#entries.push({ tag: 'mark', reached });
    this.#moved();
  }

  /** No more comes. */
  end(): void {
    this.#isEnded = true;
    this.#moved();
  }

  /** Until everything is looked at and no more comes. */
  async run(signal: AbortSignal): Promise<void> {
    while (true) {
      const keys = this.#takeKeys();
      if (keys.length > 0) {
        await this.#input.look(keys, signal);
        this.#waiting -= keys.length;
        this.#moved();
        continue;
      }
      const mark = this.#entries.shift();
      if (mark?.tag === 'mark') await mark.reached();
      else if (this.#isEnded) return;
      else await this.#move(signal);
    }
  }

  /** Those up to the next mark, as many as are looked at in one go. */
  #takeKeys(): readonly RowKey[] {
    const { keysAtOnce } = this.#input;
    const taken: RowKey[] = [];
    while (taken.length < keysAtOnce) {
      const [first] = this.#entries;
      if (first?.tag !== 'keys') break;
      taken.push(...first.keys.splice(0, keysAtOnce - taken.length));
      if (first.keys.length === 0) this.#entries.shift();
    }
    return taken;
  }

  #moved(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  async #move(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<null>();
    const abort = (): void => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    this.#wake.push(() => resolve(null));
    await promise.finally(() => signal.removeEventListener('abort', abort));
  }
}
