import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { FencingToken } from '#core/position.ts';
import type { RowChange, RowOutcome, SinkPartition, SinkProgress } from '#core/sink.ts';

import { refusalOf, sinkError, type Refusal } from './errors.ts';
import { AllNewer } from './all-newer.ts';
import type { Statement } from '../lib/postgres/flight.ts';
import { advanced, checkHeld } from '../lib/sink/held.ts';
import { OneAtATime } from '../lib/sink/one-at-a-time.ts';
import { lockStatement, parseHeld, stepStatement, type ProgressOwner } from './progress.ts';
import type { Session, Sessions, TextRow } from './session.ts';
import type { Shapes } from './shapes.ts';
import { writeRows } from './write.ts';

type Batch = { readonly rows: readonly RowChange[]; readonly progress: SinkProgress | null };

/** What a transaction leaves in the partition's row, and the statement for it; none where it leaves the row alone. */
type Step = { readonly last: readonly Statement[]; readonly progress: SinkProgress | null; readonly writes: number };

const APPLIED: RowOutcome = { tag: 'applied' };

/**
 * The statements of a batch whose rows are all newer look nothing up but by conflict, so that one plan does for any number of rows:
 * made anew for each batch it took the server more time than a small batch itself (docs/performance.md).
 */
const KEEP_PLANS: Statement = { name: 'causeway-keep-plans', text: 'SET LOCAL plan_cache_mode = force_generic_plan' };

/** A partition under its fence token. Each call is one transaction on whichever connection is free. */
export class PostgresPartition implements SinkPartition {
  readonly partition: number;
  readonly token: FencingToken;
  readonly start: SinkProgress | null;
  readonly #owner: ProgressOwner;
  readonly #claimant: string;
  readonly #sessions: Sessions;
  readonly #shapes: Shapes;
  readonly #calls = new OneAtATime();
  /** The furthest progress that this holder has seen committed. */
  #seen: SinkProgress | null;
  /** Transactions with rows that it has seen committed, its predecessors' too. */
  #writes: number;
  /** A log that is read again has rows in batch after batch that the sink holds already. */
  #staleExpected = false;

  constructor(options: {
    readonly partition: number;
    readonly token: FencingToken;
    readonly start: SinkProgress | null;
    readonly writes: number;
    readonly owner: ProgressOwner;
    readonly claimant: string;
    readonly sessions: Sessions;
    readonly shapes: Shapes;
  }) {
    this.partition = options.partition;
    this.token = options.token;
    this.start = options.start;
    this.#seen = options.start;
    this.#writes = options.writes;
    this.#owner = options.owner;
    this.#claimant = options.claimant;
    this.#sessions = options.sessions;
    this.#shapes = options.shapes;
  }

  async apply(
    batch: { readonly rows: readonly RowChange[]; readonly progress: SinkProgress | null },
    signal: AbortSignal,
  ): Promise<readonly RowOutcome[]> {
    return await this.#calls.run(async () => {
      const outcomes = await this.#applyWhole(batch.rows, batch.progress, signal);
      if (!('ofValue' in outcomes)) return outcomes;
      // Before a row is refused for ever: the table may have another type by now than the one that was read.
      this.#shapes.forget();
      const cut = await this.#applyCut(batch.rows, outcomes, signal);
      // What was true before the batch is still true behind its parts.
      if (batch.progress !== null) await this.#applyWhole([], batch.progress, signal);
      return cut;
    });
  }

  async save(progress: SinkProgress, signal: AbortSignal): Promise<SinkProgress> {
    return await this.#calls.run(async () => {
      await this.#applyWhole([], progress, signal);
      return present(this.#seen, 'progress that was stored');
    });
  }

  /** One transaction. A refusal of rows is returned, everything else thrown. */
  async #applyWhole(rows: readonly RowChange[], progress: SinkProgress | null, signal: AbortSignal): Promise<RowOutcome[] | Refusal> {
    try {
      return await this.#sessions.useRaw(signal, (session) => this.#transact(session, { progress, rows }));
    } catch (error) {
      if (signal.aborted) throw error;
      const refusal = refusalOf(error);
      if (refusal !== null && rows.length > 0) return refusal;
      const mapped = sinkError(error);
      if (mapped.code === 'sink_misconfigured') {
        // The next call looks at the tables again: somebody may have mended them by then.
        this.#shapes.forget();
        this.#sessions.renew();
      }
      throw mapped;
    }
  }

  async #transact(session: Session, batch: Batch): Promise<RowOutcome[]> {
    if (!this.#staleExpected) {
      const written = await this.#transactAllNewer(session, batch);
      if (written) return batch.rows.map(() => APPLIED);
    }
    const { result, step } = await session.transaction([this.#lock()], async ([locked]) => {
      const decided = this.#decide(locked?.rows[0], batch);
      const done = await this.#write(session, batch.rows);
      return { result: { result: done, step: decided }, last: decided.last, commits: true };
    });
    this.#staleExpected = result.some(({ tag }) => tag === 'stale');
    this.#note(step);
    return result;
  }

  /** False, with nothing changed, where the batch is not one that can be written so, or not all of its rows were newer. */
  async #transactAllNewer(session: Session, batch: Batch): Promise<boolean> {
    const newer = AllNewer.of(batch.rows, (schema) => this.#shapes.known(schema));
    if (newer === null) return false;
    const first = [KEEP_PLANS, this.#lock(), ...newer.advances()];
    const step = await session.transaction<Step | null>(first, ([, locked, ...advanced]) => {
      const decided = this.#decide(locked?.rows[0], batch);
      if (!newer.isConfirmedBy(advanced)) return { result: null, last: [], commits: false };
      return { result: decided, last: [...newer.writes(), ...decided.last], commits: true };
    });
    if (step === null) return false;
    this.#note(step);
    return true;
  }

  #lock(): Statement {
    return lockStatement(this.#owner, this.#claimant, this.partition);
  }

  /** What the transaction stores, from the partition's row as it is locked now. Throws where this holder may not go on. */
  #decide(row: TextRow | undefined, { progress, rows }: Batch): Step {
    const held = row === undefined ? null : parseHeld(row);
    const before = checkHeld(held, { token: this.token, seen: this.#seen, writes: this.#writes });
    const after = advanced(before.progress, progress);
    const moved = after === before.progress ? null : after;
    const writes = before.writes + (rows.length > 0 ? 1 : 0);
    const statement = stepStatement(this.#owner, this.partition, { progress: moved, writes: rows.length > 0 ? writes : null });
    return { last: statement === null ? [] : [statement], progress: after, writes };
  }

  #note(step: Step): void {
    this.#seen = step.progress;
    this.#writes = step.writes;
  }

  async #write(session: Session, rows: readonly RowChange[]): Promise<RowOutcome[]> {
    return rows.length === 0 ? [] : await writeRows(session, rows, (schema) => this.#shapes.writer(session, schema));
  }

  /** Halves the rows until those that are refused stand alone. */
  async #applyCut(rows: readonly RowChange[], refusal: Refusal, signal: AbortSignal): Promise<RowOutcome[]> {
    if (rows.length === 1) return [await this.#refused(present(rows[0], 'a row'), refusal, signal)];
    const middle = Math.ceil(rows.length / 2);
    const outcomes: RowOutcome[] = [];
    for (const half of [rows.slice(0, middle), rows.slice(middle)]) {
      const found = await this.#applyWhole(half, null, signal);
      outcomes.push(...('ofValue' in found ? await this.#applyCut(half, found, signal) : found));
    }
    return outcomes;
  }

  /** A refused row that would not have taken effect anyway is stale. */
  async #refused(change: RowChange, refusal: Refusal, signal: AbortSignal): Promise<RowOutcome> {
    if (!refusal.ofValue) {
      throw new CausewayError(
        'sink_misconfigured',
        `a trigger, rule or default of ${change.schema.table} fails for a single row (SQLSTATE 21000)`,
      );
    }
    const stored = await this.#sessions.use(signal, (session) => this.#shapes.storedSequence(session, change));
    if (stored !== null && stored >= change.sequence) return { tag: 'stale' };
    return { tag: 'rejected', code: 'value_refused', reason: refusal.reason };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
