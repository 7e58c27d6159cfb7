import { statSync } from 'node:fs';
import { controlKeys, type CheckpointRow, type TableRow } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError, codeOf, policyFor } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { DescribedTable } from '#core/schema.ts';
import type { SourceFacts } from '#core/source.ts';
import { HELD_MEND, isBudgetLow } from '#core/wal-budget.ts';
import type { Config, PipelineConfig } from '../config/config.ts';
import { selectionFor } from '../config/tables.ts';
import { controlFindings } from './check-control.ts';
import { logFindings } from './check-log.ts';
import { loadedConfig, pipelinesOf, withControl, withLog, withSink, withSource, type CommandContext } from './context.ts';
import { formatBytes, printJson } from './io.ts';

export type CheckOptions = { readonly only?: string; readonly failOn: string };

type Area = 'general' | 'control' | 'source' | 'log' | 'sink';
const areas: readonly Area[] = ['general', 'control', 'source', 'log', 'sink'];

type Category = { readonly area: Area; readonly name: string; readonly findings: readonly Finding[] };

const SKEW_MS_MAX = 500;

/** Looks at everything that the pipelines need, changes nothing at source and sinks, and prints what mends what it finds. */
export async function check(context: CommandContext, options: CheckOptions): Promise<number> {
  const { io, parts } = context;
  const only = onlyOf(options.only);
  if (options.failOn !== 'error' && options.failOn !== 'warning') {
    throw new CausewayError('usage', `--fail-on ${options.failOn} is not known; write error or warning`);
  }
  const startedAt = parts.runtime.monotonicMs();
  const config = await loadedConfig(context);
  const categories: Category[] = [];
  const add = async (area: Area, name: string, work: () => Promise<readonly Finding[]>): Promise<void> => {
    if (only.has(area)) categories.push({ area, name, findings: await guarded(area, work) });
  };
  await add('general', 'general', () => Promise.resolve(generalFindings(config)));
  await withControl(context, config, async (store) => {
    await add('control', `control store (${config.control.kind})`, () => controlFindings(context, store, config));
    for (const pipeline of pipelinesOf(config, context.options.pipeline)) {
      const control = await usable(context, store, pipeline);
      const seen: { facts: SourceFacts | null } = { facts: null };
      if (only.has('source') || only.has('sink')) {
        const found = await guarded('source', async () => {
          const { findings, facts } = await sourceFindings(context, control, pipeline);
          seen.facts = facts;
          return findings;
        });
        if (only.has('source'))
          categories.push({ area: 'source', name: `${pipeline.name}: source (${pipeline.source.kind})`, findings: found });
      }
      await add('log', `${pipeline.name}: log (${pipeline.log.kind})`, () => logFindings(context, control, pipeline));
      for (const sink of pipeline.sinks) {
        await add('sink', `${pipeline.name}: sink ${sink.name} (${sink.kind})`, async () => {
          const tables = seen.facts === null ? await rememberedTables(context, control, pipeline) : describedTables(seen.facts);
          const partitions = await withLog(context, pipeline, (log) => Promise.resolve(log.partitions));
          const findings = await withSink(context, { pipeline, sink, partitions }, (built) => built.check(tables, io.signal));
          return seen.facts === null
            ? [...findings, finding({ id: 'TP-000', level: 'skipped', title: sourceUnread(tables.length) })]
            : findings;
        });
      }
    }
  });
  return report(context, { categories, failOn: options.failOn, elapsedMs: parts.runtime.monotonicMs() - startedAt });
}

/** Null where it cannot be used: the others are looked at as far as they do without it. Why, its own finding tells. */
async function usable({ io }: CommandContext, control: ControlStore, { name }: PipelineConfig): Promise<ControlStore | null> {
  try {
    await control.get(controlKeys.checkpoint(name), io.signal);
    return control;
  } catch (error) {
    if (!(error instanceof CausewayError)) throw error;
    return null;
  }
}

function describedTables(facts: SourceFacts): readonly DescribedTable[] {
  return facts.tables.map(({ schema, companions }) => ({ ...schema, companions }));
}

/** On the day of a failover the source does not answer: what capture last stored of it does. */
async function rememberedTables(
  { io }: CommandContext,
  control: ControlStore | null,
  pipeline: PipelineConfig,
): Promise<readonly DescribedTable[]> {
  if (control === null) return [];
  const rows = await control.list(controlKeys.tables(pipeline.name), io.signal);
  return rows.flatMap(({ value }) => {
    const { schemas, companions } = value as TableRow;
    const newest = schemas.at(-1);
    return newest === undefined ? [] : [{ ...newest, companions }];
  });
}

function sourceUnread(remembered: number): string {
  const start = 'the source could not be read';
  if (remembered === 0) return `tables at the sink: ${start}`;
  return `${start}: the ${remembered} tables at the sink were compared with what capture last stored of it`;
}

function onlyOf(text: string | undefined): ReadonlySet<Area> {
  if (text === undefined) return new Set(areas);
  return new Set(
    text.split(',').map((name): Area => {
      const area = areas.find((one) => one === name.trim());
      if (area === undefined) throw new CausewayError('usage', `--only ${name} is not known; write some of ${areas.join(', ')}`);
      return area;
    }),
  );
}

/** A check that could not run is an error of its own, with the code's mend; the other checks go on. */
async function guarded(area: Area, work: () => Promise<readonly Finding[]>): Promise<readonly Finding[]> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof CausewayError)) throw error;
    const code = codeOf(error);
    return [
      finding({
        id: code,
        level: 'error',
        title: `the ${area} could not be looked at`,
        details: [error.message],
        mend: [policyFor(code).mend],
      }),
    ];
  }
}

function generalFindings(config: Config): readonly Finding[] {
  const open = config.secretFiles.filter((file) => (statSync(file).mode & 0o004) !== 0);
  const secrets: Finding =
    open.length === 0
      ? finding({
          id: 'G-002',
          level: 'ok',
          title: 'every variable and secret file of the configuration can be read, and no file by everybody',
        })
      : finding({
          id: 'G-002',
          level: 'warning',
          title: `${open.length} secret ${open.length === 1 ? 'file is' : 'files are'} readable by everybody`,
          details: open,
          mend: open.map((file) => `chmod o-r ${file}`),
        });
  return [finding({ id: 'G-001', level: 'ok', title: `${config.file} is valid` }), secrets];
}

async function sourceFindings(
  context: CommandContext,
  control: ControlStore | null,
  pipeline: PipelineConfig,
): Promise<{ readonly findings: readonly Finding[]; readonly facts: SourceFacts | null }> {
  const { io, parts } = context;
  return await withSource(context, pipeline, async (source) => {
    const findings = [...(await source.check(io.signal))];
    try {
      const before = parts.runtime.wallMs();
      const facts = await source.inspect(io.signal);
      const after = parts.runtime.wallMs();
      findings.push(skewFinding({ sourceMs: facts.now / 1_000, before, after }));
      findings.push(await rowsFinding(context, { control, pipeline, facts }), budgetFinding(facts));
      return { findings, facts };
    } catch (error) {
      // What keeps the facts from being read is mostly among the findings already.
      if (!(error instanceof CausewayError)) throw error;
      if (!findings.some(({ level }) => level === 'error')) throw error;
      return { findings, facts: null };
    }
  });
}

function skewFinding({ sourceMs, before, after }: { readonly sourceMs: number; readonly before: number; readonly after: number }): Finding {
  // The answer was given somewhere between both looks at our clock, so only what lies outside of them is skew for sure.
  const skewMs = sourceMs < before ? before - sourceMs : Math.max(0, sourceMs - after);
  if (skewMs <= SKEW_MS_MAX)
    return finding({ id: 'G-003', level: 'ok', title: `the clock of the source is within ${SKEW_MS_MAX} ms of ours` });
  return finding({
    id: 'G-003',
    level: 'warning',
    title: `the clock of the source is ${(skewMs / 1_000).toFixed(1)} s away from ours`,
    details: [
      "Lag is measured on the source's clock and stays right; alert rules, which use the clock of Prometheus, are off by the skew.",
    ],
    mend: ['Synchronise the clocks (chrony, systemd-timesyncd).'],
  });
}

/** Loads are held where little is left of the log that the source keeps for the slot. */
function budgetFinding({ slot }: SourceFacts): Finding {
  const title = 'the source keeps enough of its log for loads beside the stream';
  if (slot === null || !isBudgetLow(slot)) return finding({ id: 'LD-002', level: 'ok', title });
  const left = `only ${formatBytes(slot.headroomBytes ?? 0)} may still be written before the slot is given up, so loads are held`;
  return finding({ id: 'LD-002', level: 'warning', title, details: [left], mend: [HELD_MEND] });
}

/** What the first start will load: a person who copied the rows already has to say so before. */
async function rowsFinding(
  { io }: CommandContext,
  input: { readonly control: ControlStore | null; readonly pipeline: PipelineConfig; readonly facts: SourceFacts },
): Promise<Finding> {
  const { control, pipeline, facts } = input;
  if (control === null) {
    const title = 'which tables the first start would load: the control store, which knows what was captured, cannot be used';
    return finding({ id: 'LD-001', level: 'skipped', title });
  }
  const checkpoint = (await control.get(controlKeys.checkpoint(pipeline.name), io.signal))?.value as CheckpointRow | undefined;
  const full = facts.tables.filter(
    ({ holdsRows, schema }) => holdsRows && selectionFor(pipeline.tables, schema.table)?.snapshot !== 'never',
  );
  if (checkpoint !== undefined || full.length === 0) {
    return finding({ id: 'LD-001', level: 'ok', title: `${facts.tables.length} tables are captured` });
  }
  return finding({
    id: 'LD-001',
    level: 'ok',
    title: `${full.length} ${full.length === 1 ? 'table holds' : 'tables hold'} rows, which the first start loads`,
    details: full.map(({ schema, rowsExpected = null }) =>
      rowsExpected === null ? schema.table : `${schema.table}: about ${rowsExpected} rows`,
    ),
  });
}

function finding(input: Pick<Finding, 'id' | 'level' | 'title'> & Partial<Finding>): Finding {
  return { details: [], mend: [], ...input };
}

const MARKS = { ok: '√', warning: '‼', error: '×', skipped: '-' } as const;

function report(
  { io, options: { output } }: CommandContext,
  input: { readonly categories: readonly Category[]; readonly failOn: 'error' | 'warning'; readonly elapsedMs: number },
): number {
  const { categories, failOn, elapsedMs } = input;
  const all = categories.flatMap(({ findings }) => findings);
  const count = (level: Finding['level']): number => all.filter((one) => one.level === level).length;
  const errors = count('error');
  const warnings = count('warning');
  if (output === 'json') {
    const counts = { errors, warnings, passed: count('ok'), skipped: count('skipped') };
    printJson(io, 'CheckReport', { success: errors === 0, ...counts, categories });
  } else {
    for (const { name, findings } of categories) {
      io.stdout(`${name}\n`);
      for (const one of findings) printFinding(io.stdout, one);
    }
    const parts = [plural(errors, 'error'), plural(warnings, 'warning'), `${count('ok')} passed`, `${count('skipped')} skipped`];
    io.stdout(`Result: ${parts.join(', ')} in ${(elapsedMs / 1_000).toFixed(1)}s\n`);
  }
  if (errors > 0) return 1;
  return warnings > 0 && failOn === 'warning' ? 10 : 0;
}

function printFinding(print: (text: string) => void, { id, level, title, details, mend }: Finding): void {
  const mark = MARKS[level];
  print(level === 'ok' || level === 'skipped' ? `  ${mark} ${title}\n` : `  ${mark} ${title.padEnd(72)} ${id}\n`);
  for (const line of details) print(`      ${line}\n`);
  // What is well and still has lines keeps them for later: to be pasted as they are.
  if (level === 'ok') for (const line of mend) print(`        ${line}\n`);
  else mend.forEach((line, index) => print(`      ${index === 0 ? 'fix: ' : '     '}${line}\n`));
}

function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
