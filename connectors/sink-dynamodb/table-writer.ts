import { present } from '#core/assert.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { RowChange, RowOutcome } from '#core/sink.ts';
import { writeTogether, type Attempt, type TableRow } from './batch.ts';
import type { Sender } from './client.ts';
import type { SinkConfig } from './config.ts';
import { Paced } from './pace.ts';

/** Of rows that go together: what is read back of them is about as large. */
const TOGETHER_CHARACTERS_MAX = 1024 * 1024;
/** The limiter lets some four hundred of them through in a second, whatever their size. */
const TOGETHER_AT_ONCE = 4;
const TOGETHER_ROWS_MIN = 100;
/** Up to here each row by a request of its own is as cheap, and one round trip less. */
export const ALONE_ROWS_MAX = 4;
/** From this share on, reading before writing pays: a read costs a tenth of a write, and a write that fails costs a whole one. */
const LOOK_SHARE = 0.05;
const PAUSE_MIN_MS = 50;
const PAUSE_MAX_MS = 5_000;
/** A table that took nothing for so long is told of, and tried again by who asked. */
const GIVE_UP_MS = 30_000;

type Placed = TableRow & { readonly at: number };
/** Of one call. `failed` ends what is still tried again; `movedAtMs` is when a row was last settled. */
type Effort = { failed: boolean; movedAtMs: number };

/** Writes rows of one table, as many at once as the service takes. */
export class TableWriter {
  readonly #client: Sender;
  readonly #config: SinkConfig;
  readonly #tableName: string;
  readonly #aloneRowsMax: number;
  readonly #onRetry: (code: ErrorCode) => void;
  readonly #pace: Paced;
  /** At the start it is not known whether what comes is there already: a replay. */
  #looksAtAll = true;

  constructor(of: {
    readonly client: Sender;
    readonly config: SinkConfig;
    readonly tableName: string;
    readonly aloneRowsMax: number;
    /** Told of each attempt that is repeated for some rows. */
    readonly onRetry: (code: ErrorCode) => void;
  }) {
    this.#client = of.client;
    this.#config = of.config;
    this.#tableName = of.tableName;
    this.#aloneRowsMax = of.aloneRowsMax;
    this.#onRetry = of.onRetry;
    this.#pace = new Paced({ rowsMax: of.config.inFlightRows });
  }

  /** Rows of distinct keys, in any order; the outcomes stand in theirs. All are tried, so that what fails one leaves no other half done. */
  async write(rows: readonly TableRow[], signal: AbortSignal): Promise<readonly RowOutcome[]> {
    const outcomes = new Array<RowOutcome | undefined>(rows.length);
    const effort: Effort = { failed: false, movedAtMs: this.#client.runtime.monotonicMs() };
    const placed = rows.map((row, at): Placed => ({ ...row, at }));
    const settled = await Promise.allSettled(this.#together(placed).map((some) => this.#settle(some, { outcomes, effort }, signal)));
    for (const one of settled) if (one.status === 'rejected') throw one.reason;
    return outcomes.map((outcome) => present(outcome, 'the outcome of a row'));
  }

  /** Waits for its turn, and counts against the table's pace. */
  run<T>(rows: number, work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return this.#pace.run(rows, work, signal);
  }

  async #settle(
    some: readonly Placed[],
    { outcomes, effort }: { readonly outcomes: (RowOutcome | undefined)[]; readonly effort: Effort },
    signal: AbortSignal,
  ): Promise<void> {
    const { runtime } = this.#client;
    let left = some;
    for (let attempt = 0; ; attempt += 1) {
      const attempts = await this.#try(left, effort, signal);
      const later: Placed[] = [];
      let code: ErrorCode = 'sink_throttled';
      for (const [place, row] of left.entries()) {
        const one = present(attempts[place], 'an attempt');
        if (one.tag === 'later') {
          later.push(row);
          ({ code } = one);
        } else {
          outcomes[row.at] = one;
        }
      }
      if (later.length < left.length) effort.movedAtMs = runtime.monotonicMs();
      if (later.length === 0) return;
      this.#onRetry(code);
      if (effort.failed || runtime.monotonicMs() - effort.movedAtMs > GIVE_UP_MS) {
        effort.failed = true;
        throw new CausewayError(code, `the table ${this.#tableName} took none of ${later.length} rows: they are tried again`);
      }
      left = later;
      await runtime.sleep(pauseMs(attempt, runtime.random()), signal);
    }
  }

  async #try(rows: readonly Placed[], effort: Effort, signal: AbortSignal): Promise<readonly Attempt[]> {
    try {
      return await this.#pace.run(rows.length, () => this.#tryNow(rows, signal), signal);
    } catch (error) {
      effort.failed = true;
      throw error;
    }
  }

  async #tryNow(rows: readonly Placed[], signal: AbortSignal): Promise<readonly Attempt[]> {
    const isFew = rows.length <= this.#aloneRowsMax;
    const of = { client: this.#client, looksAtAll: this.#looksAtAll && !isFew, statements: this.#config.writes === 'batches' && !isFew };
    const { attempts, blind } = await writeTogether(of, rows, signal);
    const throttled = attempts.filter((one) => one.tag === 'later' && one.code === 'sink_throttled').length;
    this.#pace.settled({ taken: rows.length - throttled, throttled });
    if (!isFew && blind.rows > 0) this.#looksAtAll = blind.worthLooking >= blind.rows * LOOK_SHARE;
    return attempts;
  }

  #together(rows: readonly Placed[]): readonly (readonly Placed[])[] {
    const share = Math.ceil(this.#pace.rowsMax / TOGETHER_AT_ONCE / TOGETHER_ROWS_MIN) * TOGETHER_ROWS_MIN;
    const rowsMax = Math.min(this.#pace.rowsMax, share);
    const all: Placed[][] = [];
    let characters = 0;
    for (const row of rows) {
      const size = charactersOf(row.change);
      const last = all.at(-1);
      if (last === undefined || last.length >= rowsMax || characters + size > TOGETHER_CHARACTERS_MAX) {
        all.push([row]);
        characters = size;
      } else {
        last.push(row);
        characters += size;
      }
    }
    return all;
  }
}

/** Grows with each attempt, and is spread so that rows that were refused together do not come back together. */
function pauseMs(attempt: number, random: number): number {
  return random * Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** attempt);
}

function charactersOf(change: RowChange): number {
  if (change.tag === 'delete') return 0;
  let characters = 0;
  for (const value of change.row) characters += value?.length ?? 0;
  return characters;
}
