import type { Runtime } from '#core/runtime.ts';
import { SqliteFile } from '../lib/sqlite/file.ts';
import type { OpenFile } from '../lib/sqlite/handle.ts';
import { type LogIdentity, logFileKind } from './layout.ts';
import { type OperationName, type Operations, perform } from './operations.ts';
import { type FileVersion, versionOf } from './watch.ts';
import { WriterThread } from './writer-thread.ts';

/**
 * The log's file: read here, and written here or, once `writeInThread` was called, in a thread of its own. Then all writes of
 * this process go there, so that none of them waits for a lock which that thread holds while it syncs.
 */
export class LogFile {
  readonly #file: SqliteFile;
  readonly #identity: LogIdentity;
  #thread: WriterThread | null = null;
  #closed = false;

  constructor(input: LogIdentity & { readonly runtime: Runtime }) {
    const { path, pipeline, partitions, runtime } = input;
    this.#identity = { path, pipeline, partitions };
    this.#file = new SqliteFile({ path, kind: logFileKind(this.#identity), runtime });
  }

  get path(): string {
    return this.#identity.path;
  }

  exists(): boolean {
    return this.#file.exists();
  }

  /** Opens it, which looks whether it is the right file. `create` makes one that is not there. */
  open(options: { readonly create: boolean }, signal: AbortSignal): Promise<void> {
    return this.#file.use(options, () => undefined, signal);
  }

  read<T>(work: (file: OpenFile) => T, signal: AbortSignal): Promise<T> {
    return this.#file.read(work, signal);
  }

  version(signal: AbortSignal): Promise<FileVersion> {
    return this.#file.use({ create: false }, versionOf, signal);
  }

  write<Name extends OperationName>(name: Name, args: Operations[Name]['args'], signal: AbortSignal): Promise<Operations[Name]['result']> {
    if (this.#thread !== null) return this.#file.patiently(() => this.#living().perform(name, args), signal);
    return this.#file.writeWith((handle) => perform(handle, name, args), signal);
  }

  writeInThread(): void {
    this.#living();
  }

  /** Closes it until the next use. */
  release(): void {
    this.#file.release();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#thread?.close();
    this.#file.close();
  }

  /** Another one in place of a thread that failed: sinks write too, and perhaps nobody captures any more. */
  #living(): WriterThread {
    if (this.#thread === null || (this.#thread.ended && !this.#closed)) this.#thread = new WriterThread(this.#identity);
    return this.#thread;
  }
}
