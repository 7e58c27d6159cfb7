import type pg from 'pg';
import { openClient, postgresError, type Connection, type OpenClient, type SessionOptions } from './connection.ts';

/** One connection for statements that come again and again, made when it is first needed and anew after any failure. */
export class KeptClient implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #options: SessionOptions;
  readonly #prepare: (client: pg.Client) => Promise<void>;
  #open: OpenClient | null = null;
  #last: Promise<unknown> = Promise.resolve();

  /** `prepare` runs on each new connection, before anything else. */
  constructor(connection: Connection, options: SessionOptions, prepare: (client: pg.Client) => Promise<void>) {
    this.#connection = connection;
    this.#options = options;
    this.#prepare = prepare;
  }

  /** Calls wait for each other. The signal ends the connection. Errors of the driver and the server become CausewayErrors. */
  use<T>(signal: AbortSignal, work: (client: pg.Client) => Promise<T>): Promise<T> {
    const result = this.#last.then(() => this.#run(signal, work));
    this.#last = result.catch(() => undefined);
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    await this.#drop();
  }

  async #run<T>(signal: AbortSignal, work: (client: pg.Client) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#open?.isUsable() === false) await this.#drop();
    const fresh = this.#open === null;
    const open = (this.#open ??= await openClient(this.#connection, this.#options, signal));
    const abort = (): void => open.destroy();
    signal.addEventListener('abort', abort, { once: true });
    try {
      signal.throwIfAborted();
      if (fresh) await this.#prepare(open.client);
      return await work(open.client);
    } catch (error) {
      await this.#drop();
      signal.throwIfAborted();
      throw postgresError(error, this.#options.role);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  async #drop(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    await open?.close();
  }
}
