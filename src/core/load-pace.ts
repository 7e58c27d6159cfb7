import { isUnderWay, type LoadRow } from './load-row.ts';

/** `percent` and `secondsLeft` are null where the source did not estimate how many rows there are. */
export type LoadPace = { readonly rowsPerSecond: number; readonly percent: number | null; readonly secondsLeft: number | null };

/** By the rows that the source estimated when the load began, and by the rate since then. */
export function paceOf(row: LoadRow, nowWallMs: number): LoadPace {
  const seconds = Math.max(0.001, ((row.endedAtWallMs ?? nowWallMs) - row.startedAtWallMs) / 1_000);
  const rowsPerSecond = row.rows / seconds;
  if (row.state === 'done') return { rowsPerSecond, percent: 100, secondsLeft: 0 };
  const { rowsExpected } = row;
  if (rowsExpected === null || rowsExpected <= 0) return { rowsPerSecond, percent: null, secondsLeft: null };
  // An estimate: more rows than were expected are no end.
  const percent = Math.min(99, (100 * row.rows) / rowsExpected);
  const left = Math.max(0, rowsExpected - row.rows);
  return { rowsPerSecond, percent, secondsLeft: rowsPerSecond > 0 && isUnderWay(row) && !row.paused ? left / rowsPerSecond : null };
}
