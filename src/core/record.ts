import type { RowKey } from './key.ts';
import type { Epoch, EpochMicros, FencingToken, Position } from './position.ts';
import type { SchemaVersion, TableId, TableSchema } from './schema.ts';
import type { Sequence } from './sequence.ts';
import type { Row } from './value.ts';

/** What every record of the log carries. */
export type Envelope = {
  readonly generation: FencingToken;
  /** Short form of the random name of the generation's holder. */
  readonly holder: string;
  /** The partition's dense counter: 1 for `generation-open`, one more for each record of the generation behind it. */
  readonly counter: number;
};

/** A place in a partition's dense counters. Compared by generation, then counter. */
export type CounterPair = { readonly generation: FencingToken; readonly counter: number };

export type ChangeOp = 'insert' | 'update' | 'delete' | 'read' | 'repair';

export type ChangeRecord = {
  readonly tag: 'change';
  readonly table: TableId;
  readonly schemaVersion: SchemaVersion;
  readonly key: RowKey;
  readonly sequence: Sequence;
  readonly op: ChangeOp;
  /**
   * Values in the order of the schema's columns; an undefined one makes the change partial. Null for a delete (also a
   * `repair` that deletes), and for a change that could not be published whole: then `withheld` says why, and it parks its key.
   */
  readonly row: Row | null;
  readonly withheld: string | null;
  readonly committedAt: EpochMicros;
  readonly transactionId: string;
  readonly origin: string | null;
  /** W3C trace context, if there is one. */
  readonly trace: string | null;
  /** The only sink that these rows are for; null for all. */
  readonly sink: string | null;
};

export type ControlRecord =
  | { readonly tag: 'truncate'; readonly table: TableId; readonly sequence: Sequence; readonly committedAt: EpochMicros }
  | { readonly tag: 'schema'; readonly schema: TableSchema }
  | WatermarkRecord
  | { readonly tag: 'load-open' | 'load-close'; readonly table: TableId; readonly sink: string | null }
  | GenerationOpenRecord
  | { readonly tag: 'epoch-open'; readonly epoch: Epoch; readonly fork: bigint };

/** Everything of the partition at or below `sequence` stands before it. */
export type WatermarkRecord = {
  readonly tag: 'watermark';
  readonly sequence: Sequence;
  readonly position: Position;
  /** The source's clock when everything up to here was known to be captured. */
  readonly sourceTime: EpochMicros;
  readonly requestId: string | null;
};

export type GenerationOpenRecord = {
  readonly tag: 'generation-open';
  readonly epoch: Epoch;
  /** Where this epoch's history left the one before it; 0 for the first epoch and for an unknown fork. */
  readonly fork: bigint;
  /** Partitions of the topic, fixed for its life. */
  readonly partitions: number;
  /** The pair last acknowledged in this partition. A reader that has not reached it has lost a tail. Null: nothing ever was. */
  readonly acknowledged: CounterPair | null;
};

export type LogRecord = Envelope & (ChangeRecord | ControlRecord);

/** The end of a batch: folding never crosses one of these. A watermark does not end it. */
export function endsBatch(record: LogRecord): boolean {
  return record.tag !== 'change' && record.tag !== 'watermark';
}

export function comparePairs(a: CounterPair, b: CounterPair): number {
  return a.generation === b.generation ? a.counter - b.counter : a.generation - b.generation;
}
