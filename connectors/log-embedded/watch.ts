import type { Runtime } from '#core/runtime.ts';
import type { OpenFile } from '../lib/sqlite/handle.ts';
import { integerIn } from '../lib/sqlite/row.ts';

/** How long an append of another process can stay unseen. */
const POLL_MS = 200;
/** The same while this process captures: another one appends only once it has taken the lease away. */
const WRITING_POLL_MS = 1_000;
/** Made once: without a reason, each abort makes an error with its stack. */
const CLOSED = new Error('the log was closed');

/**
 * How a file stands, as one connection sees it: the number is another one once any other connection has committed
 * (https://www.sqlite.org/pragma.html#pragma_data_version).
 */
export type FileVersion = { readonly file: OpenFile; readonly number: number };

/** Inside a transaction, of what that transaction sees. */
export function versionOf(file: OpenFile): FileVersion {
  return { file, number: integerIn(file.prepare('PRAGMA data_version').get() ?? {}, 'data_version') };
}

/** What is looked at. */
type Watched = { version(signal: AbortSignal): Promise<FileVersion> };

type Waiting = { readonly seen: FileVersion; readonly wake: () => void };

/**
 * Tells the readers of one Log object that somebody else has written to its file. One look serves all of them: a look of each
 * reader for itself, at its partition, was up to an eighth of what an idle daemon cost.
 */
export class FileWatch {
  readonly #file: Watched;
  readonly #writesHere: () => boolean;
  readonly #runtime: Runtime;
  readonly #closed = new AbortController();
  readonly #waiting = new Set<Waiting>();
  #looking = false;

  constructor(input: {
    readonly file: Watched;
    /** True while this process has an open writer, whose appends readers hear of at once. */
    readonly writesHere: () => boolean;
    readonly runtime: Runtime;
  }) {
    this.#file = input.file;
    this.#writesHere = input.writesHere;
    this.#runtime = input.runtime;
  }

  /**
   * Calls `wake` once the file no longer stands as it was seen, or cannot be looked at: why, whoever reads it is told. May call
   * it more than once. Returns what ends that.
   */
  watch(seen: FileVersion, wake: () => void): () => void {
    if (this.#closed.signal.aborted) wake();
    const waiting: Waiting = { seen, wake };
    this.#waiting.add(waiting);
    this.#startLooking();
    return () => void this.#waiting.delete(waiting);
  }

  close(): void {
    this.#closed.abort(CLOSED);
    for (const { wake } of this.#waiting) wake();
  }

  #startLooking(): void {
    if (this.#looking) return;
    this.#looking = true;
    // It ends by itself when nobody waits, and with an error only when the log is closed.
    this.#look().catch(() => undefined);
  }

  async #look(): Promise<void> {
    const { signal } = this.#closed;
    // A reader that was woken waits again soon: its wait finds this still running.
    while (this.#waiting.size > 0) {
      await this.#runtime.sleep(this.#writesHere() ? WRITING_POLL_MS : POLL_MS, signal);
      const now = await this.#file.version(signal).catch(() => null);
      for (const { seen, wake } of this.#waiting) {
        if (now === null || now.file !== seen.file || now.number !== seen.number) wake();
      }
    }
    this.#looking = false;
  }
}
