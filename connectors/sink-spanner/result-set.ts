import { CausewayError } from '#core/errors.ts';
import { joined, sizeOf, type Received } from './wire.ts';

/** Values in the order of the columns that were asked for. */
export type ReadRow = readonly Received[];

/** google.spanner.v1.PartialResultSet, as far as it is used: a message of a read, whose values go on where those of the last one ended. */
export type PartialResultSet = {
  readonly metadata?: {
    readonly rowType?: { readonly fields?: readonly unknown[] | null } | null;
    readonly transaction?: { readonly id?: Uint8Array | string | null } | null;
  } | null;
  readonly values?: readonly Received[] | null;
  readonly chunkedValue?: boolean | null;
};

/** Puts the messages of a read together. */
export class Collector {
  readonly #values: Received[] = [];
  readonly #bytesMax: number;
  /** Of a row. */
  #width: number | null;
  #bytes = 0;
  /** The last value goes on in the next message. */
  #isChunked = false;

  /** Without a width the first message tells it. */
  constructor(width: number | null, bytesMax: number) {
    this.#width = width;
    this.#bytesMax = bytesMax;
  }

  /** True once it has enough; what comes behind is not taken. */
  add({ metadata, values, chunkedValue }: PartialResultSet): boolean {
    if (this.isCut) return true;
    this.#width ??= metadata?.rowType?.fields?.length ?? null;
    const [first, ...rest] = values ?? [];
    if (first === undefined) return false;
    const last = this.#isChunked ? this.#values.pop() : undefined;
    this.#values.push(last === undefined ? first : joined(last, first), ...rest);
    this.#isChunked = chunkedValue === true;
    this.#bytes += (values ?? []).reduce((sum, one) => sum + sizeOf(one), 0);
    return this.isCut;
  }

  /** It has as many bytes as were asked for, and a whole row: a row can be larger than that. */
  get isCut(): boolean {
    return this.#bytes >= this.#bytesMax && this.#whole() > 0;
  }

  /** Errors: `sink_unavailable` where a read that was not cut ends inside of a row. */
  rows(): readonly ReadRow[] {
    const [width, whole] = [this.#width ?? 1, this.#whole()];
    if (!this.isCut && (this.#isChunked || whole * width !== this.#values.length)) {
      throw new CausewayError('sink_unavailable', 'a read of the service ended inside of a row');
    }
    return Array.from({ length: whole }, (_, at) => this.#values.slice(at * width, (at + 1) * width));
  }

  #whole(): number {
    return Math.floor((this.#values.length - (this.#isChunked ? 1 : 0)) / (this.#width ?? 1));
  }
}
