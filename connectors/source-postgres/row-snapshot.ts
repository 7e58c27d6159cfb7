import { CausewayError } from '#core/errors.ts';
import type { RowSnapshot } from '#core/row-reader.ts';

/**
 * What `pg_current_snapshot()` tells ("PostgreSQL documentation, 9.27.12"): every transaction below `xmin` is over; none from `xmax` on is
 * seen; between them those in `running` are not. A commit leaves `running` only after its record was written and, where the server waits
 * for a standby, after that has answered: the stream can be ahead.
 */
export class PostgresSnapshot implements RowSnapshot {
  readonly #xmin: bigint;
  readonly #xmax: bigint;
  readonly #running: ReadonlySet<bigint>;

  private constructor(of: { readonly xmin: bigint; readonly xmax: bigint; readonly running: ReadonlySet<bigint> }) {
    this.#xmin = of.xmin;
    this.#xmax = of.xmax;
    this.#running = of.running;
  }

  /** `xmin:xmax:xid,…`, each with 64 bits. Errors: `source_misconfigured` for another text. */
  static parse(text: string): PostgresSnapshot {
    const match = /^(\d+):(\d+):((?:\d+(?:,\d+)*)?)$/.exec(text);
    if (match === null) throw new CausewayError('source_misconfigured', 'the server told a snapshot that cannot be read');
    const [, xmin = '', xmax = '', list = ''] = match;
    return new PostgresSnapshot({
      xmin: BigInt(xmin),
      xmax: BigInt(xmax),
      running: new Set(list === '' ? [] : list.split(',').map(BigInt)),
    });
  }

  /** The stream names transactions by the lower 32 bits alone; the one meant is the one that is nearest. */
  shows(transactionId: string): boolean {
    const xid = widened(BigInt(transactionId), this.#xmax);
    if (xid < this.#xmin) return true;
    return xid < this.#xmax && !this.#running.has(xid);
  }

  showsAllBefore(earlier: RowSnapshot): boolean {
    if (!(earlier instanceof PostgresSnapshot)) throw new Error('snapshots of two sources are compared');
    return this.#xmin >= earlier.#xmax;
  }
}

const CYCLE = 1n << 32n;

function widened(low: bigint, near: bigint): bigint {
  const same = near - (near % CYCLE) + low;
  if (same > near + CYCLE / 2n && same >= CYCLE) return same - CYCLE;
  return same < near - CYCLE / 2n ? same + CYCLE : same;
}
