import type { RowsRead } from '#core/row-reader.ts';

export type ChunkLimits = {
  /** What a chunk shall take, from its low watermark to its place in the log. */
  readonly targetMs: number;
  readonly rowsFirst: number;
  readonly rowsMax: number;
  readonly bytesMax: number;
  /** Changes in a chunk's window that are remembered. */
  readonly hotMax: number;
};

/** A chunk grows no faster than this from one to the next. */
const GROWTH_MAX = 2;

/** Too many changes in so many windows one after the other: then the stream waits for the read. */
const HOT_BEFORE_HOLD = 6;

/** How large the next chunk of a table is: as many rows as took the wanted time lately, fewer where too much changed meanwhile. */
export class ChunkSize {
  readonly #limits: ChunkLimits;
  #rows: number;
  #hot = 0;

  constructor(limits: ChunkLimits) {
    this.#limits = limits;
    this.#rows = Math.min(limits.rowsFirst, limits.rowsMax);
  }

  next(): { readonly rowsMax: number; readonly bytesMax: number; readonly hotMax: number; readonly holdsStream: boolean } {
    const { bytesMax, hotMax } = this.#limits;
    return { rowsMax: this.#rows, bytesMax, hotMax, holdsStream: this.#hot >= HOT_BEFORE_HOLD };
  }

  /** One was placed. */
  took({ rows, bytes }: RowsRead, tookMs: number): void {
    this.#hot = 0;
    const { targetMs, bytesMax, rowsMax } = this.#limits;
    const byTime = this.#rows * (targetMs / Math.max(tookMs, 1));
    const byBytes = rows.length === 0 ? rowsMax : rows.length * (bytesMax / Math.max(bytes, 1));
    const wanted = Math.min(byTime, byBytes, this.#rows * GROWTH_MAX, rowsMax);
    this.#rows = Math.max(1, Math.floor(wanted));
  }

  tooHot(): void {
    this.#hot += 1;
    this.tooLarge();
  }

  tooLarge(): void {
    this.#rows = Math.max(1, Math.floor(this.#rows / 2));
  }
}
