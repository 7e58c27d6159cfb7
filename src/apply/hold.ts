import { assert, brokenInvariantIn, unreachable } from '#core/assert.ts';
import { CausewayError, codeOf } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { DeadLetter, PartitionAssignment, StoredRecord } from '#core/log.ts';
import type { EpochMicros, Offset } from '#core/position.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { RowChange, RowOutcome, SinkPartition, SinkProgress } from '#core/sink.ts';
import type { Bell } from './bell.ts';
import type { FoldedChange } from './coalesce.ts';
import type { SinkContext } from './context.ts';
import { counterStateOf } from './counter.ts';
import type { ParkedKeys } from './dead-letter.ts';
import type { ApplyResult } from './observer.ts';
import { Parking } from './parking.ts';
import { ProgressKeeper } from './progress.ts';
import { ReadAhead } from './read-ahead.ts';
import type { DeadLetterAnswer, DeadLetterTask } from './requests.ts';
import { passesByItself, rideOut } from './ride-out.ts';
import type { Ride } from './ride-out.ts';
import { Standing } from './standing.ts';
import { Tallies } from './tallies.ts';
import { Window } from './window.ts';
import type { Alone } from './window.ts';

export type HoldInput = {
  readonly context: SinkContext;
  readonly assignment: PartitionAssignment;
  readonly held: SinkPartition;
  readonly start: SinkProgress;
  readonly parked: ParkedKeys;
  readonly bell: Bell;
  /** Aborts when the worker shall finish what is in hand. */
  readonly leave: AbortSignal;
  /** Aborts what waits, at once. */
  readonly kill: AbortSignal;
  readonly onState: (state: 'running' | 'retrying' | 'blocked') => void;
};

/**
 * One life of a partition under one fence token: reads, folds, applies, stores progress. One batch is at the sink at a time, so a
 * key never has two writes in flight; meanwhile the log is read ahead.
 */
export class PartitionHold {
  inFlightRows = 0;
  readonly #input: HoldInput;
  readonly #standing: Standing;
  readonly #window: Window;
  readonly #progress: ProgressKeeper;
  readonly #parking: Parking;
  readonly #met = new Map<TableId, TableSchema>();
  readonly #tallies = new Tallies();
  #ahead: ReadAhead;

  constructor(input: HoldInput) {
    const { context, assignment, start, held, parked, kill } = input;
    const { startGeneration } = context.row;
    this.#input = input;
    this.#standing = new Standing(held.partition, start, counterStateOf({ pair: start.pair, holder: start.holder, startGeneration }));
    this.#window = new Window({
      codec: context.deps.codec,
      schemas: context.schemas,
      sinkName: context.deps.sinkName,
      tally: (op, result) => this.#tallies.add(op, result),
    });
    const ride: Ride = (work) => this.#ride(work);
    this.#progress = new ProgressKeeper(start, { deps: context.deps, held, assignment, kill, ride, seen: context.seen });
    const write = (rows: readonly RowChange[]): Promise<readonly RowOutcome[]> => this.#apply(rows);
    const done = (): Offset => this.#progress.done.offset;
    const confirm = (): Promise<void> => {
      this.#progress.settle(this.#standing);
      return this.#progress.saveAgain();
    };
    this.#parking = new Parking({ context, parked, standing: this.#standing, done, kill, ride, confirm, write });
    this.#ahead = this.#openAhead();
  }

  /** Everything before it took effect. */
  get done(): SinkProgress {
    return this.#progress.done;
  }

  /** Resolves when the worker leaves. What is in hand is finished then and the progress stored, as far as the sink answers. */
  async run(): Promise<void> {
    const { leave, kill } = this.#input;
    try {
      await this.#parking.releaseBelowFloors();
      await this.#parking.replayRestored();
      while (!leave.aborted) await this.#round();
      await this.#flush();
    } catch (error) {
      if (!leave.aborted || brokenInvariantIn(error) !== null) throw error;
    } finally {
      await this.#ahead[Symbol.asyncDispose]();
      this.#input.context.deps.observer.waiting(this, null);
      this.#tallies.report(this.#input.context.deps.observer);
    }
    if (!kill.aborted) await this.#progress.save();
  }

  async #round(): Promise<void> {
    const { context, assignment } = this.#input;
    if (context.desk.waitsFor(assignment.partition)) {
      await this.#flush();
      await this.#serve();
    }
    if (context.seen.isDoubtful(assignment.partition)) await this.#settleDoubt();
    // A stretch of the log that changes nothing, however long, moves the progress too.
    if (this.#window.fold.size === 0) {
      await this.#flush();
      if ((this.#progress.dueMs() ?? 1) <= 0) await this.#progress.save();
    }
    const page = await this.#takePage();
    if (page !== null) {
      this.#input.context.deps.observer.waiting(this, null);
      await this.#page(page);
    } else {
      const held = this.#window.fold.size > 0;
      await this.#flush();
      // More can have come in while the batch was at the sink.
      if (!held) await this.#idle();
    }
  }

  /** The sink was seen to hold less than it had confirmed: writing finds out, and need not wait for a record. */
  async #settleDoubt(): Promise<void> {
    const { context, assignment } = this.#input;
    await this.#flush();
    await this.#progress.saveAgain();
    context.seen.taken(assignment.partition);
  }

  async #idle(): Promise<void> {
    const { context, bell, leave } = this.#input;
    if (leave.aborted) return;
    this.#tallies.report(this.#input.context.deps.observer);
    const dueMs = this.#progress.dueMs();
    if (dueMs !== null && dueMs <= 0) await this.#progress.save();
    else await bell.wait(dueMs, context.deps.runtime);
  }

  async #takePage(): Promise<readonly StoredRecord[] | null> {
    try {
      return this.#ahead.take()?.records ?? null;
    } catch (error) {
      const { context, assignment, leave, kill } = this.#input;
      if (leave.aborted || !passesByItself(error)) throw await this.#afterFlush(error);
      await this.#flush();
      const { options, observer, runtime } = context.deps;
      observer.retry(codeOf(error));
      observer.waiting(this, error);
      await this.#ahead[Symbol.asyncDispose]();
      await runtime.sleep(options.backoffFirstMs, leave);
      this.#ahead = this.#openAhead();
      // Where nothing is left to read no page will tell that the log answers again.
      const ends = await this.#ride(() => context.deps.log.ends(kill));
      if (ends[assignment.partition]?.end === this.#standing.offset) observer.waiting(this, null);
      return null;
    }
  }

  async #page(records: readonly StoredRecord[]): Promise<void> {
    const { context, parked, leave } = this.#input;
    const { limits } = context.deps.sink;
    const at = { standing: this.#standing, parked };
    for (const stored of records) {
      let step = await this.#step(stored, at);
      if (step.tag === 'look-first') {
        await this.#look(step.schema);
        step = await this.#step(stored, at);
      }
      if (step.tag === 'flush-first') {
        await this.#flush();
        step = await this.#step(stored, at);
        assert(step.tag !== 'flush-first', 'nothing is held after a flush');
      }
      if (step.tag === 'alone') {
        await this.#flush();
        await this.#alone(step.record, step.bytes);
        step.follow();
        this.#progress.settle(this.#standing);
        if (step.record.tag === 'truncate') context.truncates.ring();
      } else if (this.#window.isFull(limits)) {
        await this.#flush();
      }
      // The rest of the page is read again by whoever comes next.
      if (leave.aborted) return;
    }
  }

  async #step(stored: StoredRecord, at: { readonly standing: Standing; readonly parked: ParkedKeys }): Promise<ReturnType<Window['step']>> {
    const { context, kill } = this.#input;
    try {
      return this.#window.step(stored, at);
    } catch (error) {
      if (codeOf(error) !== 'log_schema_unknown') throw await this.#afterFlush(error);
    }
    // The control store holds every live version, also one that it was given after the catalogue was read.
    await this.#ride(() => context.schemas.load(context.deps.control, context.deps.pipeline, kill));
    try {
      return this.#window.step(stored, at);
    } catch (error) {
      throw await this.#afterFlush(error);
    }
  }

  /**
   * What stands before a record that cannot be read takes effect, and is remembered, before the error goes up. A worker whose
   * partition another one holds by now learns that instead: what it has not read the other has, and the log may have freed it.
   */
  async #afterFlush(error: unknown): Promise<unknown> {
    await this.#flush();
    await this.#progress.saveAgain();
    return error;
  }

  async #alone(record: Alone, bytes: Uint8Array): Promise<void> {
    const { context } = this.#input;
    switch (record.tag) {
      case 'change':
        await this.#parking.parkWithheld(record, bytes);
        this.#tallies.add(record.op, 'dead_lettered');
        return;
      case 'truncate':
        if (this.#standing.isLost(record.sequence)) return;
        this.#standing.raiseFloor(record.table, record.sequence, context.swept.get(record.table));
        await this.#parking.releaseBelowFloors();
        return;
      case 'schema':
        await this.#passGate(record.schema);
        return;
      case 'load-open':
        if (record.sink === null || record.sink === context.deps.sinkName) this.#standing.openLoad(record);
        return;
      case 'load-close':
        if (record.sink === null || record.sink === context.deps.sinkName) this.#standing.closeLoad(record);
        return;
      case 'generation-open':
        if (record.partitions !== context.deps.log.partitions) {
          throw new CausewayError(
            'log_partitions_changed',
            `the log was written with ${record.partitions} partitions and is configured with ${context.deps.log.partitions}`,
          );
        }
        this.#standing.openEpoch(record.epoch, record.fork);
        return;
      case 'epoch-open':
        this.#standing.openEpoch(record.epoch, record.fork);
        return;
      default:
        unreachable(record);
    }
  }

  async #passGate(schema: TableSchema): Promise<void> {
    const { context, leave, onState } = this.#input;
    const whileBlocked = async (): Promise<void> => {
      onState('blocked');
      await this.#progress.save();
      await this.#serve();
    };
    await this.#ride(() => context.gate.pass(schema, { met: this.#met, signal: leave, whileBlocked }));
    this.#window.met.add(schema.version);
    onState('running');
  }

  /** A version whose record stands before the start: the sink may have gone back since, with nothing but its columns. */
  async #look(schema: TableSchema): Promise<void> {
    const { context, leave } = this.#input;
    await this.#ride(() => context.gate.restore(schema, leave));
    this.#window.met.add(schema.version);
  }

  /** Applies what the window holds. Afterwards everything that was read took effect, was proved stale, or is parked. */
  async #flush(): Promise<void> {
    const { parked, kill } = this.#input;
    const window = this.#window;
    if (window.fold.size > 0) await this.#applyFolded(window.fold.values(), window.bytes);
    window.clear();
    if (parked.hasUnwritten) await this.#ride(() => parked.writeMarks(kill));
    this.#progress.settle(this.#standing);
  }

  async #applyFolded(folded: readonly FoldedChange[], bytes: number): Promise<void> {
    const { context, parked, held } = this.#input;
    const { observer, runtime } = context.deps;
    const startedMs = runtime.monotonicMs();
    const outcomes = await this.#apply(folded.map(({ change }) => change));
    const letters: DeadLetter[] = [];
    const released: RowKey[] = [];
    const committedAt: EpochMicros[] = [];
    for (const [index, each] of folded.entries()) {
      const outcome = outcomes[index];
      assert(outcome !== undefined, 'a sink answers for each row');
      const result = this.#resultOf(each, outcome);
      this.#tallies.add(each.record.op, result);
      for (const op of each.absorbed ?? []) this.#tallies.add(op, result);
      if (outcome.tag === 'rejected') {
        if (result === 'dead_lettered') letters.push(this.#parking.letterOf(each, outcome));
        continue;
      }
      if (outcome.tag === 'applied') committedAt.push(each.committedAt);
      const sequence = parked.sequenceOf(each.change.key);
      if (sequence !== undefined && each.change.tag !== 'partial' && each.change.sequence >= sequence) released.push(each.change.key);
    }
    await this.#parking.park(letters);
    await this.#parking.release(released, 'applied');
    const durationMs = runtime.monotonicMs() - startedMs;
    observer.batch({ partition: held.partition, offset: this.#progress.done.offset, rows: folded.length, bytes, durationMs, committedAt });
    this.#tallies.report(observer);
  }

  /** Until the load brings the row, a partial image has nothing to stand on; the chunk comes later in this partition. */
  #resultOf(each: FoldedChange, outcome: RowOutcome): ApplyResult {
    if (outcome.tag !== 'rejected') return outcome.tag;
    const awaitsLoad = outcome.code === 'partial_without_base' && this.#standing.isLoading(each.change.schema.table);
    return awaitsLoad ? 'filtered' : 'dead_lettered';
  }

  async #apply(rows: readonly RowChange[]): Promise<readonly RowOutcome[]> {
    const { held, kill } = this.#input;
    // What was true before this batch, never its end: the batch in hand may be the one that is lost.
    const progress = this.#progress.done;
    this.inFlightRows = rows.length;
    const outcomes = await this.#ride(() => held.apply({ rows, progress }, kill)).finally(() => {
      this.inFlightRows = 0;
    });
    assert(outcomes.length === rows.length, 'a sink answers for each row');
    await this.#progress.carried();
    return outcomes;
  }

  async #serve(): Promise<void> {
    const { context, assignment, leave } = this.#input;
    try {
      await context.desk.serve(assignment.partition, (task) => this.#answer(task), leave);
    } catch (error) {
      // Requests wait until the control store answers; changes do not wait for them.
      if (leave.aborted || !passesByItself(error)) throw error;
    }
  }

  /** A worker that another one has followed would answer for keys of which it knows nothing: that one's answer is waited for. */
  async #answer(task: DeadLetterTask): Promise<DeadLetterAnswer> {
    const answer = await this.#parking.handle(task);
    await this.#progress.saveAgain();
    return answer;
  }

  #ride<T>(work: () => Promise<T>): Promise<T> {
    const { context, leave, onState } = this.#input;
    return rideOut(context.deps, work, { signal: leave, onWait: (waiting) => onState(waiting ? 'retrying' : 'running') });
  }

  #openAhead(): ReadAhead {
    const { assignment, bell, context } = this.#input;
    return new ReadAhead({
      open: (signal) => assignment.batches(this.#standing.offset, signal),
      bytesMax: context.deps.options.readAheadBytesMax,
      onChange: () => bell.ring(),
    });
  }
}
