import { controlKeys, type DesiredRow, type LeaseRow, type StatusRow } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { ControlStore } from '#core/control.ts';
import type { PipelineConfig } from '../config/config.ts';
import type { PipelineStatus } from '../http/status-document.ts';
import { errorFields } from '../runtime/logger.ts';
import { loadedConfig, onePipeline, pipelinesOf, sinksOf, timeoutMs, withControl, withSource, type CommandContext } from './context.ts';
import { formatAge, formatBytes, printJson, printTable } from './io.ts';
import { changeRow, valueOf } from './rows.ts';

const nothingPaused: DesiredRow = { paused: false, pausedSinks: [] };
const POLL_MS = 250;
/** A daemon writes every two seconds. */
const SILENT_MS = 10_000;
/** How long the source's log is watched to tell how fast it grows. */
const RATE_MS = 2_000;

export async function list(context: CommandContext): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const rows = await withControl(context, config, (control) =>
    Promise.all(
      pipelinesOf(config, options.pipeline).map(async ({ name, source, sinks }) => ({
        name,
        source: source.kind,
        sinks: sinks.map((sink) => `${sink.name} (${sink.kind})`),
        desired: (await valueOf<DesiredRow>(control, controlKeys.desired(name), io.signal)) ?? nothingPaused,
        lease: await valueOf<LeaseRow>(control, controlKeys.lease(name), io.signal),
      })),
    ),
  );
  if (options.output === 'json') printJson(io, 'PipelineList', { pipelines: rows });
  else {
    printTable(
      io,
      ['PIPELINE', 'SOURCE', 'SINKS', 'PAUSED', 'GENERATION'],
      rows.map(({ name, source, sinks, desired, lease }) => [
        name,
        source,
        sinks.join(', '),
        desired.paused ? 'yes' : desired.pausedSinks.length > 0 ? desired.pausedSinks.join(', ') : 'no',
        lease === null ? '-' : String(lease.token),
      ]),
    );
  }
  return 0;
}

export async function setPaused(
  context: CommandContext,
  input: { readonly paused: boolean; readonly sink: string | undefined },
): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, options.pipeline);
  if (input.sink !== undefined) sinksOf(pipeline, input.sink);
  const waitMs = timeoutMs(options);
  return await withControl(context, config, async (control) => {
    const desired = await changeRow<DesiredRow>(
      control,
      { key: controlKeys.desired(pipeline.name), change: (now) => changed(now ?? nothingPaused, input) },
      io.signal,
    );
    const followed = await awaitDaemon(context, { control, pipeline, ...input, waitMs });
    const what = input.sink === undefined ? pipeline.name : `sink ${input.sink} of ${pipeline.name}`;
    io.stderr(
      `${what} is ${input.paused ? 'paused' : 'resumed'}${followed === 'none' ? '; no daemon runs, so this holds from its next start' : ''}\n`,
    );
    const wal = input.paused && input.sink === undefined ? await retained(context, pipeline) : null;
    if (options.output === 'json') printJson(io, 'Desired', { pipeline: pipeline.name, ...desired, sourceLog: wal });
    if (followed === 'timeout') {
      io.stderr(`the daemon has not followed within ${options.timeout}; the request stands\n`);
      return 5;
    }
    return 0;
  });
}

function changed(now: DesiredRow, { paused, sink }: { readonly paused: boolean; readonly sink: string | undefined }): DesiredRow {
  if (sink === undefined) return { ...now, paused };
  const others = now.pausedSinks.filter((name) => name !== sink);
  return { ...now, pausedSinks: paused ? [...others, sink] : others };
}

/** Waits until the daemon's status shows what is wanted; `none` where no daemon writes one. */
async function awaitDaemon(
  { io, parts: { runtime } }: CommandContext,
  input: {
    readonly control: ControlStore;
    readonly pipeline: PipelineConfig;
    readonly paused: boolean;
    readonly sink: string | undefined;
    readonly waitMs: number;
  },
): Promise<'followed' | 'none' | 'timeout'> {
  const { control, pipeline, paused, sink, waitMs } = input;
  const startedAt = runtime.monotonicMs();
  while (true) {
    const row = await valueOf<StatusRow>(control, controlKeys.status(pipeline.name), io.signal);
    if (row === null || runtime.wallMs() - row.writtenAtWallMs > SILENT_MS) return 'none';
    const document = row.document as PipelineStatus;
    const state = sink === undefined ? document.state : document.sinks.find(({ name }) => name === sink)?.state;
    if ((state === 'paused') === paused) return 'followed';
    if (runtime.monotonicMs() - startedAt > waitMs) return 'timeout';
    await runtime.sleep(POLL_MS, io.signal);
  }
}

type Retained = {
  readonly slot: string;
  readonly retainedBytes: number;
  readonly bytesPerHour: number;
  readonly headroomBytes: number | null;
};

/** Says what the source keeps while nothing is read, and how fast that grows: a pause that lasts too long fills its disk. */
async function retained(context: CommandContext, pipeline: PipelineConfig): Promise<Retained | null> {
  const { io, parts } = context;
  try {
    return await withSource(context, pipeline, async (source) => {
      const before = (await source.inspect(io.signal)).slot;
      const startedAt = parts.runtime.monotonicMs();
      await parts.runtime.sleep(RATE_MS, io.signal);
      const after = (await source.inspect(io.signal)).slot;
      const elapsedMs = parts.runtime.monotonicMs() - startedAt;
      if (before === null || after === null) {
        io.stderr('the source has no slot yet, so it keeps nothing\n');
        return null;
      }
      const bytesPerHour = Math.max(0, ((after.backlogBytes - before.backlogBytes) / elapsedMs) * 3_600_000);
      io.stderr(
        `slot ${after.name} holds ${formatBytes(after.retainedBytes)} of the source's log now, and ${formatBytes(bytesPerHour)} more per hour at the current rate\n`,
      );
      if (after.headroomBytes !== null) {
        const lasts = bytesPerHour > 0 ? `, which lasts ${formatAge((after.headroomBytes / bytesPerHour) * 3_600_000)}` : '';
        io.stderr(`the source gives the slot up after another ${formatBytes(after.headroomBytes)}${lasts}\n`);
      }
      return { slot: after.name, retainedBytes: after.retainedBytes, bytesPerHour, headroomBytes: after.headroomBytes };
    });
  } catch (error) {
    if (!(error instanceof CausewayError)) throw error;
    io.stderr(`how much the source keeps could not be measured: ${error.code}: ${error.message}\n`);
    context.logger.log('debug', 'source', errorFields(error));
    return null;
  }
}
