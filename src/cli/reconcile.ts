import { controlKeys, type TableRow } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { parseDurationMs } from '#core/quantity.ts';
import { randomName } from '#core/random-name.ts';
import { NO_COUNTS, type ReconcileRow, type ReconcileSelection, type ReconcileVerdict } from '#core/reconcile-row.ts';
import type { TableId } from '#core/schema.ts';
import { jsonCodec } from '../codec/json.ts';
import type { PipelineConfig, SinkConfig } from '../config/config.ts';
import { defaultReconcileOptions, type ReconcileDeps } from '../reconcile/deps.ts';
import { RunRecord } from '../reconcile/run-record.ts';
import { reconcile } from '../reconcile/run.ts';
import { SpillFiles } from '../runtime/spill-files.ts';
import { loadedConfig, onePipeline, sinksOf, withControl, withLog, withSink, withSource, type CommandContext } from './context.ts';
import { printJson } from './io.ts';
import { withReconcileLease } from './reconcile-lease.ts';
import { printRun, Progress, withoutKeys } from './reconcile-report.ts';

/** Runs of a sink that are kept, with their differences. */
const RUNS_KEPT = 10;

/** Keys whose repair nobody has to allow: more differences than these have a cause that a repair does not mend. */
export const REPAIR_MAX = 1_000;

export type ReconcileOptions = {
  readonly sink?: string | undefined;
  readonly tables: readonly string[];
  readonly sample?: string | undefined;
  readonly since?: string | undefined;
  readonly maxDuration?: string | undefined;
  readonly rate?: string | undefined;
  readonly patience?: string | undefined;
  readonly repair?: boolean | undefined;
  readonly repairMax?: string | undefined;
};

/** Compares source and sinks, one sink after the other; the exit code is that of the gravest verdict. */
export async function run(context: CommandContext, options: ReconcileOptions): Promise<number> {
  assertReadable(options);
  return await eachSink(context, options, async (place) => await withRun(context, place, options, 'new'));
}

/** Goes on with the newest run of each sink that did not come to its end. */
export async function resume(context: CommandContext, options: ReconcileOptions): Promise<number> {
  assertReadable(options);
  return await eachSink(context, options, async (place) => await withRun(context, place, options, 'resume'));
}

/** What cannot be read is refused before anything is begun. */
function assertReadable(options: ReconcileOptions): void {
  shareOf(options);
  limitsOf(options);
  if (options.maxDuration !== undefined) duration(options.maxDuration, '--max-duration');
}

export type Place = { readonly control: ControlStore; readonly pipeline: PipelineConfig; readonly sink: SinkConfig };

const GRAVITY: readonly ReconcileVerdict[] = ['clean', 'partial', 'inconclusive', 'differences'];

export const EXIT_CODES: Readonly<Record<ReconcileVerdict, number>> = { clean: 0, differences: 3, partial: 8, inconclusive: 9 };

async function eachSink(
  context: CommandContext,
  options: ReconcileOptions,
  work: (place: Place) => Promise<ReconcileRow | null>,
): Promise<number> {
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, context.options.pipeline);
  return await withControl(context, config, async (control) => {
    const runs: ReconcileRow[] = [];
    let failure: CausewayError | null = null;
    // What one sink says does not depend on another one.
    for (const sink of sinksOf(pipeline, options.sink)) {
      try {
        const row = await work({ control, pipeline, sink });
        if (row === null) continue;
        runs.push(row);
        if (context.options.output === 'table') printRun(context.io, row);
      } catch (error) {
        if (context.io.signal.aborted || !(error instanceof CausewayError)) throw error;
        failure ??= error;
      }
    }
    if (failure !== null && runs.length === 0) throw failure;
    if (context.options.output === 'json') printJson(context.io, 'ReconcileList', { pipeline: pipeline.name, runs: runs.map(withoutKeys) });
    if (runs.length === 0) throw nothingToResume();
    const worst = GRAVITY[Math.max(...runs.map(({ verdict }) => GRAVITY.indexOf(verdict ?? 'partial')))] ?? 'partial';
    if (failure !== null && worst !== 'differences') throw failure;
    if (failure !== null) context.io.stderr(`${failure.code}: ${failure.message}\n`);
    return EXIT_CODES[worst];
  });
}

function nothingToResume(): CausewayError {
  return new CausewayError('refused', 'the newest run is at its end: begin another with `causeway reconcile run`');
}

async function withRun(
  context: CommandContext,
  place: Place,
  options: ReconcileOptions,
  how: 'new' | 'resume',
): Promise<ReconcileRow | null> {
  const { control, pipeline, sink } = place;
  return await withReconcileLease(context, { control, pipeline: pipeline.name, sink: sink.name }, async (lease, signal) =>
    withDeps(context, place, options, async (deps) => {
      const before = await runsOf(control, { pipeline: pipeline.name, sink: sink.name }, signal);
      const row = how === 'new' ? await newRun(deps, { ...options, before }, signal) : resumable(before, sink.name);
      if (row === null) return null;
      const record = new RunRecord({ control, pipeline: pipeline.name, row, token: lease.token });
      await record.change({ state: 'running', endedAtWallMs: null, verdict: null }, signal);
      await forget(deps, before, record.row.run, signal);
      const progress = new Progress(context, () => record.row);
      const timeUp = timeLimit(context, options.maxDuration, signal);
      try {
        const comparing = reconcile(deps, record, { stop: signal, timeUp: timeUp.signal }).finally(() => progress.end());
        await Promise.all([comparing, progress.run(signal)]);
      } finally {
        timeUp.end();
      }
      return record.row;
    }),
  );
}

export async function withDeps<T>(
  context: CommandContext,
  { control, pipeline, sink }: Place,
  options: Pick<ReconcileOptions, 'rate' | 'patience' | 'repair' | 'repairMax'>,
  work: (deps: ReconcileDeps) => Promise<T>,
): Promise<T> {
  const { parts } = context;
  const limits = limitsOf(options);
  return await withLog(context, pipeline, (log) =>
    withSource(context, pipeline, (source) =>
      withSink(context, { pipeline, sink, partitions: log.partitions }, (built) =>
        work({
          pipeline: pipeline.name,
          sinkName: sink.name,
          source,
          sink: built,
          log,
          control,
          codec: jsonCodec,
          runtime: parts.runtime,
          logger: context.logger,
          spill: () => new SpillFiles(),
          options: { ...defaultReconcileOptions, ...limits },
        }),
      ),
    ),
  );
}

/** Newest first. */
export async function runsOf(
  control: ControlStore,
  of: { readonly pipeline: string; readonly sink: string },
  signal: AbortSignal,
): Promise<readonly ReconcileRow[]> {
  const rows = (await control.list(controlKeys.reconciles(of.pipeline), signal)).map(({ value }) => value as ReconcileRow);
  return rows.filter(({ sink }) => sink === of.sink).toSorted((a, b) => b.startedAtWallMs - a.startedAtWallMs);
}

async function newRun(
  deps: ReconcileDeps,
  options: ReconcileOptions & { readonly before: readonly ReconcileRow[] },
  signal: AbortSignal,
): Promise<ReconcileRow> {
  const { control, pipeline, runtime, log, sinkName } = deps;
  const captured = (await control.list(controlKeys.tables(pipeline), signal)).map(({ value }) => (value as TableRow).table);
  if (captured.length === 0) {
    throw new CausewayError('reconcile_inconclusive', `the pipeline ${pipeline} captures no table yet: \`causeway status\` tells why`);
  }
  const unknown = options.tables.filter((table) => !captured.includes(table as TableId));
  if (unknown.length > 0) throw new CausewayError('usage', `not captured: ${unknown.join(', ')}; there is ${captured.join(', ')}`);
  const since = baseOf(options, sinkName);
  const tables = options.tables.length === 0 ? captured : captured.filter((table) => options.tables.includes(table));
  const now = runtime.wallMs();
  return {
    run: `${now.toString(36)}${randomName(runtime).slice(0, 4)}`,
    sink: sinkName,
    state: 'running',
    selection: { tables: options.tables.length === 0 ? null : (options.tables as readonly TableId[]), sample: shareOf(options), since },
    cut: (await log.ends(signal)).map(({ end }) => end),
    cutAt: null,
    startedAtWallMs: now,
    endedAtWallMs: null,
    tables: tables.map((table) => ({
      table,
      state: 'pending',
      reason: null,
      place: null,
      counts: NO_COUNTS,
      rowsExpected: null,
      schemaDifferences: [],
    })),
    verdict: null,
    token: 0,
  };
}

function limitsOf({ rate, patience, repair, repairMax }: Pick<ReconcileOptions, 'rate' | 'patience' | 'repair' | 'repairMax'>): {
  readonly rowsPerSecondMax: number | null;
  readonly patienceMs: number;
  readonly repairMax: number | null;
} {
  return {
    rowsPerSecondMax: rate === undefined ? null : positive(rate, '--rate'),
    patienceMs: patience === undefined ? defaultReconcileOptions.patienceMs : duration(patience, '--patience'),
    repairMax: repair === true ? positive(repairMax ?? String(REPAIR_MAX), '--repair-max') : null,
  };
}

function shareOf({ sample, since }: ReconcileOptions): number | null {
  if (sample === undefined) return null;
  if (since !== undefined) throw new CausewayError('usage', '--sample and --since exclude each other');
  const share = Number(sample.replace(/%$/, '')) / (sample.endsWith('%') ? 100 : 1);
  if (!(share > 0 && share <= 1)) throw new CausewayError('usage', `--sample ${sample} is no share; write 5% or 0.05`);
  return share;
}

/** What is known to be right since then is right as far as the log tells: only of a run that said something of every row. */
function baseOf(
  { since, before }: { readonly since?: string | undefined; readonly before: readonly ReconcileRow[] },
  sink: string,
): ReconcileSelection['since'] {
  if (since === undefined) return null;
  const base = before.find(({ run }) => run === since);
  if (base === undefined)
    throw new CausewayError('usage', `there is no run ${since} of the sink ${sink}; \`causeway reconcile status\` lists them`);
  if (base.verdict !== 'clean' && base.verdict !== 'differences') {
    throw new CausewayError(
      'usage',
      `the run ${since} did not compare everything (${base.verdict ?? base.state}): name one that is clean or has differences`,
    );
  }
  return { run: base.run, cut: base.cut };
}

/** Null where the newest run is at its end. */
function resumable(runs: readonly ReconcileRow[], sink: string): ReconcileRow | null {
  const [newest] = runs;
  if (newest === undefined)
    throw new CausewayError('usage', `there is no run of the sink ${sink}; begin one with \`causeway reconcile run\``);
  return newest.tables.every(({ state }) => state === 'compared' || state === 'inconclusive') ? null : newest;
}

/** Keeps the newest runs, with their differences. */
async function forget(deps: ReconcileDeps, before: readonly ReconcileRow[], run: string, signal: AbortSignal): Promise<void> {
  const others = before.filter((row) => row.run !== run);
  const kept = others.slice(0, RUNS_KEPT - 1);
  for (const row of others.slice(RUNS_KEPT - 1)) {
    const key = controlKeys.reconcile(deps.pipeline, row.sink, row.run);
    const stored = await deps.control.get(key, signal);
    if (stored !== null) await deps.control.remove(key, stored.version, signal);
  }
  await deps.sink.reports.keepOnly([run, ...kept.map((row) => row.run)], signal);
}

function timeLimit(
  { parts }: CommandContext,
  text: string | undefined,
  signal: AbortSignal,
): { readonly signal: AbortSignal; readonly end: () => void } {
  const over = new AbortController();
  const ended = new AbortController();
  if (text !== undefined) {
    const ms = duration(text, '--max-duration');
    void parts.runtime.sleep(ms, AbortSignal.any([signal, ended.signal])).then(
      () => over.abort(new CausewayError('reconcile_inconclusive', 'the time that the run may take is over')),
      () => undefined,
    );
  }
  return { signal: over.signal, end: () => ended.abort() };
}

function duration(text: string, flag: string): number {
  const ms = parseDurationMs(text);
  if (ms === null) throw new CausewayError('usage', `${flag} ${text} is not a duration, such as 30m`);
  return ms;
}

function positive(text: string, flag: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new CausewayError('usage', `${flag} ${text} is not a number above 0`);
  return value;
}
