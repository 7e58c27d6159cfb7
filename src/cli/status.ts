import {
  controlKeys,
  type LeaseRow,
  type SchemaBlock,
  type SinkRow,
  type StatusRow,
  type TableRow,
  type WorkerRow,
} from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import type { PipelineConfig } from '../config/config.ts';
import { reconcileText } from '../runtime/reconcile-view.ts';
import type { LeaseStatus, LoadStatus, PipelineStatus, SinkStatus, Trouble } from '../http/status-document.ts';
import { loadedConfig, pipelinesOf, withControl, type CommandContext } from './context.ts';
import { formatAge, formatBytes, printJson, printTable } from './io.ts';
import { SILENT_MS, valueOf } from './rows.ts';

/** Tables that one line names. */
const NAMED_MAX = 5;

type Seen = {
  readonly pipeline: PipelineConfig;
  /** What the daemon wrote last; null where none ever did. */
  readonly status: PipelineStatus | null;
  readonly ageMs: number | null;
  readonly running: boolean;
  readonly lease: LeaseRow | null;
  readonly tables: readonly TableRow[];
  readonly sinks: ReadonlyMap<string, SinkRow>;
  /** Of each daemon that lives and applies partitions while another one captures. */
  readonly workers: readonly Worker[];
};

type Worker = { readonly process: string; readonly sinks: readonly SinkStatus[] };

export async function status(context: CommandContext): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const seen = await withControl(context, config, (control) =>
    Promise.all(pipelinesOf(config, options.pipeline).map((pipeline) => look(context, control, pipeline))),
  );
  if (options.output === 'json') {
    const pipelines = seen.map(({ pipeline, status: document, ageMs, running, lease, workers }) => ({
      name: pipeline.name,
      daemonRunning: running,
      statusAgeMs: ageMs,
      lease: leaseJson(lease, expiryOf(document, running ? ageMs : null)),
      status: document,
      workers,
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
  const workers = await control.list(controlKeys.workers(name), signal);
  return {
    pipeline,
    status: row === null ? null : (row.document as PipelineStatus),
    ageMs,
    running: ageMs !== null && ageMs < SILENT_MS,
    lease: await valueOf<LeaseRow>(control, controlKeys.lease(name), signal),
    tables: tables.map(({ value }) => value as TableRow),
    sinks,
    workers: workers
      .map(({ value }) => value as WorkerRow)
      .filter(({ writtenAtWallMs }) => context.parts.runtime.wallMs() - writtenAtWallMs < SILENT_MS)
      .map((worker) => ({ process: worker.describedAs, sinks: worker.sinks as readonly SinkStatus[] })),
  };
}

function rowsOf({ pipeline, status: document, ageMs, running, lease, sinks, workers }: Seen): readonly (readonly string[])[] {
  const expiresInMs = expiryOf(document, running ? ageMs : null);
  const expires = expiresInMs === null ? '-' : `in ${formatAge(expiresInMs)}`;
  return pipeline.sinks.map((sink) => {
    const live = running ? document?.sinks.find(({ name }) => name === sink.name) : undefined;
    const lag = live?.lagSeconds ?? null;
    const parts = partsOf(sink.name, live, workers);
    const applying = parts.filter(({ partitions = [] }) => partitions.length > 0);
    const records = sumOf(applying.map(({ lagRecords }) => lagRecords ?? null));
    return [
      pipeline.name,
      running ? (document?.state ?? '-') : 'no daemon',
      lease?.holder === null ? '-' : (lease?.describedAs ?? lease?.holder ?? '-'),
      lease === null ? '-' : String(lease.token),
      expires,
      sink.name,
      live?.state ?? sinks.get(sink.name)?.state ?? '-',
      partitionsText(parts),
      lag === null ? '-' : formatAge(lag * 1_000),
      records === null ? '-' : String(records),
      running && document?.slot ? formatBytes(document.slot.backlogBytes) : '-',
      running && typeof document?.log?.bytes === 'number' ? formatBytes(document.log.bytes) : '-',
      parts.length === 0 ? '-' : String(sumOf(parts.map(({ parkedKeys = 0 }) => parkedKeys))),
    ];
  });
}

/** As its holder told it, less the time since then. A daemon of an older release does not tell. */
function expiryOf(document: PipelineStatus | null, ageMs: number | null): number | null {
  const seconds = (document?.lease as Partial<LeaseStatus> | null | undefined)?.expiresInSeconds ?? null;
  return seconds === null || ageMs === null ? null : Math.max(0, seconds * 1_000 - ageMs);
}

/** What each living daemon tells of a sink, the one that captures first. A daemon of an older release tells of no partitions. */
function partsOf(name: string, live: SinkStatus | undefined, workers: readonly Worker[]): readonly Partial<SinkStatus>[] {
  const others = workers.flatMap((worker) => worker.sinks.filter((sink) => sink.name === name));
  return live === undefined ? others : [live, ...others];
}

/** Null where one that applies something does not know. */
function sumOf(counts: readonly (number | null)[]): number | null {
  return counts.reduce((sum, count) => (sum === null || count === null ? null : sum + count), counts.length === 0 ? null : 0);
}

function loadText({ table, sink, state, paused, rows, bytes, rowsExpected, percent }: LoadStatus): string {
  const far = percent === null ? '' : `, ${percent.toFixed(0)} % of about ${rowsExpected}`;
  const only = sink === null ? '' : ` for the sink ${sink}`;
  return `table ${table} is being loaded${only} (${paused ? 'paused' : state}): ${rows} rows, ${formatBytes(bytes)}${far}`;
}

/** Why loads read no rows for now. */
export function heldLine({ reason, mend, sinceWallMs }: NonNullable<PipelineStatus['loadsHeld']>, nowWallMs: number): string {
  return `loads are held for ${formatAge(nowWallMs - sinceWallMs)}: ${reason}. ${mend}`;
}

/** The first few by name. */
function listed(tables: readonly string[]): string {
  const more = tables.length - NAMED_MAX;
  return `${tables.slice(0, NAMED_MAX).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** By daemon: `0,2 1,3`. */
function partitionsText(parts: readonly Partial<SinkStatus>[]): string {
  const texts = parts.map(({ partitions = [] }) => partitions.map(({ partition }) => partition).join(','));
  return texts.filter((text) => text !== '').join(' ') || '-';
}

function explain({ io, parts }: CommandContext, { pipeline, status: document, running, ageMs, tables, sinks, workers }: Seen): void {
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
  // A daemon of an older release tells of no loads.
  for (const load of running ? ((document as Partial<PipelineStatus> | null)?.loads ?? []) : []) say(loadText(load));
  const held = running ? ((document as Partial<PipelineStatus> | null)?.loadsHeld ?? null) : null;
  if (held !== null) say(heldLine(held, parts.runtime.wallMs()));
  for (const { table, state, reason } of tables) {
    if (state !== 'streaming') say(`table ${table} is ${state}: ${reason?.text ?? ''} (docs/resync.md)`);
  }
  // Nor does it tell of tables that are not captured.
  for (const { table, reason, mend } of running ? ((document as Partial<PipelineStatus> | null)?.refused ?? []) : []) {
    say(`table ${table} is not captured: ${reason}: ${mend}`);
  }
  const trouble = running ? document?.trouble : null;
  if (trouble) say(reasonOf(trouble));
  for (const sink of running ? (document?.sinks ?? []) : []) {
    // A daemon of an older release tells of none.
    const { reconcile = null } = sink as Partial<SinkStatus>;
    if (reconcile !== null) say(`sink ${sink.name}: ${reconcileText(reconcile)}`);
    if (sink.trouble !== null) say(`sink ${sink.name}: ${reasonOf(sink.trouble)}`);
    // A daemon of an older release does not tell.
    const { loading = [] } = sink as Partial<SinkStatus>;
    if (loading.length > 0) say(`sink ${sink.name}: its lag says nothing of what is being loaded there: ${listed(loading)}`);
  }
  for (const { process, sinks: applied } of workers) {
    for (const { name, partitions } of applied) {
      say(`sink ${name}: ${process} applies the partitions ${partitions.map(({ partition }) => partition).join(',')}`);
    }
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
