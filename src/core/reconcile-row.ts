import type { RowKey } from './key.ts';
import type { EpochMicros, Offset } from './position.ts';
import type { TableId } from './schema.ts';

/** Of a table, or of a run. Parked keys are neither clean nor differences. */
export type ReconcileCounts = {
  /** Rows of the source that were compared. */
  readonly rows: number;
  readonly missing: number;
  readonly extra: number;
  readonly mismatched: number;
  /** Keys that the sink refused, which stand in its dead-letter queue. */
  readonly parked: number;
  /** Keys that changed in every round: they were published whole, so that the log itself settles them. */
  readonly settled: number;
  /** Of the differences: published again by the run itself. Whether that mended them the next run tells. */
  readonly repaired: number;
};

/** How far the two scans of a table have come: everything up to there is compared, and what differed is settled. */
export type ReconcilePlace = {
  readonly source: RowKey | null;
  readonly sink: RowKey | null;
  /** Keys that one scan has brought and the other has not, which were looked at by themselves: not to be counted again. */
  readonly apart: readonly RowKey[];
};

export type ReconcileTable = {
  readonly table: TableId;
  /** `inconclusive`: nothing can be said of it, and `reason` says why. */
  readonly state: 'pending' | 'running' | 'compared' | 'inconclusive';
  readonly reason: string | null;
  /** Where a run that is resumed goes on; null where it begins the table anew. */
  readonly place: ReconcilePlace | null;
  readonly counts: ReconcileCounts;
  /** What was found behind the place: a run that ends here has found it, and one that is resumed finds it again. Absent where nothing was. */
  readonly foundSince?: ReconcileCounts | undefined;
  /** As the source estimates; null where it does not. */
  readonly rowsExpected: number | null;
  /** What the sink's own table lacks or has otherwise, for people. */
  readonly schemaDifferences: readonly string[];
};

/** `partial`: it ended before every table was compared whole, or compared a sample alone. */
export type ReconcileVerdict = 'clean' | 'differences' | 'partial' | 'inconclusive';

export type ReconcileSelection = {
  /** Null for every captured table. */
  readonly tables: readonly TableId[] | null;
  /** Share of the source's chunks that are looked up at the sink; null for whole scans of both. */
  readonly sample: number | null;
  /** Run since whose cut, the log's ends when it began, a key must have changed; null for all keys. */
  readonly since: { readonly run: string; readonly cut: readonly Offset[] } | null;
};

/** One run, in the control store. Differences with their keys stand at the sink. */
export type ReconcileRow = {
  readonly run: string;
  readonly sink: string;
  readonly state: 'running' | 'ended';
  readonly selection: ReconcileSelection;
  /** The log's ends when it began: a key that changes no more behind them was compared as it is. */
  readonly cut: readonly Offset[];
  /** The source's clock then; null until a row was read. */
  readonly cutAt: EpochMicros | null;
  readonly startedAtWallMs: number;
  readonly endedAtWallMs: number | null;
  readonly tables: readonly ReconcileTable[];
  readonly verdict: ReconcileVerdict | null;
  /** Of the lease under which it was written last; a lower one writes nothing. */
  readonly token: number;
};

export const NO_COUNTS: ReconcileCounts = { rows: 0, missing: 0, extra: 0, mismatched: 0, parked: 0, settled: 0, repaired: 0 };

export function addCounts(a: ReconcileCounts, b: ReconcileCounts): ReconcileCounts {
  return {
    rows: a.rows + b.rows,
    missing: a.missing + b.missing,
    extra: a.extra + b.extra,
    mismatched: a.mismatched + b.mismatched,
    parked: a.parked + b.parked,
    settled: a.settled + b.settled,
    repaired: a.repaired + b.repaired,
  };
}

export function countsOf({ tables }: Pick<ReconcileRow, 'tables'>): ReconcileCounts {
  return tables.flatMap(({ counts, foundSince = NO_COUNTS }) => [counts, foundSince]).reduce(addCounts, NO_COUNTS);
}

/** The greater of each: what was found twice counts once. */
export function maxCounts(a: ReconcileCounts, b: ReconcileCounts): ReconcileCounts {
  return {
    rows: Math.max(a.rows, b.rows),
    missing: Math.max(a.missing, b.missing),
    extra: Math.max(a.extra, b.extra),
    mismatched: Math.max(a.mismatched, b.mismatched),
    parked: Math.max(a.parked, b.parked),
    settled: Math.max(a.settled, b.settled),
    repaired: Math.max(a.repaired, b.repaired),
  };
}

export function differencesIn({ missing, extra, mismatched }: ReconcileCounts): number {
  return missing + extra + mismatched;
}

/** What an ended run says. A difference is one whatever was left out; what could not be compared is never called clean. */
export function verdictOf({ tables, selection }: Pick<ReconcileRow, 'tables' | 'selection'>): ReconcileVerdict {
  if (differencesIn(countsOf({ tables })) > 0) return 'differences';
  if (tables.some(({ state }) => state === 'inconclusive')) return 'inconclusive';
  if (selection.sample !== null || tables.some(({ state }) => state !== 'compared')) return 'partial';
  return 'clean';
}
