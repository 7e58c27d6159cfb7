import { stat } from 'node:fs/promises';
import { backoffMs } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import { type FileKind, type OpenFile, SqliteHandle, type WriteOptions } from './handle.ts';
import { isBusy } from './result-code.ts';

const BUSY_MAX_MS = 5_000;
const TURN_MS = 5;

/** A SQLite file whose lock is waited for without blocking the event loop. */
export class SqliteFile {
  readonly #handle: SqliteHandle;
  readonly #runtime: Runtime;
  /** Spent in writes since the event loop was let turn. */
  #writingMs = 0;

  constructor(input: { readonly path: string; readonly kind: FileKind; readonly runtime: Runtime }) {
    this.#handle = new SqliteHandle(input.path, input.kind);
    this.#runtime = input.runtime;
  }

  get path(): string {
    return this.#handle.path;
  }

  /** Runs `work`, again while another process holds the lock. `create` makes a file that is not there. */
  use<T>(options: { readonly create: boolean }, work: (file: OpenFile) => T, signal: AbortSignal): Promise<T> {
    return this.patiently(() => work(this.#handle.opened(options.create)), signal);
  }

  /** Like `use`, in one read transaction. */
  read<T>(work: (file: OpenFile) => T, signal: AbortSignal): Promise<T> {
    return this.patiently(() => this.#handle.read(work), signal);
  }

  /** Like `use`, in one write transaction. */
  write<T>(options: WriteOptions, work: (file: OpenFile) => T, signal: AbortSignal): Promise<T> {
    return this.writeWith((handle) => handle.write(options, work), signal);
  }

  async writeWith<T>(write: (handle: SqliteHandle) => T, signal: AbortSignal): Promise<T> {
    const result = await this.patiently(() => this.#timed(write), signal);
    await this.#letOthersRun();
    return result;
  }

  #timed<T>(write: (handle: SqliteHandle) => T): T {
    const startedMs = this.#runtime.monotonicMs();
    try {
      return write(this.#handle);
    } finally {
      this.#writingMs += this.#runtime.monotonicMs() - startedMs;
    }
  }

  /** Acts, on this thread or another, again while somebody else holds the file's lock. Maps what SQLite threw. */
  async patiently<T>(act: () => T | Promise<T>, signal: AbortSignal): Promise<T> {
    const deadlineMs = this.#runtime.monotonicMs() + BUSY_MAX_MS;
    for (let attempt = 0; ; attempt += 1) {
      signal.throwIfAborted();
      try {
        return await act();
      } catch (error) {
        if (!isBusy(error) || this.#runtime.monotonicMs() >= deadlineMs) throw this.#handle.mapped(error);
      }
      await this.#runtime.sleep(backoffMs({ attempt, firstMs: 5, maxMs: 100, random: this.#runtime.random() }), signal);
    }
  }

  exists(): boolean {
    return this.#handle.exists();
  }

  close(): void {
    this.#handle.close();
  }

  /** Closes it until the next use. */
  release(): void {
    this.#handle.release();
  }

  /** SQLite works synchronously: who writes in a loop would never let the event loop turn. Any real input or output does. */
  async #letOthersRun(): Promise<void> {
    if (this.#writingMs < TURN_MS) return;
    await stat(this.path).catch(() => null);
    this.#writingMs = 0;
  }
}
