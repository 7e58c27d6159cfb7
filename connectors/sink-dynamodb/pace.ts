import Bottleneck from 'bottleneck';
import { orAborted } from '../lib/time/or-aborted.ts';

/** Rows in flight at the start: what a table that was just made takes. */
const START_ROWS = 50;
/** Of the rows of a round: above the first, the service cannot keep up; at or below the second, it can take more. */
const CUT_SHARE = 0.25;
const GROW_SHARE = 0.05;
/** On their way at once, sent or read: memory is bounded whatever the size of a row. */
const CHARACTERS_MAX = 16 * 1024 * 1024;
/** Shares of one limiter: rows weigh by how many of them are let through at once. */
const SHARES = 10_000;

/** How many rows a table is sent at once. */
export type Pace = {
  readonly rowsMax: number;
  /** Doubles at each round until the first cut. */
  readonly isStarting: boolean;
};

export function startPace(rowsMax: number): Pace {
  return { rowsMax: Math.min(START_ROWS, rowsMax), isStarting: true };
}

/**
 * The pace after a round, which is as many rows as were let through at once. A few throttled rows among many are hot keys, whose
 * table has room: they alone wait.
 */
export function nextPace(
  pace: Pace,
  round: { readonly taken: number; readonly throttled: number },
  limits: { readonly rowsMax: number },
): Pace {
  const share = round.throttled / Math.max(1, round.taken + round.throttled);
  if (share > CUT_SHARE) return { rowsMax: Math.max(1, Math.floor(pace.rowsMax / 2)), isStarting: false };
  if (share > GROW_SHARE) return { ...pace, isStarting: false };
  const grown = pace.isStarting ? pace.rowsMax * 2 : pace.rowsMax + Math.max(1, Math.floor(pace.rowsMax / 10));
  return { ...pace, rowsMax: Math.min(limits.rowsMax, grown) };
}

/** Lets rows of one table through, at the pace that the service takes. Weighted by the rows of a request. */
export class Paced {
  readonly #limits: { readonly rowsMax: number };
  // The weights are shares, and not rows: a waiting request that weighed more than a limit that fell would wait for ever.
  readonly #limiter = new Bottleneck({ maxConcurrent: SHARES });
  #pace: Pace;
  #round = { taken: 0, throttled: 0 };

  constructor(limits: { readonly rowsMax: number }) {
    this.#limits = limits;
    this.#pace = startPace(limits.rowsMax);
  }

  /** Most rows of one request. */
  get rowsMax(): number {
    return this.#pace.rowsMax;
  }

  /** Ends at once where the signal aborts, also what has not been sent yet. `characters` are those that are sent or come back. */
  async run<T>(of: { readonly rows: number; readonly characters: number }, work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const share = Math.max(of.rows / this.#pace.rowsMax, of.characters / CHARACTERS_MAX);
    const weight = Math.min(SHARES, Math.max(1, Math.ceil(share * SHARES)));
    return await orAborted(signal, () =>
      this.#limiter.schedule({ weight }, async () => {
        signal.throwIfAborted();
        return await work();
      }),
    );
  }

  settled({ taken, throttled }: { readonly taken: number; readonly throttled: number }): void {
    this.#round = { taken: this.#round.taken + taken, throttled: this.#round.throttled + throttled };
    if (this.#round.taken + this.#round.throttled < this.#pace.rowsMax) return;
    this.#pace = nextPace(this.#pace, this.#round, this.#limits);
    this.#round = { taken: 0, throttled: 0 };
  }
}
