import { present } from '#core/assert.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { RowChange, RowOutcome } from '#core/sink.ts';
import type { Item } from '../lib/dynamodb/send.ts';
import { writeTogether, type Attempt, type TableRow } from './batch.ts';
import type { Sender } from './client.ts';
import type { SinkConfig } from './config.ts';
import { Paced } from './pace.ts';
import type { Shape } from './shape.ts';
import { allEnded, pauseMs, unlessThrottled, untilTaken } from '../lib/sink/throttled.ts';
import { bury } from './write.ts';

/** Of rows that go together, sent or read back. */
const TOGETHER_CHARACTERS_MAX = 4 * 1024 * 1024;
/** The limiter lets some four hundred of them through in a second, whatever their size. */
const TOGETHER_AT_ONCE = 4;
const TOGETHER_ROWS_MIN = 100;
/** Up to here each row by a request of its own is as cheap, and one round trip less. */
export const ALONE_ROWS_MAX = 4;
/** From this share on, reading before writing pays: a read costs a tenth of a write, and a write that fails costs a whole one. */
const LOOK_SHARE = 0.05;
const READ_CHARACTERS_START = 4 * 1024;
const READ_FORGET = 0.9;
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
  /** Of an item that is read, as far as is known: the largest mean of late. */
  #readCharacters = READ_CHARACTERS_START;
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
    await allEnded(this.#together(placed).map((some) => this.#settle(some, { outcomes, effort, attempt: 0 }, signal)));
    return outcomes.map((outcome) => present(outcome, 'the outcome of a row'));
  }

  /** Puts a tombstone in the place of an older item of ours; false where there is none. Tried again for as long as it is throttled. */
  async bury(shape: Shape, tombstone: Item, signal: AbortSignal): Promise<boolean> {
    return await untilTaken({ runtime: this.#client.runtime, onRetry: this.#onRetry }, signal, () =>
      this.#pace.run(
        { rows: 1, characters: 0 },
        async () => {
          const buried = await unlessThrottled(bury(this.#client, shape, tombstone, signal));
          this.#pace.settled(buried === null ? { taken: 0, throttled: 1 } : { taken: 1, throttled: 0 });
          return buried;
        },
        signal,
      ),
    );
  }

  /** What is throttled goes on in pieces as the pace is then. */
  async #settle(
    some: readonly Placed[],
    of: { readonly outcomes: (RowOutcome | undefined)[]; readonly effort: Effort; readonly attempt: number },
    signal: AbortSignal,
  ): Promise<void> {
    const { outcomes, effort, attempt } = of;
    const { runtime } = this.#client;
    const attempts = await this.#try(some, effort, signal);
    const later: Placed[] = [];
    let code: ErrorCode = 'sink_throttled';
    for (const [place, row] of some.entries()) {
      const one = present(attempts[place], 'an attempt');
      if (one.tag === 'later') {
        later.push(row);
        ({ code } = one);
      } else {
        outcomes[row.at] = one;
      }
    }
    if (later.length < some.length) effort.movedAtMs = runtime.monotonicMs();
    if (later.length === 0) return;
    this.#onRetry(code);
    if (effort.failed || runtime.monotonicMs() - effort.movedAtMs > GIVE_UP_MS) {
      effort.failed = true;
      throw new CausewayError(code, `the table ${this.#tableName} took none of ${later.length} rows: they are tried again`);
    }
    await runtime.sleep(pauseMs(attempt, runtime.random()), signal);
    await allEnded(this.#together(later).map((piece) => this.#settle(piece, { outcomes, effort, attempt: attempt + 1 }, signal)));
  }

  async #try(rows: readonly Placed[], effort: Effort, signal: AbortSignal): Promise<readonly Attempt[]> {
    try {
      const characters = rows.reduce((sum, row) => sum + this.#charactersOf(row), 0);
      return await this.#pace.run({ rows: rows.length, characters }, () => this.#tryNow(rows, signal), signal);
    } catch (error) {
      effort.failed = true;
      throw error;
    }
  }

  async #tryNow(rows: readonly Placed[], signal: AbortSignal): Promise<readonly Attempt[]> {
    const statements = this.#config.writes === 'batches' && rows.length > this.#aloneRowsMax;
    const { attempts, blind, read } = await writeTogether({ client: this.#client, looksAtAll: this.#looksAtAll, statements }, rows, signal);
    const ofWrites = attempts.filter((one) => one.tag !== 'later' || one.isRead !== true);
    const throttled = ofWrites.filter((one) => one.tag === 'later' && one.code === 'sink_throttled').length;
    this.#pace.settled({ taken: ofWrites.length - throttled, throttled });
    if (blind.rows > 0) this.#looksAtAll = blind.worthLooking >= blind.rows * LOOK_SHARE;
    if (read.items > 0) this.#readCharacters = Math.max(read.characters / read.items, this.#readCharacters * READ_FORGET);
    return attempts;
  }

  #together(rows: readonly Placed[]): readonly (readonly Placed[])[] {
    const share = Math.ceil(this.#pace.rowsMax / TOGETHER_AT_ONCE / TOGETHER_ROWS_MIN) * TOGETHER_ROWS_MIN;
    const rowsMax = Math.min(this.#pace.rowsMax, share);
    const all: Placed[][] = [];
    let characters = 0;
    for (const row of rows) {
      const size = this.#charactersOf(row);
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

  /** Sent or read back, whichever is more. */
  #charactersOf({ change }: TableRow): number {
    return Math.max(charactersOf(change), this.#readCharacters);
  }
}

function charactersOf(change: RowChange): number {
  if (change.tag === 'delete') return 0;
  let characters = 0;
  for (const value of change.row) characters += value?.length ?? 0;
  return characters;
}
