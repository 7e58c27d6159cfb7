// A table compared from Postgres to Postgres, beside plain scans of each side with the same readers.
import type { ReconcileRow } from '#core/reconcile-row.ts';
import { Arena, postmasterOf, until, type PipelineOptions } from '../arena.ts';
import { Program, type BenchDaemon } from '../daemon.ts';
import { filledTable, writeRows } from '../load.ts';
import { measuredOf, rate, ratesResult, takeTurns, type Measured, type Result } from '../pairs.ts';
import { UsageMeter } from '../usage.ts';

const GOAL = 0.5;
const PIPELINE = 'reconcile';
const REFERENCE = 'the slower one of two scans';

export async function reconcileCase({ runs, rows }: { readonly runs: number; readonly rows: number }): Promise<Result[]> {
  await using arena = await Arena.create();
  await writeRows(arena.client, rows);
  const options = { tables: [{ name: filledTable, snapshot: 'initial' }] };
  const daemon = await loaded(arena, rows, options);
  const turns = await takeTurns('reconcile', runs, [
    { name: 'causeway', measure: () => reconcileRun(arena) },
    { name: 'scan of the source', measure: () => scan(arena, 'source') },
    { name: 'scan of the sink', measure: () => scan(arena, 'sink') },
  ]);
  await daemon.stop();
  const pairs = turns.map(({ measured, loadAverage }) => {
    const scans = [measuredOf(measured, 'scan of the source'), measuredOf(measured, 'scan of the sink')] as const;
    const [source, sink] = scans;
    return { ours: measuredOf(measured, 'causeway'), reference: rate(source) < rate(sink) ? source : sink, loadAverage };
  });
  for (const [run, { ours }] of pairs.entries()) console.error(`reconcile ${run + 1}/${runs}: ${costOf(ours)}`);
  const what = `\`reconcile run\` of ${rows} rows of about 200 bytes, Postgres to Postgres, beside a daemon that is idle`;
  return [ratesResult({ name: 'reconcile', what, reference: REFERENCE, pairs }, GOAL)];
}

/** With everything at the sink, and the load closed there. */
async function loaded(arena: Arena, rows: number, options: PipelineOptions): Promise<BenchDaemon> {
  const daemon = await arena.start(PIPELINE, 'capture,apply', options);
  const sink = await arena.sink.connect('postgres');
  try {
    await arena.untilSql(`SELECT 1 FROM (SELECT count(*) AS rows FROM ${filledTable}) f WHERE rows = ${rows}`, sink, daemon);
    await until(async () => (await reconcileOnce(arena)).verdict === 'clean', 'the first comparison is clean', daemon);
    await sink.query(`VACUUM ANALYZE ${filledTable}`);
  } finally {
    await sink.end();
  }
  return daemon;
}

async function reconcileRun(arena: Arena): Promise<Measured> {
  const { row, usage } = await ran(arena);
  if (row.verdict !== 'clean') throw new Error(`the verdict is ${row.verdict ?? 'none'}`);
  const [table] = row.tables;
  return { rows: table?.counts.rows ?? 0, seconds: ((row.endedAtWallMs ?? 0) - row.startedAtWallMs) / 1_000, usage };
}

async function reconcileOnce(arena: Arena): Promise<ReconcileRow> {
  return (await ran(arena)).row;
}

async function ran(arena: Arena): Promise<{ readonly row: ReconcileRow; readonly usage: Measured['usage'] }> {
  const program = new Program(['dist/src/main.js', 'reconcile', 'run', '-o', 'json', '-c', arena.configOf(PIPELINE)]);
  const meter = metering(arena, program);
  await program.exited();
  const usage = meter.stop();
  const { runs } = JSON.parse(program.out) as { readonly runs?: readonly ReconcileRow[] };
  const [row] = runs ?? [];
  if (row === undefined) throw new Error(`the comparison ended with ${program.exit ?? ''}:\n${program.tail}`);
  return { row, usage };
}

async function scan(arena: Arena, side: 'source' | 'sink'): Promise<Measured> {
  const program = new Program(['bench/scan.ts', side, arena.configOf(PIPELINE), filledTable]);
  const meter = metering(arena, program);
  await program.ended();
  const usage = meter.stop();
  return { ...(JSON.parse(program.out) as { readonly rows: number; readonly seconds: number }), usage };
}

function metering(arena: Arena, program: Program): UsageMeter {
  return new UsageMeter([
    { name: 'causeway', pid: program.pid },
    { name: 'source', pid: postmasterOf(arena.source), children: true },
    { name: 'sink', pid: postmasterOf(arena.sink), children: true },
  ]);
}

function costOf({ rows, usage }: Measured): string {
  const cpu = usage.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0);
  const own = usage.find(({ name }) => name === 'causeway');
  const perMillion = (seconds: number): string => ((seconds / rows) * 1_000_000).toFixed(1);
  return (
    `${perMillion(own?.cpuSeconds ?? NaN)} CPU seconds for a million rows, ${perMillion(cpu)} with the servers; ` +
    `peak ${own?.peakMiB.toFixed(0) ?? '-'} MiB`
  );
}
