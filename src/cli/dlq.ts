import { controlKeys, type RequestRow, type StatusRow } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { parseRowKey, type RowKey } from '#core/key.ts';
import type { DeadLetter } from '#core/log.ts';
import type { DeadLetterRequestArgs, DeadLetterRequestKind } from '../apply/requests.ts';
import type { PipelineConfig } from '../config/config.ts';
import { loadedConfig, onePipeline, sinksOf, timeoutMs, withControl, withLog, type CommandContext } from './context.ts';
import { formatAge, printJson, printTable } from './io.ts';
import { valueOf } from './rows.ts';

export const POLL_MS = 250;
const SILENT_MS = 10_000;

type Parked = DeadLetter & { readonly sink: string; readonly partition: number };

export async function parkedOf(context: CommandContext, pipeline: PipelineConfig, sink: string | undefined): Promise<readonly Parked[]> {
  const { signal } = context.io;
  return await withLog(context, pipeline, async (log) => {
    const found: Parked[] = [];
    for (const { name } of sinksOf(pipeline, sink)) {
      for (let partition = 0; partition < log.partitions; partition += 1) {
        for await (const letter of log.deadLetters(name).read(partition, signal)) found.push({ ...letter, sink: name, partition });
      }
    }
    return found;
  });
}

export async function list(context: CommandContext, selected: { readonly sink: string | undefined }): Promise<number> {
  const { io, options } = context;
  const pipeline = onePipeline(await loadedConfig(context), options.pipeline);
  const parked = await parkedOf(context, pipeline, selected.sink);
  if (options.output === 'json') {
    const items = parked.map(({ sink, partition, key, sequence, code, reason, committedAtMicros }) => ({
      sink,
      partition,
      key,
      sequence,
      code,
      reason,
      committedAtMicros,
    }));
    printJson(io, 'DeadLetterList', { pipeline: pipeline.name, parked: items });
    return 0;
  }
  const now = context.parts.runtime.wallMs();
  printTable(
    io,
    ['SINK', 'KEY', 'CODE', 'AGE', 'REASON'],
    parked.map(({ sink, key, code, reason, committedAtMicros }) => [sink, key, code, formatAge(now - committedAtMicros / 1_000), reason]),
  );
  return 0;
}

export async function show(
  context: CommandContext,
  selected: { readonly sink: string | undefined; readonly key: string; readonly showData: boolean },
): Promise<number> {
  const { io, options } = context;
  const pipeline = onePipeline(await loadedConfig(context), options.pipeline);
  const key = keyOf(selected.key);
  const found = (await parkedOf(context, pipeline, selected.sink)).filter((letter) => letter.key === key);
  if (found.length === 0) throw new CausewayError('refused', 'that key is not parked; `causeway dlq list` shows which are');
  for (const { record, ...letter } of found) {
    const text = record === null ? null : new TextDecoder().decode(record);
    const shown = { ...letter, replayable: record !== null, ...(selected.showData ? { record: text } : {}) };
    if (options.output === 'json') printJson(io, 'DeadLetter', { pipeline: pipeline.name, ...shown });
    else for (const [name, value] of Object.entries(shown)) io.stdout(`${name}: ${String(value)}\n`);
  }
  if (!selected.showData) io.stderr('the values of the row are shown with --show-data\n');
  return 0;
}

export type RequestOptions = {
  readonly sink: string | undefined;
  readonly keys: readonly string[];
  readonly all: boolean;
  readonly confirm: string | undefined;
};

/** Asks the daemon to write parked changes again, or to give them up, and waits for its answer. */
export async function request(context: CommandContext, kind: DeadLetterRequestKind, selected: RequestOptions): Promise<number> {
  const { io, options } = context;
  const config = await loadedConfig(context);
  const pipeline = onePipeline(config, options.pipeline);
  const [sink, ...others] = sinksOf(pipeline, selected.sink);
  if (sink === undefined || others.length > 0) throw new CausewayError('usage', 'the pipeline has several sinks; name one with --sink');
  if (selected.all === selected.keys.length > 0)
    throw new CausewayError('usage', 'name keys with --key, or take every parked key with --all');
  if (kind === 'dlq-discard' && selected.confirm !== sink.name) {
    throw new CausewayError('refused', `what is discarded is lost for the sink; confirm it with --confirm ${sink.name}`);
  }
  const args: DeadLetterRequestArgs = { sink: sink.name, keys: selected.all ? null : selected.keys.map(keyOf) };
  const row: RequestRow = { kind, args, state: 'pending', result: null };
  const id = newRequestId(context);
  return await withControl(context, config, async (control) => {
    const key = controlKeys.request(pipeline.name, id);
    await control.swap({ key, value: row, expected: null }, io.signal);
    if (!(await daemonRuns(context, control, pipeline))) {
      io.stderr(`no daemon runs: the request ${id} waits for the next one\n`);
      return 5;
    }
    return await awaitAnswer(context, { control, pipeline, id });
  });
}

export function newRequestId({ parts: { runtime } }: CommandContext): string {
  return `${runtime.wallMs().toString(36)}-${Math.floor(runtime.random() * 2 ** 32).toString(36)}`;
}

async function awaitAnswer(
  context: CommandContext,
  input: { readonly control: ControlStore; readonly pipeline: PipelineConfig; readonly id: string },
): Promise<number> {
  const { io, options, parts } = context;
  const { control, pipeline, id } = input;
  const waitMs = timeoutMs(options);
  const startedAt = parts.runtime.monotonicMs();
  while (true) {
    const row = await valueOf<RequestRow>(control, controlKeys.request(pipeline.name, id), io.signal);
    if (row === null) throw new CausewayError('refused', `the request ${id} is gone: the pipeline was removed meanwhile`);
    if (row.state !== 'pending') {
      if (options.output === 'json')
        printJson(io, 'Request', { id, state: row.state, result: row.result, answers: row.args['answers'] ?? {} });
      else io.stdout(`${row.result ?? row.state}\n`);
      if (row.state === 'failed') return 1;
      return keptOf(row) > 0 ? 8 : 0;
    }
    if (parts.runtime.monotonicMs() - startedAt > waitMs) {
      io.stderr(`not done within ${options.timeout}; the request ${id} goes on\n`);
      return 5;
    }
    await parts.runtime.sleep(POLL_MS, io.signal);
  }
}

function keptOf(row: RequestRow): number {
  const { answers = {} } = row.args as DeadLetterRequestArgs;
  return Object.values(answers).reduce((sum, { kept }) => sum + Object.values(kept).reduce((one, other) => one + other, 0), 0);
}

export async function daemonRuns({ io, parts }: CommandContext, control: ControlStore, { name }: PipelineConfig): Promise<boolean> {
  const row = await valueOf<StatusRow>(control, controlKeys.status(name), io.signal);
  return row !== null && parts.runtime.wallMs() - row.writtenAtWallMs < SILENT_MS;
}

/** A key as `dlq list` prints it: a JSON array of the table and the key columns. */
export function keyOf(text: string): RowKey {
  try {
    parseRowKey(text as RowKey);
    return JSON.stringify(JSON.parse(text)) as RowKey;
  } catch (error) {
    throw new CausewayError('usage', 'a key is written as `causeway dlq list` prints it, such as \'["public.orders","17"]\'', {
      cause: error,
    });
  }
}
