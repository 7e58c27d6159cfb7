import { resolve } from 'node:path';
import type { Runtime } from '#core/runtime.ts';

/** Made once: without a reason, each abort makes an error with its stack. */
const WOKEN = new Error('something changed');

/** What may change: the records of a partition, or the room for more. */
export type Concern = number | 'room';

/**
 * What the Log objects of one process share about one file: readers hear of an append to their partition at once, and whoever
 * appends or commits knows which consumers hold records back.
 */
export class SharedState {
  readonly #versions = new Map<Concern, number>();
  /** Null until `retain` was called: then nothing is freed. */
  retained: readonly string[] | null = null;
  /** How many writers of this process are open. */
  writers = 0;
  readonly #waiting = new Set<{ readonly concern: Concern; readonly wake: () => void }>();

  /** Moves with each change of it that this process made. */
  version(concern: Concern): number {
    return this.#versions.get(concern) ?? 0;
  }

  changed(concerns: Iterable<Concern>): void {
    const all = new Set(concerns);
    for (const concern of all) this.#versions.set(concern, this.version(concern) + 1);
    for (const { concern, wake } of this.#waiting) if (all.has(concern)) wake();
  }

  /** Calls `wake` at each change of it. Returns what ends that. */
  listen(concern: Concern, wake: () => void): () => void {
    const waiting = { concern, wake };
    this.#waiting.add(waiting);
    return () => void this.#waiting.delete(waiting);
  }

  /** Returns as soon as the version is no longer the one given, or after `ms`. */
  async wait(
    input: { readonly concern: Concern; readonly seen: number; readonly ms: number; readonly runtime: Runtime },
    signal: AbortSignal,
  ): Promise<void> {
    const { concern, seen, ms, runtime } = input;
    signal.throwIfAborted();
    if (this.version(concern) !== seen) return;
    const woken = new AbortController();
    const ignore = this.listen(concern, () => woken.abort(WOKEN));
    try {
      await runtime.sleep(ms, AbortSignal.any([signal, woken.signal]));
    } catch (error) {
      signal.throwIfAborted();
      if (!woken.signal.aborted) throw error;
    } finally {
      ignore();
    }
  }
}

const states = new Map<string, { readonly state: SharedState; users: number }>();

/** The state of the file at `path`, until `leave` was called as often as this. */
export function join(path: string): { readonly state: SharedState; readonly leave: () => void } {
  const name = resolve(path);
  const entry = states.get(name) ?? { state: new SharedState(), users: 0 };
  entry.users += 1;
  states.set(name, entry);
  let left = false;
  return {
    state: entry.state,
    leave: () => {
      if (left) return;
      left = true;
      entry.users -= 1;
      if (entry.users === 0) states.delete(name);
    },
  };
}
