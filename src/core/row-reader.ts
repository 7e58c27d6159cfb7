import type { RowKey } from './key.ts';
import type { EpochMicros } from './position.ts';
import type { TableId, TableSchema } from './schema.ts';
import type { Row } from './value.ts';

/**
 * What reads of a source see. A source may show a commit in its stream before its reads show it, for long if a standby that it waits for
 * stalls; so the order of the log alone does not tell what a read has seen.
 */
export type RowSnapshot = {
  /** True where reads under it show what the transaction did. Asked of committed ones alone, by the id that their `begin` has. */
  shows(transactionId: string): boolean;
  /** True where it shows everything that was committed when `earlier` was taken, whatever `earlier` itself shows. */
  showsAllBefore(earlier: RowSnapshot): boolean;
};

/** Which rows are read. Keys are ordered as the source orders them. */
export type RowRange =
  /** Behind `after`, which is left out, up to `upTo`, which belongs to it. Null: from the first key, to the last one. */
  | { readonly tag: 'between'; readonly after: RowKey | null; readonly upTo: RowKey | null }
  /** Those among them that exist, in any order. */
  | { readonly tag: 'keys'; readonly keys: readonly RowKey[] };

export type RowsWanted = {
  readonly table: TableId;
  readonly range: RowRange;
  readonly rowsMax: number;
  /** Of the rows as the source sends them. Reading ends behind the row that reaches it. */
  readonly bytesMax: number;
  /** Asked before anything is read. False: nothing is. */
  readonly accepts: (snapshot: RowSnapshot) => boolean;
};

/** `row` is null for one that cannot be shown as values; `withheld` then says why. */
export type RowRead = { readonly key: RowKey; readonly row: Row | null; readonly withheld: string | null };

export type RowsRead = {
  readonly snapshot: RowSnapshot;
  /** The source's clock when the snapshot was taken: no commit that it shows is later. */
  readonly readAt: EpochMicros;
  /** As the stream describes the table for changes that are made under this snapshot. */
  readonly schema: TableSchema;
  /** In the order of their keys, where a range was read. */
  readonly rows: readonly RowRead[];
  readonly bytes: number;
  /** False where a limit ended it: more rows may lie behind the last one. */
  readonly isWhole: boolean;
};

/**
 * Reads rows of captured tables on a connection of its own, to the server whose log is streamed. One call at a time. Every read is a
 * transaction of its own, so the source is never kept from cleaning up for longer than one read takes. Errors: those of `Source`, and
 * `source_table_refused` for a table that cannot be read by its key.
 */
export interface RowReader extends AsyncDisposable {
  /**
   * Writes a message of our prefix with this content into the source's log, in a transaction of its own: it comes back in the stream.
   * Resolves, or not, without regard to when it does: whoever needs the mark waits for it in the stream.
   */
  mark(content: string, signal: AbortSignal): Promise<void>;
  look(signal: AbortSignal): Promise<RowSnapshot>;
  /** Null where `accepts` said no. */
  read(wanted: RowsWanted, signal: AbortSignal): Promise<RowsRead | null>;
}
