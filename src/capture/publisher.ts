import type { EncodedRecord, LogWriter } from '#core/log.ts';
import type { Runtime } from '#core/runtime.ts';
import type { Appended } from './own-records.ts';

export type Durable = Appended & {
  /** Since the generation began. */
  readonly records: number;
  readonly batch: { readonly records: number; readonly bytes: number; readonly durationMs: number };
};

/**
 * An append that is no larger than this is not followed by a wait: a stream that keeps up loses no time. Behind a larger one
 * more is to be expected, and is gathered for a short while, because the log takes large appends much more cheaply: the
 * embedded one 50,000 records a second in appends of 250, 240,000 in appends of 4,000.
 */
const FLOW_BYTES = 32 * 1024;
const GATHER_BYTES = 1024 * 1024;
const GATHER_MS = 10;

/**
 * Hands records to the log in order, with one append on its way at a time: what comes meanwhile is gathered and goes with
 * the next one. After an error nothing more is taken: what the log holds is then not known.
 */
export class Publisher {
  readonly #writer: LogWriter;
  readonly #runtime: Runtime;
  readonly #signal: AbortSignal;
  readonly #bytesMax: number;
  readonly #counters: () => readonly number[];
  readonly #confirm: (appended: Appended) => Promise<void> | null;
  readonly #onDurable: (durable: Durable) => void;
  readonly #onFailure: (error: unknown) => void;
  #pending: EncodedRecord[] = [];
  #pendingBytes = 0;
  #durableRecords = 0;
  #busy = false;
  #sinceMs: number | null = null;
  #failure: { readonly error: unknown } | null = null;
  #waiters: (() => void)[] = [];
  /** Of the last append. */
  #last = { bytes: 0, endedMs: 0 };
  /** Ends a wait for more. */
  #gathering: AbortController | null = null;
  /** How many wait until everything is durable: then nothing waits for more. */
  #draining = 0;

  constructor(input: {
    readonly writer: LogWriter;
    readonly runtime: Runtime;
    readonly bytesMax: number;
    /** The partitions' counters as of everything that was pushed. */
    readonly counters: () => readonly number[];
    /** Asked before an append counts as durable; null where there is nothing to wait for. */
    readonly confirm: (appended: Appended) => Promise<void> | null;
    readonly onDurable: (durable: Durable) => void;
    /** Called once. */
    readonly onFailure: (error: unknown) => void;
    readonly signal: AbortSignal;
  }) {
    this.#writer = input.writer;
    this.#runtime = input.runtime;
    this.#bytesMax = input.bytesMax;
    this.#counters = input.counters;
    this.#confirm = input.confirm;
    this.#onDurable = input.onDurable;
    this.#onFailure = input.onFailure;
    this.#signal = input.signal;
    this.#signal.addEventListener('abort', () => this.#wake(), { once: true });
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** How long the append on its way has taken; null while there is none. */
  get inFlightMs(): number | null {
    return this.#sinceMs === null ? null : this.#runtime.monotonicMs() - this.#sinceMs;
  }

  /** Takes the array itself, at once. `room` bounds what waits: call it before the next push. */
  push(records: EncodedRecord[], bytes: number): void {
    this.#throwIfFailed();
    if (records.length === 0) return;
    if (this.#pending.length === 0) this.#pending = records;
    else for (const record of records) this.#pending.push(record);
    this.#pendingBytes += bytes;
    if (this.#pendingBytes >= this.#gatherBytes) this.#gathering?.abort();
    if (!this.#busy) this.#start();
  }

  /** Resolves once less than half of what may wait is waiting. */
  async room(): Promise<void> {
    if (this.#pendingBytes < this.#bytesMax) {
      this.#throwIfFailed();
      return;
    }
    await this.#until(() => this.#pendingBytes < this.#bytesMax / 2);
  }

  /** Resolves once everything that was pushed is durable. */
  async drained(): Promise<void> {
    this.#draining += 1;
    this.#gathering?.abort();
    try {
      await this.#until(() => !this.#busy);
    } finally {
      this.#draining -= 1;
    }
  }

  /** Resolves once no append is on its way, however the last one ended. */
  async ended(): Promise<void> {
    while (this.#busy) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  async #until(done: () => boolean): Promise<void> {
    this.#throwIfFailed();
    while (!done()) {
      this.#signal.throwIfAborted();
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
      this.#throwIfFailed();
    }
  }

  #start(): void {
    this.#busy = true;
    this.#run().catch((error: unknown) => {
      this.#failure = { error };
      this.#busy = false;
      this.#sinceMs = null;
      this.#wake();
      this.#onFailure(error);
    });
  }

  async #run(): Promise<void> {
    while (this.#pending.length > 0) {
      if (this.#isMoreWorth()) await this.#gather();
      const records = this.#pending;
      const bytes = this.#pendingBytes;
      // Records are pushed in the turn in which they are counted, so these are the counters at the end of this append.
      const counters = this.#counters();
      this.#pending = [];
      this.#pendingBytes = 0;
      this.#wake();
      const startedMs = this.#runtime.monotonicMs();
      this.#sinceMs = startedMs;
      const offsets = await this.#writer.append(records, this.#signal);
      this.#last = { bytes, endedMs: this.#runtime.monotonicMs() };
      const confirmed = this.#confirm({ offsets, counters });
      if (confirmed !== null) await confirmed;
      this.#sinceMs = null;
      this.#durableRecords += records.length;
      const durationMs = this.#last.endedMs - startedMs;
      this.#onDurable({ records: this.#durableRecords, offsets, counters, batch: { records: records.length, bytes, durationMs } });
    }
    this.#busy = false;
    this.#wake();
  }

  /** Never so much that `room` would wait for it. */
  get #gatherBytes(): number {
    return Math.min(GATHER_BYTES, this.#bytesMax / 2);
  }

  #isMoreWorth(): boolean {
    const { bytes, endedMs } = this.#last;
    if (bytes < FLOW_BYTES || this.#runtime.monotonicMs() - endedMs >= GATHER_MS) return false;
    return this.#draining === 0 && this.#pendingBytes < this.#gatherBytes;
  }

  async #gather(): Promise<void> {
    const enough = new AbortController();
    this.#gathering = enough;
    await this.#runtime.sleep(GATHER_MS, AbortSignal.any([enough.signal, this.#signal])).catch(() => undefined);
    this.#gathering = null;
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  #throwIfFailed(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }
}
