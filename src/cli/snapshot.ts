import { paceOf } from '#core/load-pace.ts';
import { isUnderWay, newLoad, type LoadRow } from '#core/load-row.ts';
import { controlKeys, type SinkRow, type StatusRow, type TableRow } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import type { TableId } from '#core/schema.ts';
import { TABLE_NOT_LOADED } from '#core/source.ts';
import { HELD_MEND, isBudgetLow } from '#core/wal-budget.ts';
import type { PipelineConfig } from '../config/config.ts';
import type { PipelineStatus } from '../http/status-document.ts';
import { loadedConfig, onePipeline, sinksOf, withControl, type CommandContext } from './context.ts';
import { formatAge, formatBytes, printJson, printTable } from './io.ts';
import { changeRow, SILENT_MS, valueOf } from './rows.ts';
import { heldLine } from './status.ts';

const WATCH_MS = 1_000;

export type SnapshotOptions = { readonly tables: readonly string[]; readonly all: boolean; readonly sink: string | undefined };

/** Asks for a load of tables; the daemon that captures carries it on. */
export async function start(context: CommandContext, selected: SnapshotOptions): Promise<number> {
  const { io, parts } = context;
  return await withPipeline(context, async (control, pipeline) => {
    const sink = selected.sink === undefined ? null : (sinksOf(pipeline, selected.sink)[0]?.name ?? null);
    if (sink !== null) await assertReading(context, control, { pipeline: pipeline.name, sink });
    const captured = (await control.list(controlKeys.tables(pipeline.name), io.signal)).map(({ value }) => value as TableRow);
    const known = captured.filter(({ state }) => state !== 'stopped').map(({ table }) => table);
    // A table that was made later begins to be captured for all sinks.
    const later = sink === null && !selected.all ? await notLoadedYet(context, control, pipeline) : [];
    const tables = wantedTables(selected, [...known, ...later.filter((table) => !known.includes(table))]);
    const started: LoadRow[] = [];
    for (const table of tables) {
      const row = newLoad({ table, sink, rowsExpected: null, wallMs: parts.runtime.wallMs() });
      const change = (now: LoadRow | null): LoadRow => {
        if (now !== null && isUnderWay(now)) {
          throw new CausewayError(
            'refused',
            `a load of ${table} is under way: wait for it, or end it with \`causeway snapshot cancel --table ${table}\``,
          );
        }
        return { ...row, generation: now?.generation ?? row.generation };
      };
      const stored = await changeRow<LoadRow>(control, { key: controlKeys.load(pipeline.name, table, sink), change }, io.signal);
      if (stored !== null) started.push(stored);
    }
    const slot = (await statusNow(context, control, pipeline))?.slot ?? null;
    if (slot !== null && isBudgetLow(slot)) {
      io.stderr(
        `they wait: of the log that the source keeps for the slot only ${formatBytes(slot.headroomBytes ?? 0)} are left. ${HELD_MEND}\n`,
      );
    }
    if (context.options.output === 'json') printJson(io, 'SnapshotList', { pipeline: pipeline.name, loads: started });
    else
      io.stderr(
        `asked for ${started.length === 1 ? 'a load' : `${started.length} loads`}: \`causeway snapshot progress --watch\` shows how far\n`,
      );
    return 0;
  });
}

/** What the daemon that captures tells; null where none runs. One of an older release tells less. */
async function statusNow(
  { io, parts }: CommandContext,
  control: ControlStore,
  { name }: PipelineConfig,
): Promise<Partial<PipelineStatus> | null> {
  const row = await valueOf<StatusRow>(control, controlKeys.status(name), io.signal);
  const isOld = row === null || parts.runtime.wallMs() - row.writtenAtWallMs >= SILENT_MS;
  return isOld ? null : (row.document as Partial<PipelineStatus>);
}

/** As the daemon that captures told it last. */
async function notLoadedYet({ io }: CommandContext, control: ControlStore, { name }: PipelineConfig): Promise<readonly TableId[]> {
  const row = await valueOf<StatusRow>(control, controlKeys.status(name), io.signal);
  // One of an older release does not tell.
  const { refused = [] } = (row?.document ?? {}) as Partial<PipelineStatus>;
  return refused.filter(({ code }) => code === TABLE_NOT_LOADED).map(({ table }) => table as TableId);
}

/** A sink begins to read where the log ends then: rows that are published before would never reach it. */
async function assertReading(
  { io }: CommandContext,
  control: ControlStore,
  of: { readonly pipeline: string; readonly sink: string },
): Promise<void> {
  const row = await valueOf<SinkRow>(control, controlKeys.sink(of.pipeline, of.sink), io.signal);
  if (row?.state === 'known' && row.owes === undefined) return;
  if (row?.state === 'known') throw new CausewayError('refused', `the sink ${of.sink} is about to ask for its tables by itself`);
  throw new CausewayError('refused', `the sink ${of.sink} does not read the log yet: wait until \`causeway status\` shows it as running`);
}

export type SnapshotChange = 'pause' | 'resume' | 'cancel';

export async function change(context: CommandContext, how: SnapshotChange, selected: SnapshotOptions): Promise<number> {
  const { io } = context;
  return await withPipeline(context, async (control, pipeline) => {
    const loads = (await loadsOf(context, control, pipeline)).filter(
      (row) => isUnderWay(row) && (selected.sink === undefined || row.sink === selected.sink),
    );
    const tables = wantedTables(
      selected,
      loads.map(({ table }) => table),
    );
    const changed: LoadRow[] = [];
    for (const { table, sink } of loads.filter((row) => tables.includes(row.table))) {
      const stored = await changeRow<LoadRow>(
        control,
        {
          key: controlKeys.load(pipeline.name, table, sink),
          change: (now) => (now === null ? null : changedBy(how, now)),
        },
        io.signal,
      );
      if (stored !== null) changed.push(stored);
    }
    if (context.options.output === 'json') printJson(io, 'SnapshotList', { pipeline: pipeline.name, loads: changed });
    else io.stderr(`${changed.length === 1 ? 'one load' : `${changed.length} loads`}: ${how === 'cancel' ? 'cancelled' : `${how}d`}\n`);
    return 0;
  });
}

/** How far loads are. With `watch` again each second until none is under way. */
export async function progress(context: CommandContext, { watch }: { readonly watch: boolean }): Promise<number> {
  const { io, options, parts } = context;
  return await withPipeline(context, async (control, pipeline) => {
    while (true) {
      const loads = await loadsOf(context, control, pipeline);
      const now = parts.runtime.wallMs();
      const held = (await statusNow(context, control, pipeline))?.loadsHeld ?? null;
      if (options.output === 'json') {
        const shown = loads.map((row) => ({ ...shownOf(row), ...paceOf(row, now) }));
        printJson(io, 'SnapshotList', { pipeline: pipeline.name, held, loads: shown });
      } else {
        if (held !== null) io.stderr(`${heldLine(held, now)}\n`);
        printTable(
          io,
          ['TABLE', 'SINK', 'STATE', 'ROWS', 'BYTES', 'RATE', 'DONE', 'LEFT'],
          loads.map((row) => cellsOf(row, { now, isHeld: held !== null })),
        );
      }
      if (!watch || !loads.some(isUnderWay)) return 0;
      await parts.runtime.sleep(WATCH_MS, io.signal);
    }
  });
}

/** Without the key that it has come to. */
function shownOf({ after: _, ...row }: LoadRow): Omit<LoadRow, 'after'> {
  return row;
}

function cellsOf(row: LoadRow, { now, isHeld }: { readonly now: number; readonly isHeld: boolean }): readonly string[] {
  const { rowsPerSecond, percent, secondsLeft } = paceOf(row, now);
  return [
    row.table,
    row.sink ?? 'all',
    row.paused && isUnderWay(row) ? 'paused' : isHeld && row.state === 'reading' ? 'held' : row.state,
    String(row.rows),
    formatBytes(row.bytes),
    `${Math.round(rowsPerSecond)}/s`,
    percent === null ? '-' : `${percent.toFixed(0)} %`,
    secondsLeft === null ? '-' : formatAge(secondsLeft * 1_000),
  ];
}

function changedBy(how: SnapshotChange, row: LoadRow): LoadRow | null {
  if (!isUnderWay(row) || row.state === 'cancel') return null;
  switch (how) {
    case 'pause':
      return { ...row, paused: true };
    case 'resume':
      return { ...row, paused: false };
    case 'cancel':
      return { ...row, state: 'cancel', paused: false };
  }
}

function wantedTables({ tables, all }: SnapshotOptions, known: readonly TableId[]): readonly TableId[] {
  if (all === tables.length > 0) throw new CausewayError('usage', 'name tables with --table, or take all with --all');
  if (all) return known;
  const unknown = tables.filter((table) => !known.includes(table as TableId));
  if (unknown.length > 0)
    throw new CausewayError('refused', `not among them: ${unknown.join(', ')}; there is ${known.join(', ') || 'none'}`);
  return tables as readonly TableId[];
}

async function loadsOf({ io }: CommandContext, control: ControlStore, { name }: PipelineConfig): Promise<readonly LoadRow[]> {
  return (await control.list(controlKeys.loads(name), io.signal)).map(({ value }) => value as LoadRow);
}

async function withPipeline(
  context: CommandContext,
  work: (control: ControlStore, pipeline: PipelineConfig) => Promise<number>,
): Promise<number> {
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, context.options.pipeline);
  return await withControl(context, config, (control) => work(control, pipeline));
}
