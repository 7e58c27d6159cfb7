import type { ControlKey } from './control.ts';
import type { Epoch, FencingToken, Offset, Position } from './position.ts';
import type { CounterPair } from './record.ts';
import type { SchemaVersion, TableCompanions, TableId, TableSchema } from './schema.ts';
import type { Sequence } from './sequence.ts';

/*
 * Every row that is kept in the control store, with who writes it. A pipeline's rows are all below one of these prefixes,
 * so that `pipeline remove` finds them.
 *
 * Daemons of two releases write the same rows in turn. So whoever changes a row keeps the members that it does not know, and what a
 * later release adds to a row is absent in those of an earlier one, and can be older than what stands beside it: what is true of one
 * generation only names that generation. Rows that begin anew (those of a first start, a request, the status) begin without. A member or
 * value that an earlier release would read wrongly takes a new format: rows have it in `format`, those of the first have none.
 */

export const controlKeys = {
  /** LeaseRow; by whoever wants to be or is the capture holder. */
  lease: (pipeline: string) => `lease/${pipeline}` as ControlKey,
  /** CheckpointRow; by the capture holder. */
  checkpoint: (pipeline: string) => `checkpoint/${pipeline}` as ControlKey,
  /** EpochRow; by the capture holder. */
  epoch: (pipeline: string) => `epoch/${pipeline}` as ControlKey,
  /** TableRow; by the capture holder. */
  table: (pipeline: string, table: TableId) => `table/${pipeline}/${table}` as ControlKey,
  tables: (pipeline: string) => `table/${pipeline}/`,
  /** LoadRow; by the capture holder, by `snapshot`, and by the apply of a sink that came later. One for a table, and one for each sink that is loaded by itself. */
  load: (pipeline: string, table: TableId, sink: string | null) =>
    (sink === null ? `load/${pipeline}/${table}` : `load/${pipeline}/${table}@${sink}`) as ControlKey,
  loads: (pipeline: string) => `load/${pipeline}/`,
  /** SinkRow; by capture when a pipeline first starts, by apply, and by `schema approve`. */
  sink: (pipeline: string, sink: string) => `sink/${pipeline}/${sink}` as ControlKey,
  sinks: (pipeline: string) => `sink/${pipeline}/`,
  /** ReconcileRow; by whoever holds the lease of the sink's reconciliation. The newest runs of a sink. */
  reconcile: (pipeline: string, sink: string, run: string) => `reconcile/${pipeline}/${sink}/${run}` as ControlKey,
  reconciles: (pipeline: string) => `reconcile/${pipeline}/`,
  /** LeaseRow; by whoever reconciles the sink. */
  reconcileLease: (pipeline: string, sink: string) => `reconcile-lease/${pipeline}/${sink}` as ControlKey,
  reconcileLeases: (pipeline: string) => `reconcile-lease/${pipeline}/`,
  /** RequestRow of the kind `rows`: one for each table that is compared at once, as one process at a time reconciles a sink. */
  reconcileRequest: (pipeline: string, sink: string, lane: number) => `request/${pipeline}/reconcile@${sink}.${lane}` as ControlKey,
  /** DesiredRow; by the command line. */
  desired: (pipeline: string) => `desired/${pipeline}` as ControlKey,
  /** RequestRow; by the command line, by apply and by reconciliation, answered by the daemon. */
  request: (pipeline: string, id: string) => `request/${pipeline}/${id}` as ControlKey,
  requests: (pipeline: string) => `request/${pipeline}/`,
  /** RequestRow of the kind `rows`, by apply: the one of a sink's partition, for keys that are parked for want of a base. */
  repair: (pipeline: string, sink: string, partition: number) => `request/${pipeline}/repair/${sink}/${partition}` as ControlKey,
  repairs: (pipeline: string, sink: string) => `request/${pipeline}/repair/${sink}/`,
  /** RequestRow of the kind `lease-step-down`: one a pipeline, as only the newest generation can be asked. */
  stepDown: (pipeline: string) => `request/${pipeline}/step-down` as ControlKey,
  /** StatusRow; by the daemon, for commands that run beside it. */
  status: (pipeline: string) => `status/${pipeline}` as ControlKey,
  /** WorkerRow; by each daemon that applies partitions while another one captures, under a random name. */
  worker: (pipeline: string, name: string) => `worker/${pipeline}/${name}` as ControlKey,
  workers: (pipeline: string) => `worker/${pipeline}/`,
} as const;

/** A lease never goes away: release keeps the row, so that the token never starts again. */
export type LeaseRow = {
  readonly token: FencingToken;
  /** Random name of the holder, null after a clean release. */
  readonly holder: string | null;
  /** For people: host and process id. */
  readonly describedAs: string | null;
  readonly ttlMs: number;
  /** Moves with each renewal. A challenger takes over once it has not moved for `ttlMs` on the challenger's own clock. */
  readonly renewals: number;
};

export type PartitionCheckpoint = CounterPair & {
  /** Offset of the record that has this pair. */
  readonly offset: Offset;
};

/** The fence of what may be acknowledged. Written by compare-and-swap on `generation`. */
export type CheckpointRow = {
  readonly generation: FencingToken;
  readonly holder: string;
  readonly epoch: Epoch;
  /** Everything up to here is durable in the log. The source may be told so only after this row is stored. */
  readonly position: Position;
  /** Of the last whole transaction; null before the first. */
  readonly sequence: Sequence | null;
  /** Last record acknowledged in each partition; null where nothing was published yet. */
  readonly partitions: readonly (PartitionCheckpoint | null)[];
  /** The source's count of our heartbeats, as it was told last; absent before the first, and where the role may not count. */
  readonly heartbeats?: number | undefined;
  /** Transactions up to `position` that reads of the source do not show yet. Means nothing where the row's position is another one. */
  readonly unshown?: UnshownTransactions | undefined;
};

/** `ids`: as the source names them. */
export type UnshownTransactions = { readonly position: Position; readonly ids: readonly string[] };

export type EpochRow = {
  readonly epoch: Epoch;
  /** What the source called itself: system identifier and timeline. Another one is another history. */
  readonly identity: SourceIdentity;
  readonly fork: string;
  /** The newest marks that captures left in the source, the newest last. Absent in rows of older releases. */
  readonly lineage?: readonly LineageMark[] | undefined;
};

/** A random row in the source, and a position at or behind its commit. */
export type LineageMark = { readonly id: string; readonly position: Position };

export type SourceIdentity = { readonly system: string; readonly timeline: number };

export type TableState = 'streaming' | 'resync_required' | 'stopped';

/** One compare-and-swap stores a table's fingerprint together with the state that a difference caused. */
export type TableRow = {
  readonly table: TableId;
  readonly state: TableState;
  /** Why the state is not `streaming`: a finding's code and words for people. */
  readonly reason: { readonly code: string; readonly text: string } | null;
  readonly fingerprint: TableFingerprint;
  /** The schema versions that may still stand in the log, the newest last; the newest 200 of more. */
  readonly schemas: readonly TableSchema[];
  /** As the source last told them: what a sink makes later, and what `check` prints when the source is gone. */
  readonly companions?: TableCompanions | undefined;
  /** Differences that ask for a reconcile: counted, never cleared by themselves. */
  readonly reconcileWanted: number;
};

/**
 * `hash` alone decides whether something differs; `facts` are the connector's, for saying what. `relation` is what the source
 * itself knows the table by, whatever its name is; absent where it has no such thing, and in rows of older releases.
 */
export type TableFingerprint = { readonly hash: string; readonly facts: unknown; readonly relation?: string | undefined };

export type SinkRow = {
  /** `new` until the start offsets are written as progress in every partition. */
  readonly state: 'new' | 'known' | 'resync_required';
  readonly reason: { readonly code: string; readonly text: string } | null;
  /** Random name under which this deployment claims what the sink keeps, so that another one with the same names is told apart. */
  readonly owner: string;
  readonly startOffsets: readonly Offset[];
  /** Generation of the checkpoint when the start offsets were taken; its counter is not known. */
  readonly startGeneration: FencingToken;
  /** Tables whose new schema waits for approval. */
  readonly blocked: readonly SchemaBlock[];
  /** Tables that a sink which came later holds nothing of, until a load of its own is asked for; absent once all are. */
  readonly owes?: readonly TableId[] | undefined;
};

export type SchemaBlock = {
  readonly table: TableId;
  readonly version: SchemaVersion;
  readonly reasons: readonly string[];
  readonly approved: boolean;
};

/** What the operator wants; the daemon follows. */
export type DesiredRow = { readonly paused: boolean; readonly pausedSinks: readonly string[] };

export type RequestRow = {
  readonly kind: 'dlq-replay' | 'dlq-discard' | 'lease-step-down' | 'rows';
  readonly args: Readonly<Record<string, unknown>>;
  readonly state: 'pending' | 'done' | 'failed';
  readonly result: string | null;
};

/** `args` of a `lease-step-down` request: it is about this generation alone, and so is over when another one began. */
export type StepDownArgs = { readonly generation: FencingToken };

/** Written every few seconds by the process that holds the capture lease. */
export type StatusRow = { readonly writtenAtWallMs: number; readonly document: unknown };

/** What a process applies of each sink, beside the one that captures. */
export type WorkerRow = { readonly writtenAtWallMs: number; readonly describedAs: string; readonly sinks: unknown };
