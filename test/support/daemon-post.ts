// A place at which a daemon always runs, as an orchestrator sees to it: one that ends by itself is started again.
import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon, watermarksIn, type DaemonOptions, type Sample } from './daemon.ts';

const lookEveryMs = 100;
const startsAgainAfterMs = 500;
const linesKeptMax = 6_000;

export class DaemonPost implements AsyncDisposable {
  /** Codes with which daemons ended by themselves, in order. */
  readonly ends: string[] = [];
  readonly #options: DaemonOptions;
  readonly #watching = new AbortController();
  readonly #watched: Promise<void>;
  #daemon: Daemon | null = null;
  #earlier: readonly string[] = [];

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.start();
    this.#watched = this.#watch();
  }

  /** The lines of all daemons that ran here, the last ones. */
  get log(): readonly string[] {
    return [...this.#earlier, ...(this.#daemon?.log ?? [])].slice(-linesKeptMax);
  }

  start(): void {
    this.#daemon ??= Daemon.start(this.#options);
  }

  /** Nobody runs here then until `start`, unless one had just ended by itself. Returns whether there was one. */
  async kill(): Promise<boolean> {
    const killed = this.#daemon;
    if (killed === null) return false;
    this.#leave(killed);
    await killed.kill();
    return true;
  }

  /** Returns whether there was one. */
  freeze(): boolean {
    this.#daemon?.freeze();
    return this.#daemon !== null;
  }

  thaw(): void {
    this.#daemon?.thaw();
  }

  /** Watermarks are in seconds since 1970 on the source's clock, of each sink for which this daemon tells one. */
  async look(): Promise<{ readonly watermarks: ReadonlyMap<string, number>; readonly captures: boolean }> {
    const samples = (await this.#daemon?.samples()) ?? new Map<string, readonly Sample[]>();
    const streaming = samples.get('causeway_pipeline_state')?.find(({ labels }) => labels.includes('state="streaming"'));
    return { watermarks: watermarksIn(samples), captures: streaming?.value === 1 };
  }

  #startAgain(): void {
    if (!this.#watching.signal.aborted) this.start();
  }

  #leave(daemon: Daemon): void {
    this.#earlier = [...this.#earlier, ...daemon.log].slice(-linesKeptMax);
    this.#daemon = null;
  }

  async #watch(): Promise<void> {
    const { signal } = this.#watching;
    while (!signal.aborted) {
      const daemon = this.#daemon;
      if (daemon !== null && daemon.exit !== null) {
        this.ends.push(endOf(daemon));
        this.#leave(daemon);
        setTimeout(() => this.#startAgain(), startsAgainAfterMs);
      }
      await sleep(lookEveryMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watching.abort();
    await this.#watched;
    await this.kill();
  }
}

/** The code that its last words name, or how it ended without any. */
function endOf({ log, exit }: Daemon): string {
  const last = log.findLast((line) => line.includes('"the process ends'));
  const code = last === undefined ? undefined : /"code":"(\w+)"/.exec(last)?.[1];
  return code ?? `exit ${exit?.code ?? exit?.signal ?? ''}`;
}
