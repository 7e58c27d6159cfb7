import { controlKeys } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { countsOf, differencesIn, type ReconcileRow, type ReconcileVerdict } from '#core/reconcile-row.ts';
import { codeOf, policyFor } from '#core/errors.ts';
import { untilBeatMs, type Runtime } from '#core/runtime.ts';
import type { ReconcileStatus } from '../http/status-document.ts';
import type { SetGauge } from '../metrics/registry.ts';
import { isAborted } from './aborted.ts';

/** Runs end seldom. */
const POLL_MS = 15_000;

/** Those that say something of every row that they were asked to compare. */
const CONCLUSIVE: ReadonlySet<ReconcileVerdict | null> = new Set(['clean', 'differences']);

/** The runs of all sinks, read now and then by the process that captures: jobs that compare have no metrics of their own. */
export async function followReconciles(
  deps: {
    readonly pipeline: string;
    readonly control: ControlStore;
    readonly runtime: Runtime;
    readonly captures: () => boolean;
    readonly onRuns: (runs: readonly ReconcileRow[]) => void;
  },
  signal: AbortSignal,
): Promise<void> {
  const { pipeline, control, runtime, captures, onRuns } = deps;
  while (!isAborted(signal)) {
    try {
      onRuns(captures() ? (await control.list(controlKeys.reconciles(pipeline), signal)).map(({ value }) => value as ReconcileRow) : []);
    } catch (error) {
      if (isAborted(signal)) return;
      // What was read last still holds.
      if (policyFor(codeOf(error)).retry === 'fatal') throw error;
    }
    try {
      await runtime.sleep(untilBeatMs(POLL_MS, runtime.monotonicMs()), signal);
    } catch (error) {
      if (!isAborted(signal)) throw error;
    }
  }
}

export function reconcileStatus(runs: readonly ReconcileRow[], sink: string): ReconcileStatus | null {
  const newest = newestOf(runs, (row) => row.sink === sink);
  if (newest === null) return null;
  const { run, state, verdict, startedAtWallMs, endedAtWallMs } = newest;
  return { run, state, verdict, startedAtWallMs, endedAtWallMs, counts: countsOf(newest) };
}

export function reconcileGauges(
  labels: { readonly pipeline: string; readonly sink: string },
  runs: readonly ReconcileRow[],
  set: SetGauge,
): void {
  const own = runs.filter(({ sink }) => sink === labels.sink);
  if (own.length === 0) return;
  set('causeway_reconcile_running', labels, newestOf(own, () => true)?.state === 'running' ? 1 : 0);
  // One that looked at some tables or keys alone says nothing of the others.
  const last = newestOf(own, ({ verdict, selection: { tables, sample, since } }) => {
    return CONCLUSIVE.has(verdict) && tables === null && sample === null && since === null;
  });
  if (last === null || last.endedAtWallMs === null) return;
  const counts = countsOf(last);
  set('causeway_reconcile_last_success_timestamp_seconds', labels, last.endedAtWallMs / 1_000);
  set('causeway_reconcile_duration_seconds', labels, (last.endedAtWallMs - last.startedAtWallMs) / 1_000);
  set('causeway_reconcile_rows_compared', labels, counts.rows);
  for (const kind of ['missing', 'extra', 'mismatched'] as const) {
    set('causeway_reconcile_mismatched_rows', { ...labels, kind }, counts[kind]);
  }
}

/** For people, on one line. */
export function reconcileText({ run, state, verdict, counts }: ReconcileStatus): string {
  const found = `${counts.rows} rows, ${differencesIn(counts)} differences, ${counts.parked} parked`;
  return state === 'running' ? `reconciliation ${run} is under way: ${found}` : `reconciliation ${run}: ${verdict ?? 'left'}, ${found}`;
}

function newestOf(runs: readonly ReconcileRow[], accepts: (row: ReconcileRow) => boolean): ReconcileRow | null {
  return runs
    .filter(accepts)
    .reduce<ReconcileRow | null>((newest, row) => (newest === null || row.startedAtWallMs > newest.startedAtWallMs ? row : newest), null);
}
