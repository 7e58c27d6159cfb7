import type { MonoMs } from '#core/position.ts';
import type { Client } from './client.ts';
import { isSessionLost } from './errors.ts';

/** The service forgets a session after an hour without a request ("Sessions", cloud.google.com/spanner/docs/sessions). */
const IDLE_MS_MAX = 30 * 60 * 1_000;
const DELETE_MS = 5_000;

type Session = { readonly name: string; usedMs: MonoMs };

/** Sessions of the database, made as they are needed and no more than `max`: each holds one transaction at a time. */
export class Sessions implements AsyncDisposable {
  readonly #client: Client;
  readonly #max: number;
  readonly #free: Session[] = [];
  /** All that were made and are not deleted yet. */
  readonly #names = new Set<string>();
  /** What is waited for before the client is closed. */
  readonly #pending = new Set<Promise<void>>();
  readonly #waiting: (() => void)[] = [];
  #inUse = 0;

  constructor({ client, max }: { readonly client: Client; readonly max: number }) {
    this.#client = client;
    this.#max = max;
  }

  /** A session that `work` fails with is not used again, because of what may still go on in it. */
  async use<T>(signal: AbortSignal, work: (session: string) => Promise<T>): Promise<T> {
    while (this.#inUse >= this.#max) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#inUse += 1;
    try {
      // In here: one that gives up wakes the next, which would wait for ever otherwise.
      signal.throwIfAborted();
      const session = this.#takeFree() ?? (await this.#create(signal));
      try {
        const result = await work(session.name);
        session.usedMs = this.#client.runtime.monotonicMs();
        this.#free.push(session);
        return result;
      } catch (error) {
        if (isSessionLost(error)) this.#names.delete(session.name);
        else this.#delete(session.name);
        throw error;
      }
    } finally {
      this.#inUse -= 1;
      this.#waiting.shift()?.();
    }
  }

  /** Deletes all of them: those that are left count against the service's limits for an hour. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#free.length = 0;
    for (const name of this.#names) this.#delete(name);
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  #takeFree(): Session | null {
    const session = this.#free.pop() ?? null;
    if (session === null || this.#client.runtime.monotonicMs() - session.usedMs < IDLE_MS_MAX) return session;
    this.#delete(session.name);
    return this.#takeFree();
  }

  async #create(signal: AbortSignal): Promise<Session> {
    const { database, runtime } = this.#client;
    const made = await this.#client.send(`the database ${database}`, signal, ({ data }, options) => {
      const creating = data.createSession({ database }, options).then(([{ name }]) => {
        this.#names.add(name ?? '');
        // Nobody waits for it any more.
        if (signal.aborted) this.#delete(name ?? '');
        return name ?? '';
      });
      this.#keep(creating);
      return creating;
    });
    return { name: made, usedMs: runtime.monotonicMs() };
  }

  /** Behind everything else. What cannot be deleted now the service forgets by itself. */
  #delete(name: string): void {
    if (!this.#names.delete(name)) return;
    const never = new AbortController().signal;
    this.#keep(this.#client.sendRaw(never, ({ data }, options) => data.deleteSession({ name }, { ...options, timeout: DELETE_MS })));
  }

  #keep(work: Promise<unknown>): void {
    const ended = work
      .then(
        () => undefined,
        () => undefined,
      )
      .finally(() => this.#pending.delete(ended));
    this.#pending.add(ended);
  }
}
