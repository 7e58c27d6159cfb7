import { controlKeys, type CheckpointRow, type SinkRow } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { codeOf } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { Log, LogExpectation, LogUsage } from '#core/log.ts';
import type { PipelineConfig } from '../config/config.ts';
import { withLog, type CommandContext } from './context.ts';

/** `control` is null where the store cannot be used: what was made before is then not known. */
export async function logFindings(
  context: CommandContext,
  control: ControlStore | null,
  pipeline: PipelineConfig,
): Promise<readonly Finding[]> {
  const { signal } = context.io;
  const { expected, partitions } = await expectationOf(control, pipeline, signal);
  return await withLog(context, pipeline, async (log) => {
    const findings = [await usageFinding(log, expected.started, signal)];
    if (partitions !== null && partitions !== log.partitions) findings.push(partitionsFinding(log.partitions, partitions));
    return log.check === undefined ? findings : [...findings, ...(await log.check(expected, signal))];
  });
}

async function expectationOf(
  control: ControlStore | null,
  { name, sinks }: PipelineConfig,
  signal: AbortSignal,
): Promise<{ readonly expected: LogExpectation; readonly partitions: number | null }> {
  if (control === null) {
    return { expected: { started: null, consumers: sinks.map((sink) => ({ name: sink.name, known: false })) }, partitions: null };
  }
  const checkpoint = (await control.get(controlKeys.checkpoint(name), signal))?.value as CheckpointRow | undefined;
  const consumers: { name: string; known: boolean }[] = [];
  for (const sink of sinks) {
    const row = (await control.get(controlKeys.sink(name, sink.name), signal))?.value as SinkRow | undefined;
    consumers.push({ name: sink.name, known: row?.state === 'known' });
  }
  return { expected: { started: checkpoint !== undefined, consumers }, partitions: checkpoint?.partitions.length ?? null };
}

async function usageFinding(log: Log, started: boolean | null, signal: AbortSignal): Promise<Finding> {
  let usage: LogUsage;
  try {
    usage = await log.usage(signal);
  } catch (error) {
    if (started === true || codeOf(error) !== 'log_unavailable') throw error;
    const title = 'the log is made when the pipeline first starts';
    return { id: 'LG-001', level: 'skipped', title, details: [], mend: [] };
  }
  const { bytes, bytesMax } = usage;
  const full = bytes !== null && bytesMax !== null && bytes > bytesMax * 0.8;
  const mend = 'Bring the sink back, raise `log.bytesMax`, or give the sink up with `causeway pipeline remove --sink`.';
  return {
    id: 'LG-001',
    level: full ? 'warning' : 'ok',
    title: full ? 'the log is nearly full: a sink is behind, and capture will wait' : 'the log can be opened',
    details: [],
    mend: full ? [mend] : [],
  };
}

function partitionsFinding(configured: number, before: number): Finding {
  return {
    id: 'LG-002',
    level: 'error',
    title: `the log has ${configured} partitions, and the pipeline was started with ${before}`,
    details: ['Keys would stand in other partitions than before.'],
    mend: [`Set \`log.partitions\` to ${before}. For another number take a new log and load again: docs/resync.md.`],
  };
}
