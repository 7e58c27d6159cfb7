import type pg from 'pg';

import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';

import { connect, farewell, sqlstateOf, valueSettings, type Connection } from '../lib/postgres/connection.ts';
import { Flight, type Answer, type Parameter, type Statement } from '../lib/postgres/flight.ts';
import { sinkError } from './errors.ts';

/** Beside the settings that fix how values are printed. */
const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  ...valueSettings,
  default_transaction_isolation: 'read committed',
  default_transaction_read_only: 'off',
  // A commit that was answered is durable, whatever the server's or the role's default.
  synchronous_commit: 'on',
  // What a role's defaults set here would end long statements in the middle of a sweep.
  statement_timeout: '0',
  lock_timeout: '0',
  // A worker that vanished in the middle of a transaction would hold the fence row against its successor.
  idle_in_transaction_session_timeout: '60000',
  // The plan depends on how many rows a batch has; the one for any number assumes ten.
  plan_cache_mode: 'force_custom_plan',
  jit: 'off',
};

/** Longest that one use of a session may take before its server counts as gone. */
const USE_MAX_MS = 120_000;
/** Made once: without a reason, each abort makes an error with its stack. */
const DONE = new Error('the use has ended');
const INSUFFICIENT_PRIVILEGE = '42501';

const rawText: pg.CustomTypesConfig = { getTypeParser: () => (value: string | Buffer) => value };

export type TextRow = readonly (string | null)[];

/** What became of the work of a transaction, and what is still to be sent before its COMMIT, in the same round trip. */
export type Worked<T> = { readonly result: T; readonly last: readonly Statement[]; readonly commits: boolean };

const BEGIN: Statement = { name: 'causeway-begin', text: 'BEGIN ISOLATION LEVEL READ COMMITTED' };
const COMMIT: Statement = { name: 'causeway-commit', text: 'COMMIT' };

/** The end of a transaction that has nothing left to be sent. */
export function commit<T>(result: T): Worked<T> {
  return { result, last: [], commits: true };
}

/** One connection. Errors of its methods are those of the driver; `Sessions.use` maps them. */
export class Session {
  /** False where the role may not switch off triggers: `check` then refuses those that would fire. */
  readonly triggersOff: boolean;
  readonly #client: pg.Client;
  #usable = true;

  constructor(client: pg.Client, triggersOff: boolean) {
    this.#client = client;
    this.triggersOff = triggersOff;
    client.on('error', () => (this.#usable = false));
    client.on('end', () => (this.#usable = false));
  }

  get usable(): boolean {
    return this.#usable;
  }

  /** Several statements without parameters, in one round trip; the rows of the last that gave some, all values as text. */
  async script(text: string): Promise<{ readonly rows: readonly TextRow[]; readonly lastCommand: string }> {
    const answer = (await this.#client.query({ text, rowMode: 'array', types: rawText })) as unknown as pg.QueryArrayResult<
      (string | null)[]
    >;
    const results = Array.isArray(answer) ? (answer as pg.QueryArrayResult<(string | null)[]>[]) : [answer];
    const withRows = results.filter((result) => result.rows.length > 0);
    return { rows: withRows.at(-1)?.rows ?? [], lastCommand: results.at(-1)?.command ?? '' };
  }

  /** One statement; all values as the server prints them. With a name it is prepared once for the connection. */
  async texts(text: string, values: readonly Parameter[] = [], name?: string): Promise<readonly TextRow[]> {
    const config = { text, values: values.map(textOf), rowMode: 'array' as const, types: rawText };
    const result = await this.#client.query<(string | null)[]>(name === undefined ? config : { ...config, name });
    return result.rows;
  }

  async run({ text, values = [], name }: Statement): Promise<void> {
    await this.texts(text, values, name);
  }

  /** A text that the server takes as one statement and no more: the extended protocol refuses several. */
  async single(text: string): Promise<void> {
    // The type of the driver's configuration lacks `queryMode`, which its query reads.
    const config = { text, queryMode: 'extended' };
    await this.#client.query(config);
  }

  /**
   * A transaction: what is sent first, in one round trip behind BEGIN, and what `work` makes of its answers, of which the last part
   * goes with the COMMIT, or is rolled back. A commit that turned into a rollback throws.
   */
  async transaction<T>(first: readonly Statement[], work: (answers: readonly Answer[]) => Promise<Worked<T>> | Worked<T>): Promise<T> {
    try {
      const [, ...answers] = await this.#fly([BEGIN, ...first]);
      const { result, last, commits } = await work(answers);
      if (!commits) {
        await this.#rollback();
        return result;
      }
      const ended = await this.#fly([...last, COMMIT]);
      // The server answers COMMIT with ROLLBACK where the transaction had failed before.
      if (ended.at(-1)?.command !== 'COMMIT') throw new CausewayError('sink_unavailable', 'the server rolled the transaction back');
      return result;
    } catch (error) {
      await this.#rollback();
      throw error;
    }
  }

  async #fly(statements: readonly Statement[]): Promise<readonly Answer[]> {
    return await this.#client.query(new Flight(statements)).answered;
  }

  async #rollback(): Promise<void> {
    if (!this.#usable) return;
    try {
      await this.#client.query('ROLLBACK');
    } catch {
      this.destroy();
    }
  }

  /** Drops the connection now, whatever it is waiting for. */
  destroy(): void {
    this.#usable = false;
    (this.#client as unknown as { readonly connection: { readonly stream: { destroy(): void } } }).connection.stream.destroy();
  }

  async end(): Promise<void> {
    if (!this.#usable) return;
    this.#usable = false;
    await farewell(this.#client);
  }
}

type Waiter = { readonly wake: () => void };

/** At most `max` connections, made when needed. One that failed is not used again. */
export class Sessions implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #applicationName: string;
  readonly #max: number;
  readonly #runtime: Runtime;
  readonly #idle: Session[] = [];
  readonly #busy = new Set<Session>();
  readonly #waiting: Waiter[] = [];
  #open = 0;
  #closed = false;

  constructor(options: {
    readonly connection: Connection;
    readonly applicationName: string;
    readonly max: number;
    readonly runtime: Runtime;
  }) {
    this.#connection = options.connection;
    this.#applicationName = options.applicationName;
    this.#max = options.max;
    this.#runtime = options.runtime;
  }

  /** Errors come out as CausewayError, or as the signal's reason. An abort drops the connection. */
  async use<T>(signal: AbortSignal, work: (session: Session) => Promise<T>): Promise<T> {
    return await this.useRaw(signal, async (session) => {
      try {
        return await work(session);
      } catch (error) {
        throw sinkError(error);
      }
    });
  }

  /** As `use`, but the server's errors come out as they are, for callers that look at them. */
  async useRaw<T>(signal: AbortSignal, work: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.#acquire(signal);
    const deadline = new AbortController();
    const late = { is: false };
    const drop = (): void => session.destroy();
    signal.addEventListener('abort', drop, { once: true });
    const timer = this.#runtime.sleep(USE_MAX_MS, deadline.signal).then(
      () => {
        late.is = true;
        session.destroy();
      },
      () => undefined,
    );
    try {
      signal.throwIfAborted();
      return await work(session);
    } catch (error) {
      signal.throwIfAborted();
      if (late.is) throw new CausewayError('sink_unavailable', `no answer within ${USE_MAX_MS} ms`);
      throw error;
    } finally {
      signal.removeEventListener('abort', drop);
      deadline.abort(DONE);
      await timer;
      this.#release(session);
    }
  }

  /** What comes gets new connections: what those at hand have prepared can name types that were dropped and made again. */
  renew(): void {
    for (const session of this.#idle) session.destroy();
  }

  async #acquire(signal: AbortSignal): Promise<Session> {
    signal.throwIfAborted();
    while (this.#idle.length === 0 && this.#open >= this.#max) await this.#wait(signal);
    if (this.#closed) throw new CausewayError('sink_unavailable', 'the sink was closed');
    let session = this.#idle.pop();
    if (session !== undefined && !session.usable) {
      this.#open -= 1;
      session = undefined;
    }
    if (session === undefined) {
      this.#open += 1;
      try {
        session = await this.#connect(signal);
      } catch (error) {
        this.#open -= 1;
        this.#waiting.shift()?.wake();
        throw error;
      }
    }
    this.#busy.add(session);
    return session;
  }

  async #wait(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        wake: () => {
          signal.removeEventListener('abort', aborted);
          resolve();
        },
      };
      const aborted = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', aborted, { once: true });
      this.#waiting.push(waiter);
    });
  }

  #release(session: Session): void {
    this.#busy.delete(session);
    if (session.usable && !this.#closed) this.#idle.push(session);
    else {
      this.#open -= 1;
      session.destroy();
    }
    this.#waiting.shift()?.wake();
  }

  async #connect(signal: AbortSignal): Promise<Session> {
    const options = { applicationName: this.#applicationName, settings: SESSION_SETTINGS, role: 'sink' } as const;
    const client = await connect(this.#connection, options, signal);
    return new Session(client, await triggersSwitchedOff(client));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const session of this.#busy) session.destroy();
    await Promise.all(this.#idle.splice(0).map((session) => session.end()));
    for (const waiter of this.#waiting.splice(0)) waiter.wake();
  }
}

function textOf(parameter: Parameter): string | null {
  return typeof parameter === 'string' || parameter === null ? parameter : parameter.bytes.toString('utf8');
}

/** Not by the startup packet: a role without the right could not connect at all. */
async function triggersSwitchedOff(client: pg.Client): Promise<boolean> {
  try {
    await client.query('SET session_replication_role = replica');
    return true;
  } catch (error) {
    if (sqlstateOf(error) === INSUFFICIENT_PRIVILEGE) return false;
    throw sinkError(error);
  }
}
