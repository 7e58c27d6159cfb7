import { controlKeys, type SchemaBlock, type SinkRow, type TableRow } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { compareSchemas } from '#core/schema.ts';
import type { PipelineConfig } from '../config/config.ts';
import { loadedConfig, onePipeline, pipelinesOf, sinksOf, withControl, withLog, withSink, type CommandContext } from './context.ts';
import { printJson, printTable } from './io.ts';
import { changeRow, valueOf } from './rows.ts';

export async function list(context: CommandContext): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const tables = await withControl(context, config, async (control) => {
    const found = [];
    for (const { name } of pipelinesOf(config, options.pipeline)) {
      for (const row of await tableRows(control, name, io.signal)) found.push({ pipeline: name, ...row });
    }
    return found;
  });
  if (options.output === 'json') {
    printJson(io, 'SchemaList', {
      tables: tables.map(({ pipeline, table, state, reason, schemas }) => ({ pipeline, table, state, reason, schemas })),
    });
    return 0;
  }
  printTable(
    io,
    ['PIPELINE', 'TABLE', 'STATE', 'VERSION', 'COLUMNS', 'KEY', 'OLDER VERSIONS'],
    tables.map(({ pipeline, table, state, schemas }) => {
      const newest = schemas.at(-1);
      const key = newest?.key.map((index) => newest.columns[index]?.name ?? '?').join(', ') ?? '-';
      return [
        pipeline,
        table,
        state,
        newest?.version ?? '-',
        String(newest?.columns.length ?? 0),
        key,
        String(Math.max(0, schemas.length - 1)),
      ];
    }),
  );
  return 0;
}

type Waiting = { readonly sink: string; readonly block: SchemaBlock; readonly differences: readonly string[] | null };

export async function diff(context: CommandContext, selected: { readonly sink: string | undefined }): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, options.pipeline);
  const listed = await withControl(context, config, (control) => waitingOf(context, { control, pipeline, sink: selected.sink }));
  // An approval stays in the sink's row; once the target table takes the rows nothing waits for it any more.
  const waiting = listed.filter(({ block, differences }) => !block.approved || differences === null || differences.length > 0);
  if (options.output === 'json') {
    printJson(io, 'SchemaDiff', { pipeline: pipeline.name, waiting });
    return 0;
  }
  if (waiting.length === 0) io.stderr('no sink waits for an approval\n');
  for (const { sink, block, differences } of waiting) {
    io.stdout(`${sink}: ${block.table} version ${block.version}${block.approved ? ' (approved)' : ''}\n`);
    for (const reason of block.reasons) io.stdout(`  at the source: ${reason}\n`);
    if (differences === null) io.stdout('  the sink cannot be looked at now\n');
    else if (differences.length === 0) io.stdout('  the target table takes rows of the new schema\n');
    else for (const text of differences) io.stdout(`  at the target: ${text}\n`);
    if (!block.approved) io.stdout(`  then: causeway schema approve -p ${pipeline.name} --sink ${sink} --table ${block.table}\n`);
  }
  return 0;
}

async function waitingOf(
  context: CommandContext,
  input: { readonly control: ControlStore; readonly pipeline: PipelineConfig; readonly sink: string | undefined },
): Promise<readonly Waiting[]> {
  const { control, pipeline } = input;
  const { signal } = context.io;
  const tables = await tableRows(control, pipeline.name, signal);
  const found: Waiting[] = [];
  for (const sink of sinksOf(pipeline, input.sink)) {
    const row = await valueOf<SinkRow>(control, controlKeys.sink(pipeline.name, sink.name), signal);
    for (const block of row?.blocked ?? []) {
      const remembered = tables.find(({ table }) => table === block.table);
      const schemas = remembered?.schemas ?? [];
      const at = schemas.findIndex(({ version }) => version === block.version);
      const after = schemas[at];
      const before = schemas[at - 1];
      // What is newest now can be further on than what the sink stopped at.
      const compared = before === undefined || after === undefined ? null : compareSchemas(before, after);
      const reasons = compared?.tag === 'breaking' ? compared.reasons : block.reasons;
      let differences: readonly string[] | null = null;
      if (after !== undefined) {
        try {
          const partitions = await withLog(context, pipeline, (log) => Promise.resolve(log.partitions));
          const described = { ...after, companions: remembered?.companions };
          differences = await withSink(context, { pipeline, sink, partitions }, (built) => built.differences(described, signal));
        } catch (error) {
          if (!(error instanceof CausewayError)) throw error;
          context.io.stderr(`sink ${sink.name}: ${error.code}: ${error.message}\n`);
        }
      }
      found.push({ sink: sink.name, block: { ...block, reasons }, differences });
    }
  }
  return found;
}

/** Releases sinks that wait. The apply loop still looks at the target table before it goes on. */
export async function approve(
  context: CommandContext,
  selected: { readonly sink: string | undefined; readonly table: string | undefined },
): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, options.pipeline);
  const wanted = (block: SchemaBlock): boolean => !block.approved && (selected.table === undefined || block.table === selected.table);
  const approved: { readonly sink: string; readonly table: string }[] = [];
  const waiting: Waiting[] = [];
  await withControl(context, config, async (control) => {
    for (const sink of sinksOf(pipeline, selected.sink)) {
      let here: readonly SchemaBlock[] = [];
      await changeRow<SinkRow>(
        control,
        {
          key: controlKeys.sink(pipeline.name, sink.name),
          change: (now) => {
            here = now?.blocked.filter(wanted) ?? [];
            if (now === null || here.length === 0) return null;
            return { ...now, blocked: now.blocked.map((block) => (wanted(block) ? { ...block, approved: true } : block)) };
          },
        },
        io.signal,
      );
      approved.push(...here.map(({ table }) => ({ sink: sink.name, table })));
    }
    if (approved.length > 0) waiting.push(...(await waitingOf(context, { control, pipeline, sink: selected.sink })));
  });
  if (options.output === 'json') printJson(io, 'SchemaApproval', { pipeline: pipeline.name, approved });
  for (const { sink, table } of approved) io.stderr(`approved ${table} for the sink ${sink}\n`);
  for (const { sink, block, differences } of waiting.filter((one) => one.block.approved)) {
    for (const text of differences ?? []) io.stderr(`sink ${sink} still waits for the target of ${block.table}: ${text}\n`);
  }
  if (approved.length === 0)
    throw new CausewayError('refused', 'no schema waits for an approval; `causeway schema diff` shows what a sink waits for');
  return 0;
}

async function tableRows(control: ControlStore, pipeline: string, signal: AbortSignal): Promise<readonly TableRow[]> {
  return (await control.list(controlKeys.tables(pipeline), signal)).map(({ value }) => value as TableRow);
}
