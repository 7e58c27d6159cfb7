import type { PartitionAssignment } from '#core/log.ts';
import { untilBeatMs } from '#core/runtime.ts';
import type { SinkPartition, SinkProgress } from '#core/sink.ts';
import type { ApplyDeps } from './deps.ts';
import type { Ride } from './ride-out.ts';
import type { SeenProgress } from './seen.ts';
import type { Standing } from './standing.ts';

type ProgressInput = {
  readonly deps: Pick<ApplyDeps, 'runtime' | 'options'>;
  readonly held: SinkPartition;
  readonly assignment: PartitionAssignment;
  readonly kill: AbortSignal;
  readonly ride: Ride;
  readonly seen: SeenProgress;
};

/**
 * Keeps what is true of a partition (everything before it took effect) and brings it to the sink: with the next batch, or by
 * itself once it waited for too long. The log is told afterwards, because it may forget only what the sink remembers.
 */
export class ProgressKeeper {
  done: SinkProgress;
  readonly #input: ProgressInput;
  /** When `done`, which is ahead of what the sink stores, goes there by itself; null while it is not ahead. */
  #saveAtMs: number | null = null;
  #committedAtMs = Number.NEGATIVE_INFINITY;

  constructor(start: SinkProgress, input: ProgressInput) {
    this.done = start;
    this.#input = input;
  }

  /** Called when everything that was read took effect, was proved stale, or is parked. */
  settle(standing: Standing): void {
    if (standing.offset === this.done.offset && standing.replays === this.done.replays) return;
    this.done = standing.progress();
    if (this.#saveAtMs !== null) return;
    const { runtime, options } = this.#input.deps;
    const nowMs = runtime.monotonicMs();
    this.#saveAtMs = nowMs + untilBeatMs(options.idleSaveMs, nowMs);
  }

  /** How long until `save` is wanted; null while nothing waits for it. */
  dueMs(): number | null {
    return this.#saveAtMs === null ? null : this.#saveAtMs - this.#input.deps.runtime.monotonicMs();
  }

  /** A batch has carried `done` to the sink. */
  async carried(): Promise<void> {
    const { runtime, options } = this.#input.deps;
    this.#input.seen.confirmed(this.#input.held.partition, this.done);
    this.#saveAtMs = null;
    if (runtime.monotonicMs() - this.#committedAtMs >= options.idleSaveMs) await this.#commit(this.done);
  }

  async save(): Promise<void> {
    if (this.#saveAtMs !== null) await this.saveAgain();
  }

  /** Also where nothing has moved: the sink refuses what does not come from the partition's owner. */
  async saveAgain(): Promise<void> {
    const { held, kill, ride, seen } = this.#input;
    const progress = this.done;
    await ride(() => held.save(progress, kill));
    seen.confirmed(held.partition, progress);
    this.#saveAtMs = null;
    await this.#commit(progress);
  }

  async #commit(progress: SinkProgress): Promise<void> {
    const { assignment, deps, kill, ride } = this.#input;
    await ride(() => assignment.commit({ offset: progress.offset, pair: progress.pair }, kill));
    this.#committedAtMs = deps.runtime.monotonicMs();
  }
}
