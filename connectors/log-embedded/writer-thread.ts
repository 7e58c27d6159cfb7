import { Worker } from 'node:worker_threads';
import { CausewayError } from '#core/errors.ts';
import type { LogIdentity } from './layout.ts';
import type { OperationName, Operations } from './operations.ts';
import { type Answer, errorOf, type Request } from './thread-messages.ts';

/** What it needs are pages of SQLite and the messages; records stay outside of its heap. */
const LIMITS = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 1, stackSizeMb: 2 };

type Waiting = { readonly resolve: (result: never) => void; readonly reject: (error: unknown) => void };

/** A thread that writes to one log's file, one operation after the other: docs/decisions/0015-log-writer-thread.md. */
export class WriterThread {
  readonly #worker: Worker;
  readonly #path: string;
  /** In the order in which they were asked for, which is that of the answers. */
  readonly #waiting: Waiting[] = [];
  readonly #exited = Promise.withResolvers<undefined>();
  #ended = false;

  constructor(identity: LogIdentity) {
    this.#path = identity.path;
    // The same file beside this one, compiled where this one is.
    const entry = new URL(`./writer-thread-main${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);
    this.#worker = new Worker(entry, { workerData: identity, resourceLimits: LIMITS, name: 'causeway-log' });
    this.#worker.unref();
    this.#worker.on('message', (answer: Answer) => this.#answered(answer));
    this.#worker.on('error', (error) => this.#end(error));
    this.#worker.on('exit', () => {
      this.#end(null);
      this.#exited.resolve(undefined);
    });
  }

  /** True once nothing is taken any more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Rejects with what the file's own thread would have thrown. */
  perform<Name extends OperationName>(name: Name, args: Operations[Name]['args']): Promise<Operations[Name]['result']> {
    if (this.#ended) return Promise.reject(this.#gone(null));
    const request: Request = { name, args };
    this.#worker.postMessage(request);
    const { promise, resolve, reject } = Promise.withResolvers<Operations[Name]['result']>();
    // The process stays while somebody waits.
    if (this.#waiting.length === 0) this.#worker.ref();
    this.#waiting.push({ resolve, reject });
    return promise;
  }

  /** After everything that was asked for is done. */
  async close(): Promise<void> {
    if (!this.#ended) {
      this.#ended = true;
      this.#worker.ref();
      this.#worker.postMessage(null);
    }
    await this.#exited.promise;
  }

  #answered(answer: Answer): void {
    const waiting = this.#waiting.shift();
    // Whoever closes it waits for its end as well.
    if (this.#waiting.length === 0 && !this.#ended) this.#worker.unref();
    if (answer.tag === 'done') waiting?.resolve(answer.result as never);
    else waiting?.reject(errorOf(answer));
  }

  /** Nothing is known about what was on its way. */
  #end(error: unknown): void {
    this.#ended = true;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#gone(error));
  }

  #gone(cause: unknown): CausewayError {
    return new CausewayError('log_unavailable', `the thread that writes to the log ${this.#path} has ended`, { cause });
  }
}
