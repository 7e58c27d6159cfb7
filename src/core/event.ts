import type { RowKey } from './key.ts';
import type { EpochMicros, Position } from './position.ts';
import type { TableId, TableSchema } from './schema.ts';
import type { Row } from './value.ts';

/**
 * What a source's stream shows, in commit order. A transaction is `begin`, its changes, `commit`; only committed
 * transactions are shown. `schema` stands before the first change of its version, after every connect too.
 */
export type SourceMessage =
  | SourceBegin
  | SourceChange
  | { readonly tag: 'truncate'; readonly tables: readonly TableSchema[]; readonly change: bigint }
  | { readonly tag: 'schema'; readonly schema: TableSchema }
  /** From here on changes of the table are left out, as the log cannot show them rightly any more. Stored before anything later is acknowledged. */
  | { readonly tag: 'stopped'; readonly table: TableId; readonly reason: string }
  /** A message that somebody wrote into the source's log. Those of our own prefix carry heartbeats and barriers. */
  | { readonly tag: 'message'; readonly prefix: string; readonly content: string; readonly transactional: boolean }
  /** `position` is the end of the transaction: everything up to it may be acknowledged once it is durable. */
  | { readonly tag: 'commit'; readonly position: Position }
  /** The source's log was read up to here, outside of any transaction. */
  | { readonly tag: 'keepalive'; readonly position: Position };

export type SourceBegin = {
  readonly tag: 'begin';
  /** The commit part of the sequence. Rises strictly from transaction to transaction. */
  readonly commit: bigint;
  readonly transactionId: string;
  readonly committedAt: EpochMicros;
  /** Where the transaction came from, if the source knows one: a replication origin's name. */
  readonly origin: string | null;
};

export type SourceChange = {
  readonly tag: 'change';
  readonly schema: TableSchema;
  /** The change part of the sequence. Rises inside a transaction, except that rows of one COPY record share it. */
  readonly change: bigint;
} & (
  | { readonly op: 'insert'; readonly key: RowKey; readonly row: Row }
  /** `oldKey` is there when the update gave the row another key. An undefined value is an unchanged large column. */
  | { readonly op: 'update'; readonly key: RowKey; readonly row: Row; readonly oldKey: RowKey | null }
  | { readonly op: 'delete'; readonly key: RowKey }
  /** A row that cannot be shown as values (for example text that is not valid in the encoding); the key still can. */
  | { readonly op: 'unreadable'; readonly key: RowKey; readonly reason: string }
);
