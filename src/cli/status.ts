import { controlKeys, type LeaseRow, type SchemaBlock, type SinkRow, type StatusRow, type TableRow } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import type { PipelineConfig } from '../config/config.ts';
import type { LeaseStatus, PipelineStatus, SinkStatus, Trouble } from '../http/status-document.ts';
import { loadedConfig, pipelinesOf, withControl, type CommandContext } from './context.ts';
import { formatAge, formatBytes, printJson, printTable } from './io.ts';
import { SILENT_MS, valueOf } from './rows.ts';

type Seen = {
  readonly pipeline: PipelineConfig;
  /** What the daemon wrote last; null where none ever did. */
  readonly status: PipelineStatus | null;
  readonly ageMs: number | null;
  readonly running: boolean;
  readonly lease: LeaseRow | null;
  readonly tables: readonly TableRow[];
  readonly sinks: ReadonlyMap<string, SinkRow>;
};

export async function status(context: CommandContext): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const seen = await withControl(context, config, (control) =>
    Promise.all(pipelinesOf(config, options.pipeline).map((pipeline) => look(context, control, pipeline))),
  );
  if (options.output === 'json') {
    const pipelines = seen.map(({ pipeline, status: document, ageMs, running, lease }) => ({
      name: pipeline.name,
      daemonRunning: running,
      statusAgeMs: ageMs,
      lease: leaseJson(lease, expiryOf(document, running ? ageMs : null)),
      status: document,
    }));
    printJson(io, 'StatusList', { pipelines });
    return 0;
  }
  printTable(
    io,
    [
      'PIPELINE',
      'STATE',
      'HOLDER',
      'GENERATION',
      'EXPIRES',
      'SINK',
      'SINK STATE',
      'PARTITIONS',
      'LAG',
      'RECORDS',
      'BACKLOG',
      'LOG',
      'PARKED',
    ],
    seen.flatMap(rowsOf),
  );
  for (const one of seen) explain(context, one);
  return 0;
}

function leaseJson(lease: LeaseRow | null, expiresInMs: number | null): Readonly<Record<string, unknown>> | null {
  if (lease === null) return null;
  const { token, describedAs, holder, ttlMs } = lease;
  return { generation: token, holder: describedAs ?? holder, ttlMs, expiresInSeconds: expiresInMs === null ? null : expiresInMs / 1_000 };
}

async function look(context: CommandContext, control: ControlStore, pipeline: PipelineConfig): Promise<Seen> {
  const { signal } = context.io;
  const { name } = pipeline;
  const row = await valueOf<StatusRow>(control, controlKeys.status(name), signal);
  const ageMs = row === null ? null : Math.max(0, context.parts.runtime.wallMs() - row.writtenAtWallMs);
  const tables = await control.list(controlKeys.tables(name), signal);
  const sinks = new Map<string, SinkRow>();
  for (const sink of pipeline.sinks) {
    const sinkRow = await valueOf<SinkRow>(control, controlKeys.sink(name, sink.name), signal);
    if (sinkRow !== null) sinks.set(sink.name, sinkRow);
  }
  return {
    pipeline,
    status: row === null ? null : (row.document as PipelineStatus),
    ageMs,
    running: ageMs !== null && ageMs < SILENT_MS,
    lease: await valueOf<LeaseRow>(control, controlKeys.lease(name), signal),
    tables: tables.map(({ value }) => value as TableRow),
    sinks,
  };
}

function rowsOf({ pipeline, status: document, ageMs, running, lease, sinks }: Seen): readonly (readonly string[])[] {
  const expiresInMs = expiryOf(document, running ? ageMs : null);
  const expires = expiresInMs === null ? '-' : `in ${formatAge(expiresInMs)}`;
  return pipeline.sinks.map((sink) => {
    const live = running ? document?.sinks.find(({ name }) => name === sink.name) : undefined;
    const lag = live?.lagSeconds ?? null;
    return [
      pipeline.name,
      running ? (document?.state ?? '-') : 'no daemon',
      lease?.holder === null ? '-' : (lease?.describedAs ?? lease?.holder ?? '-'),
      lease === null ? '-' : String(lease.token),
      expires,
      sink.name,
      live?.state ?? sinks.get(sink.name)?.state ?? '-',
      partitionsText(live),
      lag === null ? '-' : formatAge(lag * 1_000),
      typeof live?.lagRecords === 'number' ? String(live.lagRecords) : '-',
      running && document?.slot ? formatBytes(document.slot.backlogBytes) : '-',
      running && typeof document?.log?.bytes === 'number' ? formatBytes(document.log.bytes) : '-',
      live === undefined ? '-' : String(live.parkedKeys),
    ];
  });
}

/** As its holder told it, less the time since then. A daemon of an older release does not tell. */
function expiryOf(document: PipelineStatus | null, ageMs: number | null): number | null {
  const seconds = (document?.lease as Partial<LeaseStatus> | null | undefined)?.expiresInSeconds ?? null;
  return seconds === null || ageMs === null ? null : Math.max(0, seconds * 1_000 - ageMs);
}

/** Those of the daemon that captures: `0,2`. */
function partitionsText(live: Partial<SinkStatus> | undefined): string {
  const numbers = (live?.partitions ?? []).map(({ partition }) => partition);
  return numbers.length === 0 ? '-' : numbers.join(',');
}

function explain({ io, parts }: CommandContext, { pipeline, status: document, running, ageMs, tables, sinks }: Seen): void {
  const say = (text: string): void => io.stderr(`${pipeline.name}: ${text}\n`);
  const reasonOf = ({ code, message, mend, sinceWallMs }: Trouble): string =>
    `${code} for ${formatAge(parts.runtime.wallMs() - sinceWallMs)}: ${message}. ${mend}`;
  if (!running) {
    say(
      ageMs === null
        ? 'no daemon has run yet; start one with `causeway run`'
        : `no daemon runs: the last one wrote its status ${formatAge(ageMs)} ago`,
    );
  }
  for (const { table, state, reason } of tables) {
    if (state !== 'streaming') say(`table ${table} is ${state}: ${reason?.text ?? ''} (docs/resync.md)`);
  }
  const trouble = running ? document?.trouble : null;
  if (trouble) say(reasonOf(trouble));
  for (const sink of running ? (document?.sinks ?? []) : []) {
    if (sink.trouble !== null) say(`sink ${sink.name}: ${reasonOf(sink.trouble)}`);
  }
  const live = (name: string): readonly SchemaBlock[] =>
    (running ? document?.sinks.find((sink) => sink.name === name)?.blocked : undefined) ?? [];
  for (const [name, row] of sinks) {
    for (const block of row.blocked.filter(({ approved }) => !approved)) {
      say(`sink ${name}: a new schema of ${block.table} waits: see \`causeway schema diff\`, then \`causeway schema approve\``);
    }
    // What was approved is shown as blocked for as long as the target table does not take its rows.
    for (const block of live(name).filter(({ approved }) => approved)) {
      say(`sink ${name}: the new schema of ${block.table} is approved, but the target is not ready: ${block.reasons.join('; ')}`);
    }
  }
}
