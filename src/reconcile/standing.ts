import { CausewayError } from '#core/errors.ts';
import type { EpochMicros } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import { minSequence, type Sequence } from '#core/sequence.ts';
import { owedFloors, type SinkProgress } from '#core/sink.ts';
import type { ReconcileDeps } from './deps.ts';

/** Where the sink's appliers stand, as the sink itself tells. */
export class SinkStanding {
  readonly #deps: ReconcileDeps;

  constructor(deps: ReconcileDeps) {
    this.#deps = deps;
  }

  /** Waits until everything that the source showed at `at`, on its own clock, took effect. */
  async hasTaken(at: EpochMicros, signal: AbortSignal): Promise<void> {
    await this.#until((all) => all.every(({ watermark }) => watermark !== null && watermark.sourceTime > at), signal);
  }

  /** Waits until everything at or below the sequence took effect. */
  async hasPassed(sequence: Sequence, signal: AbortSignal): Promise<void> {
    await this.#until((all) => all.every(({ watermark }) => watermark !== null && watermark.sequence >= sequence), signal);
  }

  async isPast(sequence: Sequence, signal: AbortSignal): Promise<boolean> {
    const newest = await this.newest(signal);
    return newest !== null && newest >= sequence;
  }

  /** Least of the newest watermarks; null where a partition has none. */
  async newest(signal: AbortSignal): Promise<Sequence | null> {
    const all = await this.#partitions(signal);
    const watermarks = all.flatMap(({ watermark }) => (watermark === null ? [] : [watermark.sequence]));
    return watermarks.length < this.#deps.log.partitions ? null : watermarks.reduce(minSequence);
  }

  async isLoading(table: TableId, signal: AbortSignal): Promise<boolean> {
    return (await this.#partitions(signal)).some(({ openLoads }) => openLoads.some((load) => load.table === table));
  }

  async #partitions(signal: AbortSignal): Promise<readonly SinkProgress[]> {
    return [...(await this.#deps.sink.progress(signal)).values()];
  }

  async #until(isThere: (all: readonly SinkProgress[]) => boolean, signal: AbortSignal): Promise<void> {
    const { runtime, log, options, sinkName } = this.#deps;
    const startedAt = runtime.monotonicMs();
    while (true) {
      const all = await this.#partitions(signal);
      // Rows that a truncate took away stand at the sink until they are swept.
      if (all.length >= log.partitions && isThere(all) && owedFloors(all, await this.#deps.sink.sweeps(signal)).length === 0) return;
      const waitedMs = runtime.monotonicMs() - startedAt;
      if (waitedMs >= options.patienceMs) {
        throw new CausewayError(
          'reconcile_inconclusive',
          `the sink ${sinkName} did not apply within ${Math.round(waitedMs / 1_000)} s what the log held: \`causeway status\` shows whether it runs and how far it is behind`,
        );
      }
      await runtime.sleep(options.pollMs, signal);
    }
  }
}
