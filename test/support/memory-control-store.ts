import { CausewayError } from '#core/errors.ts';
import type { ControlKey, ControlRow, ControlStore, RowVersion, Swap } from '#core/control.ts';

/** What survives when a store is closed and opened again, and what two processes share. */
export type MemoryControlRows = {
  readonly rows: Map<ControlKey, { readonly text: string; readonly version: RowVersion }>;
  versions: number;
  /** While set, every call fails with it. */
  failure: CausewayError | null;
};

export function memoryControlRows(): MemoryControlRows {
  return { rows: new Map(), versions: 0, failure: null };
}

/** A ControlStore without a disk. Values go through JSON, as in every real one. */
export class MemoryControlStore implements ControlStore {
  readonly #state: MemoryControlRows;
  #closed = false;

  constructor(state: MemoryControlRows = memoryControlRows()) {
    this.#state = state;
  }

  async get(key: ControlKey, signal: AbortSignal): Promise<ControlRow | null> {
    await this.#enter(signal);
    return this.#row(key);
  }

  async swap(
    write: { readonly key: ControlKey; readonly value: unknown; readonly expected: RowVersion | null },
    signal: AbortSignal,
  ): Promise<Swap> {
    const text = JSON.stringify(write.value);
    await this.#enter(signal);
    if ((this.#state.rows.get(write.key)?.version ?? null) !== write.expected) return { tag: 'conflict', current: this.#row(write.key) };
    this.#state.versions += 1;
    const version = String(this.#state.versions) as RowVersion;
    this.#state.rows.set(write.key, { text, version });
    return { tag: 'stored', version };
  }

  async remove(key: ControlKey, expected: RowVersion, signal: AbortSignal): Promise<Swap | { readonly tag: 'removed' }> {
    await this.#enter(signal);
    if (this.#state.rows.get(key)?.version !== expected) return { tag: 'conflict', current: this.#row(key) };
    this.#state.rows.delete(key);
    return { tag: 'removed' };
  }

  async list(prefix: string, signal: AbortSignal): Promise<readonly ControlRow[]> {
    await this.#enter(signal);
    const keys = [...this.#state.rows.keys()].filter((key) => key.startsWith(prefix)).sort();
    return keys.flatMap((key) => this.#row(key) ?? []);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  /** A turn of the event loop passes first, so that callers meet in every order that they would meet in elsewhere. */
  async #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await Promise.resolve();
    signal.throwIfAborted();
    if (this.#state.failure !== null) throw this.#state.failure;
    if (this.#closed) throw new CausewayError('control_unavailable', 'the control store is closed');
  }

  #row(key: ControlKey): ControlRow | null {
    const found = this.#state.rows.get(key);
    return found === undefined ? null : { key, value: JSON.parse(found.text) as unknown, version: found.version };
  }
}
