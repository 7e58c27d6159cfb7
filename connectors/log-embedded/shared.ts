import { resolve } from 'node:path';
import type { Runtime } from '#core/runtime.ts';

/** How long an append of another process can stay unseen. */
const POLL_MS = 200;

/**
 * What the Log objects of one process share about one file: readers hear of an append at once, and whoever appends or commits
 * knows which consumers hold records back.
 */
export class SharedState {
  #version = 0;
  /** Null until `retain` was called: then nothing is freed. */
  retained: readonly string[] | null = null;
  readonly #waiting = new Set<() => void>();

  /** Moves with each change that this process made. */
  get version(): number {
    return this.#version;
  }

  changed(): void {
    this.#version += 1;
    for (const wake of this.#waiting) wake();
  }

  /** Returns as soon as `version` is no longer the one given, or after `ms`. */
  async wait(input: { readonly seen: number; readonly ms?: number; readonly runtime: Runtime }, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#version !== input.seen) return;
    const woken = new AbortController();
    const wake = (): void => woken.abort();
    this.#waiting.add(wake);
    try {
      await input.runtime.sleep(input.ms ?? POLL_MS, AbortSignal.any([signal, woken.signal]));
    } catch (error) {
      signal.throwIfAborted();
      if (!woken.signal.aborted) throw error;
    } finally {
      this.#waiting.delete(wake);
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
