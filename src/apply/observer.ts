import type { ErrorCode } from '#core/errors.ts';
import type { EpochMicros, Offset } from '#core/position.ts';
import type { ChangeOp, CounterPair } from '#core/record.ts';
import type { SchemaBlock } from '#core/control-rows.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';

/**
 * What became of a change. `duplicate`: a counter already seen. `fenced`: of a superseded generation or a lost epoch. `filtered`: at
 * or below a truncate's floor, for another sink, or a partial image before the load that brings its row. `dead_lettered`: parked.
 */
export type ApplyResult = 'applied' | 'stale' | 'duplicate' | 'fenced' | 'filtered' | 'dead_lettered';

export type BatchReport = {
  readonly partition: number;
  /** Of the oldest record that the batch was made from. */
  readonly offset: Offset;
  /** Rows sent to the sink, after folding. */
  readonly rows: number;
  /** Bytes of the log records that went into the batch. */
  readonly bytes: number;
  readonly durationMs: number;
  /** Source commit times of the rows that took effect: with the source's clock these are samples of the end-to-end lag. */
  readonly committedAt: readonly EpochMicros[];
};

/**
 * What a sink's state is called. `waiting`: not registered yet, or at the log's end of nothing. `retrying`: the sink or the log does
 * not answer. `blocked`: every partition waits for a schema to be approved, or some do.
 */
export type ApplyState = 'waiting' | 'starting' | 'running' | 'retrying' | 'blocked' | 'stopping' | 'stopped';

export type WatermarkPoint = { readonly sequence: Sequence; readonly sourceTime: EpochMicros };

export type PartitionStatus = {
  readonly partition: number;
  readonly state: 'starting' | 'running' | 'retrying' | 'blocked' | 'fenced';
  readonly offset: Offset | null;
  readonly pair: CounterPair | null;
  readonly watermark: WatermarkPoint | null;
  readonly parkedKeys: number;
};

export type ParkedStatus = {
  readonly keys: number;
  /** Those among them whose partial image found no row: their rows are asked for from the source. */
  readonly awaitingRepair: number;
  readonly oldestSequence: Sequence | null;
  readonly oldestCommittedAt: EpochMicros | null;
};

export type ApplyStatus = {
  readonly sink: string;
  readonly state: ApplyState;
  readonly partitions: readonly PartitionStatus[];
  /**
   * Everything at or below it took effect, was proved stale or is parked, in every partition; below a truncate until its sweep is
   * done. Null while it is not known.
   */
  readonly position: WatermarkPoint | null;
  /**
   * The completeness watermark: the newest change of every key at or below it is at the sink, except keys that are parked. The
   * same as the position, of the tables that are not being loaded; null where all are.
   */
  readonly watermark: WatermarkPoint | null;
  /** Tables that are being loaded at the sink, or that it owes itself: the watermark says nothing of them. */
  readonly loading: readonly TableId[];
  readonly parked: ParkedStatus;
  readonly blocked: readonly SchemaBlock[];
  /** Rows sent to the sink and not answered. */
  readonly inFlightRows: number;
};

/** Told what happens; never slows it down. Metrics and the status page are made from this. */
export interface ApplyObserver {
  /** Called once at the start: reads the present state whenever it is wanted. */
  attach(status: () => ApplyStatus): void;
  outcome(op: ChangeOp, result: ApplyResult, count: number): void;
  batch(report: BatchReport): void;
  retry(reason: ErrorCode): void;
  /** What does not answer and is tried again, and with null that it is over. `call` tells one of several from the others. */
  waiting(call: object, error: unknown): void;
  parked(report: { readonly code: string; readonly keys: number }): void;
  released(report: { readonly how: 'applied' | 'floor' | 'replayed' | 'discarded'; readonly keys: number }): void;
  swept(report: { readonly rows: number }): void;
}

export const silentObserver: ApplyObserver = {
  attach: () => undefined,
  outcome: () => undefined,
  batch: () => undefined,
  retry: () => undefined,
  waiting: () => undefined,
  parked: () => undefined,
  released: () => undefined,
  swept: () => undefined,
};
