import { controlKeys, type RequestRow } from '#core/control-rows.ts';
import type { ControlKey, ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { parseRowKey, type RowKey } from '#core/key.ts';
import { keysOfOneRequest, type RowsAnswer, type RowsRequestArgs } from '#core/rows-request.ts';
import type { Sequence } from '#core/sequence.ts';
import type { SinkProgress } from '#core/sink.ts';
import type { PipelineConfig, SinkConfig } from '../config/config.ts';
import { loadedConfig, onePipeline, sinksOf, timeoutMs, withControl, withLog, withSink, type CommandContext } from './context.ts';
import { daemonRuns, keyOf, newRequestId, parkedOf, POLL_MS } from './dlq.ts';
import { printJson } from './io.ts';

export type RepairOptions = { readonly sink: string | undefined; readonly keys: readonly string[] };

type Place = { readonly pipeline: PipelineConfig; readonly sink: SinkConfig };

/** Parked keys, with the partitions that they stand in. */
type Parked = ReadonlyMap<RowKey, { readonly partition: number; readonly code: string }>;

type Request = { readonly key: ControlKey; readonly row: RequestRow };

/** Has the source's rows of parked keys published anew, for the sink alone, and waits until it has come to them. */
export async function repair(context: CommandContext, selected: RepairOptions): Promise<number> {
  const { io, options, parts } = context;
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, options.pipeline);
  const [sink, ...others] = sinksOf(pipeline, selected.sink);
  if (sink === undefined || others.length > 0) throw new CausewayError('usage', 'the pipeline has several sinks; name one with --sink');
  const place: Place = { pipeline, sink };
  const parked = await keysParked(context, place);
  const wanted = selected.keys.length === 0 ? [...parked.keys()] : [...new Set(selected.keys.map(keyOf))];
  if (!wanted.every((key) => parked.has(key)))
    throw new CausewayError('refused', 'a key that was named is not parked; `causeway dlq list` shows which are');
  const deadlineMs = parts.runtime.monotonicMs() + timeoutMs(options);
  return await withControl(context, config, async (control) => {
    const requests = await ask(context, { control, place, wanted });
    if (requests.length > 0 && !(await daemonRuns(context, control, pipeline))) {
      io.stderr(`no daemon runs: what was asked for waits for the next one\n`);
      return 5;
    }
    const over = await answers(context, { control, requests, deadlineMs });
    const highs = over?.flatMap(({ args }) => answerOf(args)?.high ?? []);
    const partitions = new Set(wanted.flatMap((key) => parked.get(key)?.partition ?? []));
    if (over === null || highs === undefined || !(await reached(context, { place, partitions, highs, deadlineMs }))) {
      io.stderr(`not done within ${options.timeout}; it goes on\n`);
      return 5;
    }
    for (const { key } of requests) await removed(control, key, io.signal);
    return report(context, { place, wanted, left: await keysParked(context, place), over });
  });
}

async function keysParked(context: CommandContext, { pipeline, sink }: Place): Promise<Parked> {
  const letters = await parkedOf(context, pipeline, sink.name);
  return new Map(letters.map(({ key, partition, code }) => [key, { partition, code }]));
}

async function ask(
  context: CommandContext,
  of: { readonly control: ControlStore; readonly place: Place; readonly wanted: readonly RowKey[] },
): Promise<readonly Request[]> {
  const { pipeline, sink } = of.place;
  const requests: Request[] = [];
  for (const [table, keys] of Map.groupBy(of.wanted, (key) => parseRowKey(key).table)) {
    for (let at = 0; at < keys.length;) {
      const some = keysOfOneRequest(keys.slice(at));
      const args: RowsRequestArgs = { table, sink: sink.name, keys: some, purpose: 'publish', salt: '', digests: [] };
      const row: RequestRow = { kind: 'rows', args, state: 'pending', result: null };
      const key = controlKeys.request(pipeline.name, newRequestId(context));
      await of.control.swap({ key, value: row, expected: null }, context.io.signal);
      requests.push({ key, row });
      at += some.length;
    }
  }
  return requests;
}

/** Null once the time is over. */
async function answers(
  { io, parts }: CommandContext,
  of: { readonly control: ControlStore; readonly requests: readonly Request[]; readonly deadlineMs: number },
): Promise<readonly RequestRow[] | null> {
  const over: RequestRow[] = [];
  for (const { key } of of.requests) {
    while (true) {
      const found = await of.control.get(key, io.signal);
      if (found === null) throw new CausewayError('refused', 'what was asked for is gone: the pipeline was removed meanwhile');
      const row = found.value as RequestRow;
      if (row.state !== 'pending') {
        over.push(row);
        break;
      }
      if (parts.runtime.monotonicMs() > of.deadlineMs) return null;
      await parts.runtime.sleep(POLL_MS, io.signal);
    }
  }
  return over;
}

/** True once the sink's own progress is behind all that was published; false once the time is over. */
async function reached(
  context: CommandContext,
  of: {
    readonly place: Place;
    readonly partitions: ReadonlySet<number>;
    readonly highs: readonly Sequence[];
    readonly deadlineMs: number;
  },
): Promise<boolean> {
  const { io, parts } = context;
  if (of.highs.length === 0) return true;
  const high = of.highs.reduce((a, b) => (a < b ? b : a));
  const partitions = await withLog(context, of.place.pipeline, (log) => Promise.resolve(log.partitions));
  const isBehind = (progress: SinkProgress | undefined): boolean => (progress?.watermark?.sequence ?? '') < high;
  return await withSink(context, { ...of.place, partitions }, async (sink) => {
    while (true) {
      const progress = await sink.progress(io.signal);
      if (![...of.partitions].some((partition) => isBehind(progress.get(partition)))) return true;
      if (parts.runtime.monotonicMs() > of.deadlineMs) return false;
      await parts.runtime.sleep(POLL_MS, io.signal);
    }
  });
}

function report(
  { io, options }: CommandContext,
  of: { readonly place: Place; readonly wanted: readonly RowKey[]; readonly left: Parked; readonly over: readonly RequestRow[] },
): number {
  const kept = new Map<string, number>();
  for (const key of of.wanted) {
    const code = of.left.get(key)?.code;
    if (code !== undefined) kept.set(code, (kept.get(code) ?? 0) + 1);
  }
  const stay = [...kept.values()].reduce((sum, keys) => sum + keys, 0);
  const released = of.wanted.length - stay;
  const failed = of.over.filter(({ state }) => state === 'failed').map(({ result }) => result ?? '');
  if (options.output === 'json') {
    const { pipeline, sink } = of.place;
    printJson(io, 'Repair', { pipeline: pipeline.name, sink: sink.name, released, kept: Object.fromEntries(kept), failed });
  } else {
    const count = (keys: number): string => `${keys} ${keys === 1 ? 'key' : 'keys'}`;
    const left = [...kept].map(([code, keys]) => `${count(keys)} ${keys === 1 ? 'stays' : 'stay'} parked: ${code}`);
    io.stdout(`${[`${count(released)} released`, ...left].join('; ')}\n`);
    for (const reason of failed) io.stderr(`${reason}\n`);
  }
  if (failed.length > 0) return 1;
  return stay > 0 ? 8 : 0;
}

function answerOf(args: RequestRow['args']): RowsAnswer | undefined {
  return (args as Partial<RowsRequestArgs>).answer;
}

/** It was read: nobody else waits for it. */
async function removed(control: ControlStore, key: ControlKey, signal: AbortSignal): Promise<void> {
  const found = await control.get(key, signal);
  if (found !== null) await control.remove(key, found.version, signal);
}
