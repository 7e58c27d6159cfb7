import { codeOf } from '#core/errors.ts';
import { untilBeatMs } from '#core/runtime.ts';
import type { TableId } from '#core/schema.ts';
import { owedFloors, hasPassed, type Floor, type PartitionStanding, type SinkProgress } from '#core/sink.ts';
import type { SinkContext } from './context.ts';
import { pendingFloors } from './position.ts';
import { passesByItself } from './ride-out.ts';

/**
 * Finishes truncates. Each partition keeps out what is below its floor by itself; the rows that stood in the table before are
 * tombstoned once, by whoever works on partition 0, after every partition has passed the floor.
 */
export class Sweeper {
  readonly #context: SinkContext;
  readonly #standings: () => ReadonlyMap<number, SinkProgress>;
  readonly #onLook: () => void;
  #sweptAtMs = Number.NEGATIVE_INFINITY;
  /** Tables that a person was told of. */
  readonly #unknown = new Set<TableId>();
  /** Progress as stored, for the partitions that work elsewhere; looked up only where there are some. */
  #stored = new Map<number, SinkProgress>();
  #storedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    context: SinkContext,
    input: {
      /** What the workers here know of their partitions. */
      readonly standings: () => ReadonlyMap<number, SinkProgress>;
      /** Called at each look, so that the position moves on though nobody asks for it. */
      readonly onLook: () => void;
    },
  ) {
    this.#context = context;
    this.#standings = input.standings;
    this.#onLook = input.onLook;
  }

  /** Floors whose rows are not swept yet, as far as is known here. */
  pending(): Floor[] {
    return pendingFloors(this.#known(), this.#context.swept);
  }

  /** Every truncate whose sweep is not known to be done; the position stays below each. */
  owed(): Floor[] {
    return owedFloors(this.#known(), this.#context.swept);
  }

  /** The sink went back: which sweeps it still has, and what other workers stored, is read anew. */
  forget(): void {
    this.#context.swept = new Map();
    this.#sweptAtMs = Number.NEGATIVE_INFINITY;
    this.#stored = new Map();
    this.#storedAtMs = Number.NEGATIVE_INFINITY;
  }

  /** The newest known standing of each partition; null where none is known. */
  all(): readonly (PartitionStanding | null)[] {
    return this.#all();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { deps, truncates } = this.#context;
    const { runtime, options, observer, logger } = deps;
    signal.addEventListener('abort', () => truncates.ring(), { once: true });
    if (signal.aborted) truncates.ring();
    let attempt = 0;
    while (true) {
      const pollMs = this.pending().length > 0 ? options.sweepPollMs : options.controlPollMs;
      // The delay doubles while the sink does not answer; a sweep is taken up where it was left.
      const waitMs = attempt === 0 ? untilBeatMs(pollMs, runtime.monotonicMs()) : Math.min(pollMs * 2 ** attempt, options.backoffMaxMs);
      await truncates.wait(waitMs, runtime);
      if (signal.aborted) return;
      try {
        const isStuck = await this.#look(signal);
        this.#onLook();
        attempt = isStuck ? Math.min(attempt + 1, 10) : 0;
      } catch (error) {
        // The sink went back while it was swept: its floors come again with what stands before them.
        if (!passesByItself(error) && codeOf(error) !== 'sink_went_back') throw error;
        attempt = Math.min(attempt + 1, 10);
        observer.retry(codeOf(error));
        logger.log('debug', 'the sweep of a truncate waits', { code: codeOf(error) });
      }
    }
  }

  /** True where a table is waited for that nobody shows. */
  async #look(signal: AbortSignal): Promise<boolean> {
    const { deps, gate, seen } = this.#context;
    await this.#lookElsewhere(signal);
    await this.#lookForSweeps(signal);
    const pending = this.pending();
    if (pending.length === 0 || !this.#standings().has(0)) return false;
    const stored = await seen.read(deps.sink, signal);
    let isStuck = false;
    for (const floor of pending) {
      const passed = this.#partitions().every((partition) => {
        const progress = stored.get(partition);
        return progress !== undefined && hasPassed(progress, floor);
      });
      if (!passed) continue;
      // The newest version may wait further on in the log, and the table not have its columns yet.
      const schema = await gate.fitting(floor.table, signal);
      if (schema === null) {
        isStuck = true;
        this.#tellUnknown(floor.table);
        continue;
      }
      const { rows } = await deps.sink.sweep(schema, floor, signal);
      deps.observer.swept({ rows });
      deps.logger.log('info', 'a truncate is finished', { table: floor.table, sequence: floor.sequence, rows });
    }
    await this.#readSweeps(signal);
    return isStuck;
  }

  /** Where the control store was lost nobody tells a table's columns until capture announces it again: its truncate stays owed. */
  #tellUnknown(table: TableId): void {
    if (this.#unknown.has(table)) return;
    this.#unknown.add(table);
    const text = 'a truncate waits until capture announces its table, which the control store does not show: see `causeway status`';
    this.#context.deps.logger.log('warn', text, { table });
  }

  /**
   * A sink that goes back can lose a sweep and nothing else, so it is looked for even where none is owed. Looks come a little early or
   * late: half of their period is told apart from the much shorter one of a sweep that is owed.
   */
  async #lookForSweeps(signal: AbortSignal): Promise<void> {
    const { runtime, options } = this.#context.deps;
    if (this.#known().every(({ floors }) => floors.length === 0)) return;
    const isDue = runtime.monotonicMs() - this.#sweptAtMs >= options.controlPollMs / 2;
    if (isDue || this.pending().length > 0) await this.#readSweeps(signal);
  }

  async #readSweeps(signal: AbortSignal): Promise<void> {
    const { deps, swept } = this.#context;
    const found = await deps.sink.sweeps(signal);
    swept.clear();
    for (const [table, sequence] of found) swept.set(table, sequence);
    this.#sweptAtMs = deps.runtime.monotonicMs();
  }

  #known(): PartitionStanding[] {
    return this.#all().filter((standing) => standing !== null);
  }

  async #lookElsewhere(signal: AbortSignal): Promise<void> {
    const { deps, seen } = this.#context;
    const here = this.#standings();
    const nowMs = deps.runtime.monotonicMs();
    if (here.size >= deps.log.partitions || nowMs - this.#storedAtMs < deps.options.controlPollMs / 2) return;
    const stored = await seen.read(deps.sink, signal);
    const held = this.#standings();
    this.#stored = new Map([...stored].filter(([partition]) => !held.has(partition)));
    this.#storedAtMs = nowMs;
  }

  #all(): (PartitionStanding | null)[] {
    const here = this.#standings();
    return this.#partitions().map((partition) => here.get(partition) ?? this.#stored.get(partition) ?? null);
  }

  #partitions(): number[] {
    return [...Array(this.#context.deps.log.partitions).keys()];
  }
}
