import type { LineageMark, SourceIdentity, TableFingerprint } from './control-rows.ts';
import type { SourceMessage } from './event.ts';
import type { Finding } from './finding.ts';
import type { EpochMicros, Position } from './position.ts';
import type { RowReader } from './row-reader.ts';
import type { TableCompanions, TableId, TableSchema } from './schema.ts';

export type SlotFacts = {
  /** What the source has been told it may forget. */
  readonly position: Position;
  readonly active: boolean;
  /** Why the source can no longer serve from here (`wal_status` lost, an invalidation reason); null where it can. */
  readonly unusable: string | null;
  /** Log bytes that the source keeps for us. */
  readonly retainedBytes: number;
  /** Log bytes after what we acknowledged. */
  readonly backlogBytes: number;
  /** Bytes that may still be written before the source gives the slot up; null where it never does. */
  readonly headroomBytes: number | null;
  readonly walStatus: string | null;
  readonly name: string;
  /** What turns the source's log into the stream. */
  readonly plugin: string;
  /** True for one that a standby of the source can take over. */
  readonly failover: boolean;
  /** Bytes of large transactions that the source wrote to its disk while it read its log for us, as it counts them; null where it does not tell. */
  readonly spilledBytes: number | null;
  /** Age of the oldest open transaction that has written: the log is kept from its beginning on. 0 for none, null where it cannot be seen. */
  readonly openTransactionSeconds: number | null;
};

export type CapturedTable = {
  readonly schema: TableSchema;
  readonly fingerprint: TableFingerprint;
  /** Absent where the source tells none. */
  readonly companions?: TableCompanions | undefined;
  /** False where the table holds no row now. */
  readonly holdsRows: boolean;
  /** As the source estimates; null or absent where it does not. */
  readonly rowsExpected?: number | null | undefined;
};

/** A configured table that cannot be captured, with the mend; or one that appeared later and is not captured yet. */
export type RefusedTable = { readonly table: TableId; readonly code: string; readonly reason: string; readonly mend: string };

/** The code of a table that could be captured and is not, because it appeared after the pipeline had started. */
export const TABLE_NOT_LOADED = 'table_not_loaded';

export function notLoaded(table: TableId): RefusedTable {
  return {
    table,
    code: TABLE_NOT_LOADED,
    reason: 'the table appeared after the pipeline had started, and is not captured',
    mend: `causeway snapshot start --table ${table}`,
  };
}

/** `heartbeats`: how many were ever counted, 0 where the counter is gone. */
export type LineageFacts = { readonly marks: readonly string[]; readonly heartbeats: number };

/** `counter` is null where the role may not write. */
export type Heartbeat = { readonly at: EpochMicros; readonly counter: number | null };

/** All read on one connection; tables and fingerprints in one snapshot. */
export type SourceFacts = {
  readonly identity: SourceIdentity;
  readonly slot: SlotFacts | null;
  readonly tables: readonly CapturedTable[];
  readonly refused: readonly RefusedTable[];
  /** Position of the source's log end. */
  readonly head: Position;
  /** Our marks that are there; null where the role may not look. */
  readonly lineage: LineageFacts | null;
  readonly now: EpochMicros;
};

/**
 * What a changed fingerprint asks for; several differences give the gravest. `keep` is what is to be stored in place of the
 * current one, where more than it has to be remembered.
 */
export type FingerprintVerdict = { readonly keep?: TableFingerprint | undefined } & FingerprintDemand;

type FingerprintDemand =
  | { readonly tag: 'same' }
  /** Nothing was lost and nothing is to be done, such as an added nullable column. */
  | { readonly tag: 'harmless'; readonly text: string }
  /** `onlyFiles`: all that differs is where the rows lie, which a truncate brings about as well. */
  | { readonly tag: 'reconcile'; readonly text: string; readonly onlyFiles?: boolean | undefined }
  | { readonly tag: 'resync_required'; readonly text: string }
  /** Changes of the table are dropped from now on. */
  | { readonly tag: 'stopped'; readonly text: string };

/**
 * A database whose log is captured. Errors, as CausewayError: `source_unavailable` (retried), `source_misconfigured`,
 * `source_permission`, `source_slot_in_use`, `source_slot_lost`, `source_version`, `source_table_refused`, `source_stream_invalid`.
 * Every implementation passes test/contract/source.ts.
 */
export interface Source extends AsyncDisposable {
  readonly kind: string;
  /** Looks, changes nothing. Ids PG-…, MY-…. */
  check(signal: AbortSignal): Promise<readonly Finding[]>;
  inspect(signal: AbortSignal): Promise<SourceFacts>;
  /** Names the database as `Sink.database` would name the same one, whatever address leads to it. Absent where no sink can be the source. */
  database?(signal: AbortSignal): Promise<string>;
  /**
   * Makes what capture needs at the source and is not there: publication, schema `causeway`. With `slot: 'create'` also the
   * slot, with `'recreate'` a new one in place of the old. Idempotent. Returns where a slot that was made begins.
   */
  provision(slot: 'keep' | 'create' | 'recreate', signal: AbortSignal): Promise<Position | null>;
  /**
   * Makes the stream carry these tables too, from the next `open` on: asked for again and again, beside an open stream. Returns those of
   * which every change is carried that reads do not show yet, or that commits from now on; one that a transaction from before still
   * writes is left out until that is over. A table that is not there, or cannot be captured, is never among them.
   */
  follow(tables: readonly TableId[], signal: AbortSignal): Promise<readonly TableId[]>;
  /** Drops slot, publication and what we wrote at the source. Returns what was dropped, for people. */
  deprovision(signal: AbortSignal): Promise<readonly string[]>;
  /** Takes the slot, ending a connection that holds it, and streams from the slot's own position. */
  open(signal: AbortSignal): Promise<SourceStream>;
  /** A connection for reads beside the stream, made when it is first used: on the server whose log an open stream shows. */
  rows(): RowReader;
  /** Negative, 0 or positive. Within one epoch only. */
  comparePositions(a: Position, b: Position): number;
  /** `truncatedBy`: the transaction of the newest truncate of the table that the stream has shown since `stored`, as its begin names it. */
  compareFingerprints(stored: TableFingerprint, current: TableFingerprint, truncatedBy?: string | null): FingerprintVerdict;
  /**
   * Writes a heartbeat through the source's log: it comes back in the stream as a transaction with a `message` of the prefix
   * `causeway`. A role without the right to write still gets the message, without the stored counter.
   */
  heartbeat(signal: AbortSignal): Promise<Heartbeat>;
  /**
   * Adds a random mark, which a server that is restored to an earlier state will lack. Returned with a position at or behind its
   * commit; null where the role may not write.
   */
  addMark(signal: AbortSignal): Promise<LineageMark | null>;
  /** Drops marks that nobody compares any more. */
  dropMarks(ids: readonly string[], signal: AbortSignal): Promise<void>;
}

export interface SourceStream extends AsyncDisposable {
  /**
   * Messages in order, in arrays bounded by bytes. Pull: the source's socket is read only while the caller keeps asking. Aborting
   * the signal closes the connection at once; a caller that leaves the iteration can still acknowledge.
   */
  messages(signal: AbortSignal): AsyncIterable<readonly SourceMessage[]>;
  /**
   * Tells the source that it may forget everything up to `position`: called only after the checkpoint is stored. Sent soon,
   * repeated by itself well within the server's time-out, never falling. Disposing of the stream waits, not for long, until the
   * source has taken it.
   */
  acknowledge(position: Position): void;
}

/** The prefix of logical messages that are ours. */
export const MESSAGE_PREFIX = 'causeway';
