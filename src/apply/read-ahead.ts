import type { LogBatch } from '#core/log.ts';

/**
 * Reads a partition's pages while earlier ones are being applied, up to `bytesMax` ahead (and one page beyond it, as the size of a
 * page is known only once it is there). What has come in is merged into one batch by the worker; nothing is waited for.
 */
export class ReadAhead implements AsyncDisposable {
  readonly #pages: LogBatch[] = [];
  readonly #bytesMax: number;
  readonly #abort = new AbortController();
  readonly #pump: Promise<void>;
  #bytes = 0;
  #failure: { readonly error: unknown } | null = null;
  readonly #onChange: () => void;
  #onRoom: (() => void) | null = null;

  constructor(input: {
    readonly open: (signal: AbortSignal) => AsyncIterable<LogBatch>;
    readonly bytesMax: number;
    /** Called when `take` has something to give or to throw. */
    readonly onChange: () => void;
  }) {
    this.#bytesMax = input.bytesMax;
    this.#onChange = input.onChange;
    this.#pump = this.#run(input.open);
  }

  /** The next page if it is there. Throws what the reader threw, once the pages before it were taken. */
  take(): LogBatch | null {
    const page = this.#pages.shift();
    if (page === undefined) {
      if (this.#failure !== null) throw this.#failure.error;
      return null;
    }
    this.#bytes -= bytesOf(page);
    // Half empty before more is asked for, so that reader and worker do not wake each other for every page.
    if (this.#bytes <= this.#bytesMax / 2) {
      this.#onRoom?.();
      this.#onRoom = null;
    }
    return page;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    this.#onRoom?.();
    this.#onRoom = null;
    await this.#pump;
  }

  async #run(open: (signal: AbortSignal) => AsyncIterable<LogBatch>): Promise<void> {
    const signal = this.#abort.signal;
    try {
      for await (const page of open(signal)) {
        if (signal.aborted) return;
        this.#pages.push(page);
        this.#bytes += bytesOf(page);
        this.#onChange();
        if (this.#bytes > this.#bytesMax) {
          await new Promise<void>((resolve) => {
            this.#onRoom = resolve;
          });
        }
      }
    } catch (error) {
      if (!signal.aborted) this.#failure = { error };
      this.#onChange();
    }
  }
}

function bytesOf(page: LogBatch): number {
  let bytes = 0;
  for (const record of page.records) bytes += record.value.byteLength + (record.key?.length ?? 0);
  return bytes;
}
