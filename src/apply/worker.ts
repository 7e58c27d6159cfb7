import { brokenInvariantIn } from '#core/assert.ts';
import { CausewayError, codeOf } from '#core/errors.ts';
import type { PartitionAssignment } from '#core/log.ts';
import type { SinkPartition, SinkProgress } from '#core/sink.ts';
import { Bell } from './bell.ts';
import type { SinkContext } from './context.ts';
import { ParkedKeys } from './dead-letter.ts';
import { PartitionHold } from './hold.ts';
import type { PartitionStatus } from './observer.ts';
import { rideOut } from './ride-out.ts';

/** Applies one partition for as long as it is assigned, through as many holds as that takes. */
export class PartitionWorker {
  readonly partition: number;
  /** True once the sink was found to have gone back: only then may its watermark fall. */
  wentBack = false;
  readonly #context: SinkContext;
  readonly #assignment: PartitionAssignment;
  readonly #parked: ParkedKeys;
  readonly #bell = new Bell();
  #hold: PartitionHold | null = null;
  #state: PartitionStatus['state'] = 'starting';

  constructor(context: SinkContext, assignment: PartitionAssignment) {
    const { deps, limit } = context;
    this.#context = context;
    this.#assignment = assignment;
    this.partition = assignment.partition;
    this.#parked = new ParkedKeys({ partition: assignment.partition, queue: deps.log.deadLetters(deps.sinkName), limit });
  }

  /** Everything before it took effect; null until the partition is held. */
  get done(): SinkProgress | null {
    return this.#hold?.done ?? null;
  }

  /** Another worker holds the partition. */
  get isFenced(): boolean {
    return this.#state === 'fenced';
  }

  get inFlightRows(): number {
    return this.#hold?.inFlightRows ?? 0;
  }

  get parked(): ParkedKeys {
    return this.#parked;
  }

  status(): PartitionStatus {
    const done = this.done;
    return {
      partition: this.partition,
      state: this.#state,
      offset: done?.offset ?? null,
      pair: done?.pair ?? null,
      watermark: done?.watermark ?? null,
      parkedKeys: this.#parked.size,
    };
  }

  /** Something may have to be looked at: a request, for instance. */
  wake(): void {
    this.#bell.ring();
  }

  /** Resolves when the worker has left its partition. Errors: those that do not pass by themselves. */
  async run(signals: { readonly leave: AbortSignal; readonly kill: AbortSignal }): Promise<void> {
    const leave = AbortSignal.any([signals.leave, signals.kill, this.#assignment.revoked]);
    const ring = (): void => this.#bell.ring();
    leave.addEventListener('abort', ring);
    try {
      while (!leave.aborted) await this.#life(leave, signals.kill);
    } catch (error) {
      // What was asked to leave and cannot finish has lost nothing: it is read again from the stored progress.
      if (!leave.aborted || brokenInvariantIn(error) !== null) throw error;
    } finally {
      leave.removeEventListener('abort', ring);
      // When the whole sink stops, the last standing stays to be read.
      if (!signals.leave.aborted) this.#parked.forget();
    }
  }

  async #life(leave: AbortSignal, kill: AbortSignal): Promise<void> {
    const { logger } = this.#context.deps;
    const { partition } = this;
    try {
      await this.#take(leave, kill);
    } catch (error) {
      switch (codeOf(error)) {
        case 'sink_went_back':
          this.wentBack = true;
          this.#context.seen.lost(partition);
          // At once: other partitions find out by themselves, and this one reads on.
          this.#context.gate.forget();
          this.#context.swept = new Map();
          logger.log('warn', 'the sink lost commits that it had confirmed: the partition starts over from its own progress', { partition });
          return;
        case 'partition_fenced':
          logger.log('info', 'another worker holds the partition', { partition });
          await this.#untilLeftAlone(leave);
          return;
        default:
          throw error;
      }
    }
  }

  async #take(leave: AbortSignal, kill: AbortSignal): Promise<void> {
    const { deps, seen } = this.#context;
    this.#hold = null;
    const onWait = (waiting: boolean): void => void (this.#state = waiting ? 'retrying' : 'starting');
    this.#state = 'starting';
    const before = seen.at(this.partition);
    await using held = await rideOut(deps, () => deps.sink.assign(this.partition, kill), { signal: leave, onWait });
    seen.answered(this.partition, { before, now: held.start });
    seen.taken(this.partition);
    const start = this.#startOf(held);
    const { offset, pair } = start;
    // Where the sink went back, other sinks' commits would free what it needs again.
    await rideOut(deps, () => this.#assignment.rewind({ offset, pair }, kill), { signal: leave, onWait });
    // The letters are taken after the start is fixed: what another worker would have parked, this one meets in the log itself.
    await rideOut(deps, () => this.#parked.load(start, kill), { signal: leave, onWait });
    this.#hold = new PartitionHold({
      context: this.#context,
      assignment: this.#assignment,
      held,
      start,
      parked: this.#parked,
      bell: this.#bell,
      leave,
      kill,
      onState: (state) => void (this.#state = state),
    });
    this.#state = 'running';
    await this.#hold.run();
  }

  #startOf(held: SinkPartition): SinkProgress {
    if (held.start !== null) return held.start;
    throw new CausewayError(
      'sink_unknown_progress',
      `the sink ${this.#context.deps.sinkName} has no progress for partition ${this.partition}, though it was known to have some`,
    );
  }

  /**
   * The partition is left alone while another worker moves it. If nobody does though there are records, that worker is gone
   * and nothing would assign the partition again: then it is taken back. So is one without progress, which no worker can move.
   */
  async #untilLeftAlone(leave: AbortSignal): Promise<void> {
    const { deps, seen } = this.#context;
    const { fencedIdleMs, sharedIdleMs } = deps.options;
    this.#state = 'fenced';
    this.#hold = null;
    this.#parked.forget();
    for (let last: number | null = null; ;) {
      await deps.runtime.sleep(deps.log.sharesPartitions ? sharedIdleMs : fencedIdleMs, leave);
      const look = async (): Promise<{ readonly at: number | null; readonly end: number }> => {
        const stored = (await seen.read(deps.sink, leave)).get(this.partition);
        const ends = (await deps.log.ends(leave))[this.partition];
        return { at: stored?.offset ?? null, end: ends?.end ?? 0 };
      };
      const { at, end } = await rideOut(deps, look, { signal: leave });
      if (at === null || (at === last && at < end)) return;
      last = at;
    }
  }
}
