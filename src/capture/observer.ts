import type { CheckpointRow, TableRow } from '#core/control-rows.ts';
import type { LoadRow } from '#core/load-row.ts';
import type { ErrorCode } from '#core/errors.ts';
import type { Epoch, EpochMicros, FencingToken, Offset, Position } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { RefusedTable, SlotFacts } from '#core/source.ts';
import type { LoadsHeld } from '#core/wal-budget.ts';
import type { LeaseEnding, LeaseFacts } from '../lease/lease.ts';

export type CaptureState =
  /** Another process holds the lease, or the control store cannot be reached. */
  | { readonly tag: 'standby' }
  /** The lease is held; slot and log are being opened. */
  | { readonly tag: 'starting'; readonly generation: FencingToken }
  | { readonly tag: 'streaming'; readonly generation: FencingToken; readonly epoch: Epoch }
  /** The source could not be reached or broke the connection; it is tried again in the same generation. */
  | { readonly tag: 'reconnecting'; readonly generation: FencingToken; readonly code: ErrorCode; readonly message: string }
  /** An append has not been answered for a while: the log is full or slow. The source keeps what is not durable. */
  | { readonly tag: 'waiting_for_log'; readonly generation: FencingToken }
  | { readonly tag: 'stopping' }
  | { readonly tag: 'stopped' };

/** Changes read from the source's log, by what they are. */
export type ReadCounts = {
  readonly insert: number;
  readonly update: number;
  readonly delete: number;
  readonly truncate: number;
  /** Published without their values. */
  readonly withheld: number;
  /** Of tables that are stopped or not captured. */
  readonly dropped: number;
};

export type SourceClock = {
  /** Source's clock minus the local wall clock, half of the round trip removed. */
  readonly offsetMicros: number;
  readonly roundTripMs: number;
};

export type CaptureWatermark = { readonly sequence: Sequence; readonly position: Position; readonly sourceTime: EpochMicros };

/**
 * What capture tells of itself. Calls are synchronous and must not throw; those on the path of changes come once for each
 * array of messages, never for each row.
 */
export interface CaptureObserver {
  state(state: CaptureState): void;
  read(counts: ReadCounts): void;
  /** Records that became durable in the log; `offsets` of each partition's last one. */
  published(durable: {
    readonly records: number;
    readonly bytes: number;
    readonly durationMs: number;
    readonly offsets: ReadonlyMap<number, Offset>;
  }): void;
  /** Bytes of encoded records that wait for the log, and the most that may. */
  queue(bytes: number, bytesMax: number): void;
  watermark(watermark: CaptureWatermark): void;
  /** Commit time of the newest transaction that was read whole, heartbeats included. */
  readUpTo(sourceTime: EpochMicros): void;
  checkpoint(row: CheckpointRow): void;
  lease(facts: LeaseFacts): void;
  leaseRenewed(durationMs: number): void;
  /** Once for each lease that was held. */
  leaseEnded(how: LeaseEnding): void;
  /** Null where the source has no slot of ours. */
  slot(facts: SlotFacts | null): void;
  tables(rows: readonly TableRow[]): void;
  /** Loads that were asked for, those that are over among them. */
  loads(rows: readonly LoadRow[]): void;
  /** Why no load reads rows for now; null where loads go on. */
  loadsHeld(held: LoadsHeld | null): void;
  /** Tables that match the configuration and are not captured. */
  refused(tables: readonly RefusedTable[]): void;
  /** A difference that asks for a reconcile, or that is harmless: for the log and a counter. */
  fingerprint(seen: { readonly table: TableId; readonly verdict: string; readonly text: string }): void;
  /** Null as long as no heartbeat was answered: lag on the local clock is then not known. */
  sourceClock(clock: SourceClock | null): void;
  /** An error that is ridden out, and during what. */
  trouble(error: unknown, during: string): void;
}

export const silentObserver: CaptureObserver = {
  state: () => undefined,
  read: () => undefined,
  published: () => undefined,
  queue: () => undefined,
  watermark: () => undefined,
  readUpTo: () => undefined,
  checkpoint: () => undefined,
  lease: () => undefined,
  leaseRenewed: () => undefined,
  leaseEnded: () => undefined,
  slot: () => undefined,
  tables: () => undefined,
  loads: () => undefined,
  loadsHeld: () => undefined,
  refused: () => undefined,
  fingerprint: () => undefined,
  sourceClock: () => undefined,
  trouble: () => undefined,
};
