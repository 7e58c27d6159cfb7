import type { SchemaBlock } from '#core/control-rows.ts';
import type { ReconcileCounts } from '#core/reconcile-row.ts';

/** The JSON of /api/v1/status, of `causeway status -o json` and of the status row. No value of a row, no credential. */
export type StatusDocument = {
  readonly apiVersion: 'causeway/v1';
  readonly kind: 'Status';
  readonly version: string;
  /** Host and process id of the daemon. */
  readonly process: string;
  readonly startedAtWallMs: number;
  readonly writtenAtWallMs: number;
  readonly pipelines: readonly PipelineStatus[];
};

/**
 * `standby`: another process captures. `retrying`: something that passes, tried again with backoff. `failed`: waits for a person, looked
 * at again every ten seconds. `paused`: by `causeway pipeline pause`.
 */
export const pipelineStates = ['starting', 'standby', 'streaming', 'paused', 'retrying', 'failed', 'stopped'] as const;
export type PipelineState = (typeof pipelineStates)[number];

export const sinkStates = ['waiting', 'starting', 'running', 'retrying', 'blocked', 'paused', 'failed', 'stopping', 'stopped'] as const;
export type SinkState = (typeof sinkStates)[number];

export type Trouble = { readonly code: string; readonly message: string; readonly mend: string; readonly sinceWallMs: number };

export type LeaseStatus = {
  readonly held: boolean;
  readonly generation: number | null;
  readonly holder: string | null;
  readonly ttlMs: number;
  readonly expiresAtWallMs: number | null;
  /** Until the held lease ends unless it is renewed; null where this process does not hold it. */
  readonly expiresInSeconds: number | null;
};

export type SlotStatus = {
  readonly name: string;
  readonly active: boolean;
  readonly walStatus: string | null;
  readonly unusable: string | null;
  readonly retainedBytes: number;
  readonly backlogBytes: number;
  readonly headroomBytes: number | null;
};

export type TableStatus = {
  readonly table: string;
  readonly state: string;
  readonly reason: string | null;
  readonly reconcileWanted: number;
};

/** A load of a table that is not over. No key: where it stands is a row's. */
export type LoadStatus = {
  readonly table: string;
  /** The only sink that the rows are for; null for all. */
  readonly sink: string | null;
  readonly state: string;
  readonly paused: boolean;
  /** Published and durable in the log; `bytes` as the source sent them. */
  readonly rows: number;
  readonly bytes: number;
  /** As the source estimated them when the load began; null where it did not. */
  readonly rowsExpected: number | null;
  readonly percent: number | null;
  readonly secondsLeft: number | null;
  readonly startedAtWallMs: number;
};

/** The newest comparison of source and sink. */
export type ReconcileStatus = {
  readonly run: string;
  readonly state: 'running' | 'ended';
  readonly verdict: string | null;
  readonly startedAtWallMs: number;
  readonly endedAtWallMs: number | null;
  readonly counts: ReconcileCounts;
};

/** A partition of the log that this process applies. */
export type PartitionStatus = {
  readonly partition: number;
  readonly state: string;
  /** Records of the log from its progress to the end; null while either is not known. */
  readonly lagRecords: number | null;
};

export type SinkStatus = {
  readonly name: string;
  readonly kind: string;
  readonly state: SinkState;
  readonly trouble: Trouble | null;
  /** Tables that are being loaded there, or of which a load is still to come: the watermark says nothing of them. */
  readonly loading: readonly string[];
  /** Everything at or below it is at the sink, except parked keys. Null where all tables are being loaded. */
  readonly watermark: { readonly sequence: string; readonly sourceTimeMicros: number } | null;
  /** Age of the watermark on the source's clock; null while either is not known. */
  readonly lagSeconds: number | null;
  /** Over the partitions that this process applies; null while one of them does not know. */
  readonly lagRecords: number | null;
  /** Those that this process applies; the others are told by the processes that apply them. */
  readonly partitions: readonly PartitionStatus[];
  readonly parkedKeys: number;
  /** Those among them whose rows are asked for from the source by themselves. */
  readonly parkedAwaitingRepair: number;
  readonly parkedOldestMicros: number | null;
  readonly blocked: readonly SchemaBlock[];
  readonly inFlightRows: number;
  /** Null where there was none, and where another process captures. */
  readonly reconcile: ReconcileStatus | null;
};

export type PipelineStatus = {
  readonly name: string;
  readonly state: PipelineState;
  readonly trouble: Trouble | null;
  readonly roles: readonly string[];
  readonly lease: LeaseStatus | null;
  readonly epoch: number | null;
  readonly position: string | null;
  /** Time up to which the source's log was read, on the source's clock. */
  readonly sourceTimeMicros: number | null;
  /** Local clock minus the source's. */
  readonly clockSkewMs: number | null;
  readonly slot: SlotStatus | null;
  readonly log: { readonly kind: string; readonly bytes: number | null; readonly bytesMax: number | null } | null;
  readonly tables: readonly TableStatus[];
  /** Tables that match the configuration and are not captured, with the command or statement that mends it. */
  readonly refused: readonly { readonly table: string; readonly code: string; readonly reason: string; readonly mend: string }[];
  /** Why loads read no rows for now, and what to do; null where they go on. The stream is not concerned. */
  readonly loadsHeld: { readonly reason: string; readonly mend: string; readonly sinceWallMs: number } | null;
  /** Those under way, as the process that captures knows them. */
  readonly loads: readonly LoadStatus[];
  readonly sinks: readonly SinkStatus[];
};
