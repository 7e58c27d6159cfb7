import { CausewayError } from '#core/errors.ts';
import { parseRowKey } from '#core/key.ts';
import { countsOf, differencesIn, type ReconcileRow } from '#core/reconcile-row.ts';
import type { Difference } from '#core/sink.ts';
import type { Row } from '#core/value.ts';
import type { ReconcileDeps } from '../reconcile/deps.ts';
import { planRepair, repair } from '../reconcile/repair.ts';
import { loadedConfig, onePipeline, sinksOf, withControl, type CommandContext } from './context.ts';
import { formatAge, printJson, printTable } from './io.ts';
import { withReconcileLease } from './reconcile-lease.ts';
import { printRun, withoutKeys } from './reconcile-report.ts';
import { runsOf, withDeps, type Place } from './reconcile.ts';

export type Selected = { readonly sink?: string | undefined; readonly run?: string | undefined };

/** The newest runs, the last of each sink with its tables. */
export async function status(context: CommandContext, { sink }: Selected): Promise<number> {
  const { io, options, parts } = context;
  return await withSinks(context, sink, async (places) => {
    const all: ReconcileRow[] = [];
    for (const { control, pipeline, sink: of } of places) {
      all.push(...(await runsOf(control, { pipeline: pipeline.name, sink: of.name }, io.signal)));
    }
    if (options.output === 'json') {
      printJson(io, 'ReconcileList', { pipeline: places[0]?.pipeline.name ?? null, runs: all.map(withoutKeys) });
      return 0;
    }
    const now = parts.runtime.wallMs();
    printTable(
      io,
      ['SINK', 'RUN', 'STATE', 'VERDICT', 'ROWS', 'DIFFERENCES', 'AGE'],
      all.map((row) => {
        const counts = countsOf(row);
        return [
          row.sink,
          row.run,
          row.state,
          row.verdict ?? '-',
          String(counts.rows),
          String(differencesIn(counts)),
          formatAge(now - row.startedAtWallMs),
        ];
      }),
    );
    return 0;
  });
}

/** The differences of a run with their keys, and with `showData` the rows as they are now at both ends. */
export async function report(context: CommandContext, selected: Selected & { readonly showData: boolean }): Promise<number> {
  const { io, options } = context;
  return await withSinks(context, selected.sink, async (places) => {
    for (const place of places) {
      const row = await chosen(context, place, selected.run);
      await withDeps(context, place, {}, async (deps) => {
        const items: unknown[] = [];
        if (options.output === 'table') printRun(io, row);
        for await (const some of deps.sink.reports.list(row.run, io.signal)) {
          const values = selected.showData ? await valuesOf(deps, some, io.signal) : new Map<string, Values>();
          for (const one of some) {
            const shown = values.get(one.key);
            if (options.output === 'json') items.push({ ...one, ...(shown === undefined ? {} : { values: shown }) });
            else printDifference(context, one, shown);
          }
        }
        if (options.output === 'json') printJson(io, 'ReconcileReport', { ...withoutKeys(row), differences: items });
      });
    }
    return 0;
  });
}

type Values = { readonly source: Row | null; readonly sink: Row | null };

async function valuesOf(
  deps: ReconcileDeps,
  differences: readonly Difference[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Values>> {
  await using rows = deps.source.rows();
  const values = new Map<string, Values>();
  for (const [table, own] of Map.groupBy(differences, (one) => one.table)) {
    const keys = own.map(({ key }) => key);
    const range = { tag: 'keys', keys } as const;
    const read = await rows.read(
      { table, range, rowsMax: keys.length + 1, bytesMax: Number.MAX_SAFE_INTEGER, accepts: () => true },
      signal,
    );
    if (read === null) continue;
    const source = new Map(read.rows.map(({ key, row }) => [key, row]));
    const sink = new Map((await deps.sink.read(read.schema, keys, signal)).map(({ key, row }) => [key, row]));
    for (const key of keys) values.set(key, { source: source.get(key) ?? null, sink: sink.get(key) ?? null });
  }
  return values;
}

function printDifference({ io }: CommandContext, one: Difference, values: Values | undefined): void {
  const key = parseRowKey(one.key).columns.join(' ');
  const columns = one.columns.length === 0 ? '' : ` (${one.columns.join(', ')})`;
  io.stdout(`${one.kind}  ${one.table} ${key}${columns}  cause ${one.cause}  cut ${one.cut}  stored ${one.stored ?? '-'}\n`);
  if (values === undefined) return;
  io.stdout(`  source ${JSON.stringify(values.source)}\n  sink   ${JSON.stringify(values.sink)}\n`);
}

export type RepairOptions = Selected & { readonly plan: boolean; readonly apply?: string | undefined; readonly max: number };

/** Shows what a repair would publish, or has it published. */
export async function repairDifferences(context: CommandContext, options: RepairOptions): Promise<number> {
  if (options.plan === (options.apply !== undefined)) {
    throw new CausewayError('usage', 'write --plan to see what would be published, and --apply <plan> to have it published');
  }
  if (!Number.isInteger(options.max) || options.max < 0) throw new CausewayError('usage', '--max is not a number of keys');
  return await withSinks(context, options.sink, async (places) => {
    const [place, ...others] = places;
    if (place === undefined || others.length > 0) throw new CausewayError('usage', 'name one sink with --sink');
    const { control, pipeline, sink } = place;
    const row = await chosen(context, place, options.run);
    return await withReconcileLease(context, { control, pipeline: pipeline.name, sink: sink.name }, (_, signal) =>
      withDeps(context, place, {}, (deps) => planned(context, { deps, row, options }, signal)),
    );
  });
}

async function planned(
  { io, options: { output } }: CommandContext,
  of: { readonly deps: ReconcileDeps; readonly row: ReconcileRow; readonly options: RepairOptions },
  signal: AbortSignal,
): Promise<number> {
  const { deps, row, options } = of;
  const plan = await planRepair(deps, row.run, signal);
  const counted = differencesIn(countsOf(row));
  const left = counted - plan.differences.length - plan.beyondRepair;
  if (options.apply === undefined) {
    const tables = [...Map.groupBy(plan.differences, ({ table }) => table)].map(([table, some]) => ({ table, keys: some.length }));
    const fields = { plan: plan.plan, run: row.run, tables, beyondRepair: plan.beyondRepair, notKept: left };
    if (output === 'json') printJson(io, 'RepairPlan', fields);
    else {
      for (const { table, keys } of tables) io.stdout(`${table}: ${keys} ${keys === 1 ? 'key' : 'keys'} to publish again\n`);
      if (plan.beyondRepair > 0) io.stdout(`${plan.beyondRepair} with a sequence ahead of the source: no repair reaches them\n`);
      if (left > 0) io.stdout(`${left} more were counted and not kept: compare again behind the repair\n`);
      io.stdout(`plan ${plan.plan}\n`);
    }
    return 0;
  }
  if (options.apply !== plan.plan) {
    throw new CausewayError(
      'refused',
      `the plan ${options.apply} is out of date: see what there is now with \`causeway reconcile repair --plan\``,
    );
  }
  if (plan.differences.length > options.max) {
    throw new CausewayError(
      'refused',
      `the plan would publish ${plan.differences.length} keys, above the ${options.max} that are repaired without being asked for: look at ` +
        `\`causeway reconcile report\` for the cause, and allow it with --max ${plan.differences.length}`,
    );
  }
  const { published, settled, parked, left: still } = await repair(deps, plan.differences, { onRepaired: () => undefined }, signal);
  if (output === 'json') printJson(io, 'Repaired', { plan: plan.plan, published, settled, parked, left: still.length });
  else {
    const refused = parked === 0 ? '' : `, ${parked} refused by the sink (\`causeway dlq list\`)`;
    io.stdout(`${published} keys published, ${settled} are right now, ${still.length} still differ${refused}\n`);
  }
  if (still.length > 0 || plan.beyondRepair > 0) return 3;
  return left > 0 || parked > 0 ? 8 : 0;
}

/** The newest run, or the named one. A repair is of the newest alone: what an older one found may be otherwise by now. */
async function chosen({ io }: CommandContext, { control, pipeline, sink }: Place, run: string | undefined): Promise<ReconcileRow> {
  const runs = await runsOf(control, { pipeline: pipeline.name, sink: sink.name }, io.signal);
  const found = run === undefined ? runs[0] : runs.find((one) => one.run === run);
  if (found !== undefined) return found;
  throw new CausewayError(
    'usage',
    `there is no ${run === undefined ? 'run' : `run ${run}`} of the sink ${sink.name}: \`causeway reconcile status\` lists them`,
  );
}

async function withSinks(
  context: CommandContext,
  sink: string | undefined,
  work: (places: readonly Place[]) => Promise<number>,
): Promise<number> {
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, context.options.pipeline);
  return await withControl(context, config, (control) => work(sinksOf(pipeline, sink).map((one) => ({ control, pipeline, sink: one }))));
}
