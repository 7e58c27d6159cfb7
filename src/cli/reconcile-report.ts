import { countsOf, type ReconcileRow } from '#core/reconcile-row.ts';
import type { CommandContext } from './context.ts';
import { formatAge, printTable, type Io } from './io.ts';

const PROGRESS_MS = 5_000;

/** A line on stderr now and then, of a run that takes long. */
export class Progress {
  readonly #context: CommandContext;
  readonly #row: () => ReconcileRow;
  readonly #ended = new AbortController();

  constructor(context: CommandContext, row: () => ReconcileRow) {
    this.#context = context;
    this.#row = row;
  }

  /** Until the end. */
  async run(signal: AbortSignal): Promise<void> {
    const { io, parts } = this.#context;
    const either = AbortSignal.any([signal, this.#ended.signal]);
    try {
      while (true) {
        await parts.runtime.sleep(PROGRESS_MS, either);
        io.stderr(`${lineOf(this.#row(), parts.runtime.wallMs())}\n`);
      }
    } catch (error) {
      if (!either.aborted) throw error;
    }
  }

  end(): void {
    this.#ended.abort();
  }
}

function lineOf(row: ReconcileRow, nowWallMs: number): string {
  const { rows, missing, extra, mismatched } = countsOf(row);
  const done = row.tables.filter(({ state }) => state === 'compared' || state === 'inconclusive').length;
  const seconds = Math.max(0.001, (nowWallMs - row.startedAtWallMs) / 1_000);
  const now = row.tables.find(({ state }) => state === 'running')?.table ?? '';
  return (
    `${row.sink}: ${done} of ${row.tables.length} tables${now === '' ? '' : `, now ${now}`}; ${rows} rows, ${Math.round(rows / seconds)}/s; ` +
    `${missing} missing, ${extra} extra, ${mismatched} mismatched`
  );
}

/** Counts alone: keys are what `report` prints. */
export function printRun(io: Io, row: ReconcileRow): void {
  const { run, sink, verdict, state, startedAtWallMs, endedAtWallMs } = row;
  printTable(
    io,
    ['TABLE', 'STATE', 'ROWS', 'MISSING', 'EXTRA', 'MISMATCHED', 'PARKED', 'SETTLED', 'REPAIRED'],
    row.tables.map(({ table, state: of, counts }) => [
      table,
      of,
      ...[counts.rows, counts.missing, counts.extra, counts.mismatched, counts.parked, counts.settled, counts.repaired].map(String),
    ]),
  );
  for (const { table, reason, schemaDifferences } of row.tables) {
    if (reason !== null) io.stdout(`${table}: ${reason}\n`);
    for (const difference of schemaDifferences) io.stdout(`${table}: schema: ${difference}\n`);
  }
  const took = endedAtWallMs === null ? '' : ` in ${formatAge(endedAtWallMs - startedAtWallMs)}`;
  io.stdout(`${sink}: run ${run}: ${verdict ?? state}${took}\n`);
}
