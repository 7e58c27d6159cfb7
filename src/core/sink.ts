import type { Finding } from './finding.ts';
import type { RowKey } from './key.ts';
import type { Epoch, EpochMicros, FencingToken } from './position.ts';
import { compareProgress, type LogProgress } from './log.ts';
import type { DescribedTable, SchemaChange, TableId, TableSchema } from './schema.ts';
import type { Sequence } from './sequence.ts';
import type { Row } from './value.ts';

/** A change as a sink gets it: the newest of its key in the batch. */
export type RowChange = {
  readonly schema: TableSchema;
  readonly key: RowKey;
  readonly sequence: Sequence;
} & (
  | {
      readonly tag: 'upsert';
      readonly row: Row;
      /** The row began at the source with this change. A hint: where it is replayed, the sink has the row or a newer one. */
      readonly isNew?: boolean;
    }
  | { readonly tag: 'delete' }
  /** Some columns are undefined. Takes effect only on a live row of a lower sequence. */
  | { readonly tag: 'partial'; readonly row: Row }
);

export type RowOutcome =
  | { readonly tag: 'applied' }
  /** The sink has this sequence or a greater one. A success. */
  | { readonly tag: 'stale' }
  /** Refused for ever, and this row alone. Words for people never hold a value. */
  | { readonly tag: 'rejected'; readonly code: RejectionCode; readonly reason: string };

export type RejectionCode = 'value_refused' | 'partial_without_base';

/** Nothing of the table at or below `sequence` takes effect in this partition any more. */
export type Floor = { readonly table: TableId; readonly sequence: Sequence };

/** A table is being loaded: for this sink alone, which `sink` names then, or for all (null). Both can be under way at once. */
export type OpenLoad = { readonly table: TableId; readonly sink: string | null };

/** An epoch that was opened, with its fork as 16 hex digits: records of older epochs whose commit is at or above it change nothing. */
export type EpochFork = { readonly epoch: Epoch; readonly fork: string };

/**
 * What a sink keeps for a partition beside its rows. Everything before `offset` took effect, was proved stale or is parked. It never
 * falls, see `compareSinkProgress`.
 */
export type SinkProgress = LogProgress & {
  /** Holder of the pair's generation, so that a generation given out twice is noticed after a restart too; null where the pair is. */
  readonly holder: string | null;
  /** Of the newest watermark record before `offset`; null before the first. */
  readonly watermark: { readonly sequence: Sequence; readonly sourceTime: EpochMicros } | null;
  readonly floors: readonly Floor[];
  /** Loads under way: opened by `load-open`, or owed to a new sink from its first progress on; each ended by its own `load-close`. */
  readonly openLoads: readonly OpenLoad[];
  /** Epochs above the first that were opened before `offset`. */
  readonly epochs: readonly EpochFork[];
  /** Replays of dead letters that took effect, ever. No record of the log tells of one, so that a sink that went back shows by it. */
  readonly replays: number;
};

/**
 * Which of two is further on: by the pair, then by the offset (a record that changes nothing moves the offset alone), then by the
 * replays. An absent pair is the lowest.
 */
export function compareSinkProgress(a: SinkProgress, b: SinkProgress): number {
  const byLog = compareProgress(a, b);
  return byLog === 0 ? a.replays - b.replays : byLog;
}

/** What is known of a partition: by its worker here, or by the progress that another process stored. */
export type PartitionStanding = Pick<SinkProgress, 'watermark' | 'floors' | 'openLoads'>;

/** True once nothing below the floor can come any more in this partition. */
export function hasPassed(standing: PartitionStanding, floor: Floor): boolean {
  if (standing.watermark !== null && standing.watermark.sequence >= floor.sequence) return true;
  return standing.floors.some(({ table, sequence }) => table === floor.table && sequence >= floor.sequence);
}

/** Every truncate that some partition has passed and no sweep has reached: what a table holds below it may still be there. */
export function owedFloors(standings: Iterable<PartitionStanding>, swept: ReadonlyMap<TableId, Sequence>): Floor[] {
  return [...standings].flatMap(({ floors }) => floors.filter(({ table, sequence }) => (swept.get(table) ?? '') < sequence));
}

export type SinkLimits = {
  /** Most rows in one `apply`. */
  readonly batchRowsMax: number;
  readonly batchBytesMax: number;
};

/**
 * A store that keeps each row as a register of (sequence, value or tombstone): applying replaces if the sequence is greater, so
 * replays and several appliers at once cannot harm a row. Every implementation passes test/contract/sink.ts.
 *
 * Errors that stop the sink, as CausewayError: `sink_unavailable`, `sink_region` and `sink_throttled` (retried), `sink_misconfigured` (no
 * table, no right, no space, a violated constraint), `sink_claimed`, `partition_fenced` (a greater token holds it), `sink_went_back`.
 */
export interface Sink extends AsyncDisposable {
  readonly kind: string;
  readonly limits: SinkLimits;
  /** False where keys are hashed: `scan` then gives rows in no order, and of the whole table only. */
  readonly scansInOrder: boolean;
  /** Names the database, so that a sink that is the source itself is noticed. Absent where it cannot be. */
  database?(signal: AbortSignal): Promise<string>;
  /** Looks, changes nothing. Ids TP-…, DD-…, SP-…. */
  check(tables: readonly DescribedTable[], signal: AbortSignal): Promise<readonly Finding[]>;
  /**
   * `provision: create` makes what is missing; `provision: check` throws `sink_misconfigured` with the DDL that is missing. Idempotent.
   * A companion that cannot be made stops nothing: `check` tells of it.
   */
  provision(tables: readonly DescribedTable[], signal: AbortSignal): Promise<void>;
  /** Follows an additive change. Idempotent. Errors: `schema_blocked` where the sink cannot follow by itself. */
  evolve(after: DescribedTable, change: SchemaChange & { readonly tag: 'additive' }, signal: AbortSignal): Promise<void>;
  /** Names what keeps rows of this schema from being written to the replicated table as it is now; empty when nothing does. */
  differences(table: DescribedTable, signal: AbortSignal): Promise<readonly string[]>;
  /** True where the replicated table holds any row. */
  holdsRows(schema: TableSchema, signal: AbortSignal): Promise<boolean>;
  /**
   * Called at each start, before any progress is read or a partition taken: by compare-and-swap, one owner alone holds what is kept
   * for this pipeline and sink name. Idempotent, and makes or asks for the tables that it needs as `provision` does. Errors:
   * `sink_claimed`; `sink_misconfigured` where a sink that is not `known` finds progress that nobody claims.
   */
  claim(by: SinkClaim, signal: AbortSignal): Promise<void>;
  /** Takes the partition under the claim: raises its fence by one. From then on older holders' batches end as `fenced`. */
  assign(partition: number, signal: AbortSignal): Promise<SinkPartition>;
  /** Progress of every partition that ever had some. Strongly consistent. */
  progress(signal: AbortSignal): Promise<ReadonlyMap<number, SinkProgress>>;
  /**
   * Tombstones, at `floor.sequence`, every row of the table with a lower sequence or none, in small transactions. Taken up again after a
   * crash; remembered when complete. Called only after every partition has passed the floor, and each transaction looks for that:
   * errors: `sink_went_back` where one has not, because older rows would come again behind a sweep that counts as done.
   */
  sweep(schema: TableSchema, floor: Floor, signal: AbortSignal): Promise<{ readonly rows: number }>;
  /** Newest completed sweep of each table. */
  sweeps(signal: AbortSignal): Promise<ReadonlyMap<TableId, Sequence>>;
  /**
   * Rows with stored sequence, tombstones included, in key order where `scansInOrder`, strongly consistent page by page. `from` is
   * inclusive, so that the key of the last row that was seen goes on where that one was. For reconciliation and tests.
   */
  scan(schema: TableSchema, range: KeyRange, signal: AbortSignal): AsyncIterable<readonly SinkRow[]>;
  /**
   * Rows of these keys with stored sequence, tombstones included, in any order and strongly consistent: each as `scan` would give it, under
   * the key that was asked for. A key of which the sink holds nothing is left out.
   */
  read(schema: TableSchema, keys: readonly RowKey[], signal: AbortSignal): Promise<readonly SinkRow[]>;
  /**
   * What `scan` and `read` give back of a row that was applied, as texts: the sink's own value domain. Null for a row that the sink refuses
   * by itself; one that only its store refuses is known by its parked key. Pure. What it gives is called once `differences`, `read` or
   * `scan` has returned, since a store can keep values in one way or another.
   */
  readBack(schema: TableSchema): (row: Row) => Row | null;
  /** What reconciliation found, kept beside the rows because keys are data. */
  readonly reports: SinkReports;
  /**
   * Drops what it keeps beside the replicated tables for this pipeline and sink; never a replicated table. Returns what, for people.
   * Errors: `sink_claimed` where somebody else than one of `owners` has claimed it.
   */
  remove(owners: readonly string[], signal: AbortSignal): Promise<readonly string[]>;
}

/**
 * Who wants the sink. A known sink takes progress that nobody claims for its own: the sink went back to a state from before the
 * claim. To a new one it cannot belong, because a claim stands before the first progress.
 */
export type SinkClaim = { readonly owner: string; readonly known: boolean };

export type KeyRange = { readonly from: readonly string[] | null; readonly to: readonly string[] | null };

export type SinkRow = { readonly key: RowKey; readonly sequence: Sequence | null; readonly row: Row | null };

/** Of a key, between the source and the sink. */
export type Difference = {
  readonly table: TableId;
  readonly kind: DifferenceKind;
  readonly key: RowKey;
  /** The cut at which source and sink were compared. */
  readonly cut: Sequence;
  /** What the sink holds with the key; null where that has none. */
  readonly stored: Sequence | null;
  readonly cause: DifferenceCause;
  /** Names of the columns that differ; empty unless mismatched. */
  readonly columns: readonly string[];
};

export const differenceKinds = ['missing', 'extra', 'mismatched'] as const;
export type DifferenceKind = (typeof differenceKinds)[number];

/** Why, as far as the sink and the log tell. */
export const differenceCauses = ['dead_lettered', 'stale', 'foreign_write', 'sequence_ahead', 'unknown'] as const;
export type DifferenceCause = (typeof differenceCauses)[number];

/** Differences by the run that found them, of this pipeline and sink alone. Provisioned like the sink's own tables. */
export interface SinkReports {
  /** Idempotent by run, table, kind and key: what is added again takes the place of what was there. */
  add(run: string, differences: readonly Difference[], signal: AbortSignal): Promise<void>;
  /** In pages, by table and kind. */
  list(run: string, signal: AbortSignal): AsyncIterable<readonly Difference[]>;
  /** Drops those of every other run. */
  keepOnly(runs: readonly string[], signal: AbortSignal): Promise<void>;
}

/** A partition held under a fence token. One call at a time. */
export interface SinkPartition extends AsyncDisposable {
  readonly partition: number;
  readonly token: FencingToken;
  /** Progress as it stood when the partition was taken; null where there never was any. */
  readonly start: SinkProgress | null;
  /**
   * Applies rows of distinct keys, atomically with `progress`: the progress that was true before this batch began, never its
   * end. Null leaves it. The outcomes stand in the rows' order. After an error nothing is known: the same call may be repeated.
   */
  apply(
    batch: { readonly rows: readonly RowChange[]; readonly progress: SinkProgress | null },
    signal: AbortSignal,
  ): Promise<readonly RowOutcome[]>;
  /** Stores progress without rows. Never falls; returns what is stored. */
  save(progress: SinkProgress, signal: AbortSignal): Promise<SinkProgress>;
}
