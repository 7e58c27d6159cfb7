import { assert } from '#core/assert.ts';
import type { Epoch, EpochMicros, Offset } from '#core/position.ts';
import { EPOCH_FIRST } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import { commitPrefix, compareSequence } from '#core/sequence.ts';
import type { Sequence } from '#core/sequence.ts';
import type { EpochFork, OpenLoad, SinkProgress } from '#core/sink.ts';
import { pairOf } from './counter.ts';
import type { CounterState } from './counter.ts';

/** An EpochFork as a bound that sequences are compared with. */
type EpochEnd = { readonly epoch: Epoch; readonly fork: bigint };

/**
 * Where a worker stands in its partition: everything before `offset` took effect, was proved stale, or is parked. Floors, open
 * loads and epochs live beside it, because they have to reach the sink in the same write as the offset behind their record.
 */
export class Standing {
  readonly partition: number;
  offset: Offset;
  counter: CounterState;
  watermark: SinkProgress['watermark'];
  /**
   * Truncates that were passed, in rising order; the newest is the table's floor, and stays for good: a row that is read again may be
   * older than it. Older ones stay while their sweep is owed.
   */
  readonly #floors = new Map<TableId, readonly Sequence[]>();
  #openLoads: readonly OpenLoad[];
  /** Only rises: each replay of dead letters counts once. */
  replays: number;
  #epochs: EpochEnd[] = [];
  /** For each closed epoch, as 8 hex digits, the first sequence that its successors lost. */
  readonly #lostFrom = new Map<string, string>();

  constructor(partition: number, progress: SinkProgress, counter: CounterState) {
    this.partition = partition;
    this.offset = progress.offset;
    this.counter = counter;
    this.watermark = progress.watermark;
    for (const { table, sequence } of progress.floors.toSorted((a, b) => compareSequence(a.sequence, b.sequence))) {
      this.raiseFloor(table, sequence);
    }
    this.#openLoads = progress.openLoads;
    this.replays = progress.replays;
    for (const { epoch, fork } of progress.epochs) this.openEpoch(epoch, BigInt(`0x${fork}`));
  }

  progress(): SinkProgress {
    return {
      offset: this.offset,
      pair: pairOf(this.counter),
      holder: this.counter.counter === null ? null : this.counter.holder,
      watermark: this.watermark,
      floors: [...this.#floors].flatMap(([table, sequences]) => sequences.map((sequence) => ({ table, sequence }))),
      openLoads: this.#openLoads,
      epochs: this.#epochs.map(({ epoch, fork }): EpochFork => ({ epoch, fork: forkText(fork) })),
      replays: this.replays,
    };
  }

  /** Moves on to the record behind `offset`. */
  advance(offset: Offset): void {
    assert(offset >= this.offset, 'progress in a partition never falls');
    this.offset = offset;
  }

  /** `swept`: the newest truncate of the table whose rows are known to be tombstoned. */
  raiseFloor(table: TableId, sequence: Sequence, swept?: Sequence): void {
    const passed = this.#floors.get(table) ?? [];
    if ((passed.at(-1) ?? '') >= sequence) return;
    const owed = swept === undefined ? passed : passed.filter((older) => older > swept);
    this.#floors.set(table, [...owed, sequence]);
  }

  /** The newest truncate of the table that was passed; null where there was none. */
  floorOf(table: TableId): Sequence | null {
    return this.#floors.get(table)?.at(-1) ?? null;
  }

  isBelowFloor(table: TableId, sequence: Sequence): boolean {
    if (this.#floors.size === 0) return false;
    const floor = this.floorOf(table);
    return floor !== null && sequence <= floor;
  }

  /** One that was opened before, or is owed, stays one: its opening can come again. */
  openLoad({ table, sink }: OpenLoad): void {
    if (!this.#openLoads.some((open) => open.table === table && open.sink === sink))
      this.#openLoads = [...this.#openLoads, { table, sink }];
  }

  /** The end of a load for all sinks says nothing of one for this sink alone, whose rows may still be missing. */
  closeLoad({ table, sink }: OpenLoad): void {
    this.#openLoads = this.#openLoads.filter((open) => open.table !== table || open.sink !== sink);
  }

  isLoading(table: TableId): boolean {
    return this.#openLoads.some((open) => open.table === table);
  }

  /** True for a record of an older epoch that the source's newer history does not contain. */
  isLost(sequence: Sequence): boolean {
    if (this.#lostFrom.size === 0) return false;
    const from = this.#lostFrom.get(sequence.slice(0, 8));
    return from !== undefined && sequence >= from;
  }

  /** The first epoch closes none. An epoch that was opened before is known already: `generation-open` repeats it. */
  openEpoch(epoch: Epoch, fork: bigint): void {
    if (epoch <= EPOCH_FIRST || this.#epochs.some((known) => known.epoch === epoch)) return;
    this.#epochs = [...this.#epochs, { epoch, fork }].sort((a, b) => a.epoch - b.epoch);
    this.#lostFrom.clear();
    // What an epoch keeps is bounded by every later fork: a second promotion can fork below the first one.
    let least: bigint | null = null;
    for (let older = (this.#epochs.at(-1)?.epoch ?? EPOCH_FIRST) - 1; older >= EPOCH_FIRST; older -= 1) {
      const next = this.#epochs.find((known) => known.epoch === older + 1);
      if (next !== undefined) least = least === null || next.fork < least ? next.fork : least;
      if (least !== null) this.#lostFrom.set(older.toString(16).padStart(8, '0'), commitPrefix(older as Epoch, least));
    }
  }

  /** A watermark never takes the partition's own back: records sent again bring older ones. */
  raiseWatermark(sequence: Sequence, sourceTime: EpochMicros): void {
    if (this.watermark === null || this.watermark.sequence < sequence) this.watermark = { sequence, sourceTime };
    else if (this.watermark.sequence === sequence && this.watermark.sourceTime < sourceTime) this.watermark = { sequence, sourceTime };
  }
}

function forkText(fork: bigint): string {
  return fork.toString(16).padStart(16, '0');
}
