import type { RowKey } from './key.ts';
import type { FencingToken } from './position.ts';
import type { TableId } from './schema.ts';

/** `open` until `load-open` is durable in every partition, `close` and `cancel` until `load-close` is. */
export type LoadState = 'open' | 'reading' | 'close' | 'done' | 'cancel' | 'cancelled';

/** A load of a table's rows, beside the stream. It goes on behind `after`, whoever holds the lease. */
export type LoadRow = {
  /** Tells a load from an earlier one with the same key. Of one that a new sink owes itself: the sink's owner. Absent for others. */
  readonly id?: string | undefined;
  readonly table: TableId;
  /** The only sink that the rows are for; null for all. */
  readonly sink: string | null;
  readonly state: LoadState;
  readonly paused: boolean;
  /** Every row up to this key is durable in the log, or its change is; null before the first chunk. */
  readonly after: RowKey | null;
  /** Of the rows published, as the source sent them. */
  readonly rows: number;
  readonly bytes: number;
  readonly chunks: number;
  /** Rows of the table when the load began, as the source estimates them; null where it does not. */
  readonly rowsExpected: number | null;
  readonly startedAtWallMs: number;
  readonly endedAtWallMs: number | null;
  /** Of the holder that wrote the row last; 0 before the first. A lower one writes nothing. */
  readonly generation: FencingToken;
};

/** A load that has not begun. `rowsExpected`: null where nobody has estimated. */
export function newLoad(of: {
  readonly id?: string;
  readonly table: TableId;
  readonly sink: string | null;
  readonly rowsExpected: number | null;
  readonly wallMs: number;
}): LoadRow {
  const { id, table, sink, rowsExpected, wallMs } = of;
  return {
    ...(id === undefined ? {} : { id }),
    table,
    sink,
    state: 'open',
    paused: false,
    after: null,
    rows: 0,
    bytes: 0,
    chunks: 0,
    rowsExpected,
    startedAtWallMs: wallMs,
    endedAtWallMs: null,
    generation: 0 as FencingToken,
  };
}

/** True while something of it is left to be done. */
export function isUnderWay({ state }: LoadRow): boolean {
  return state !== 'done' && state !== 'cancelled';
}
