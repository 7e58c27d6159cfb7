import { CausewayError, codeOf, type ErrorCode } from '#core/errors.ts';
import { controlKeys } from '#core/control-rows.ts';
import type { CheckpointRow, SchemaBlock, SinkRow } from '#core/control-rows.ts';
import type { RowVersion } from '#core/control.ts';
import type { LogEnds } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import { randomName } from '#core/random-name.ts';
import type { TableId } from '#core/schema.ts';
import type { SinkProgress } from '#core/sink.ts';
import type { KnownSchemas } from './catalogue.ts';
import type { ApplyDeps } from './deps.ts';
import { rideOut } from './ride-out.ts';

export type StoredSinkRow = { readonly row: SinkRow; readonly version: RowVersion };

export async function readSinkRow(deps: ApplyDeps, signal: AbortSignal): Promise<StoredSinkRow | null> {
  const stored = await deps.control.get(controlKeys.sink(deps.pipeline, deps.sinkName), signal);
  return stored === null ? null : { row: stored.value as SinkRow, version: stored.version };
}

/** Changes the row by compare-and-swap until that succeeds. `change` returns null where nothing is left to be changed. */
export async function changeSinkRow(deps: ApplyDeps, change: (row: SinkRow) => SinkRow | null, signal: AbortSignal): Promise<SinkRow> {
  const key = controlKeys.sink(deps.pipeline, deps.sinkName);
  while (true) {
    const stored = await readSinkRow(deps, signal);
    if (stored === null)
      throw new CausewayError('sink_unknown_progress', `the sink ${deps.sinkName} has no row in the control store any more`);
    const changed = change(stored.row);
    if (changed === null) return stored.row;
    const swap = await deps.control.swap({ key, value: changed, expected: stored.version }, signal);
    if (swap.tag === 'stored') return changed;
  }
}

/**
 * Waits until capture registered the sink, which it does for every configured sink before it first publishes. A log with records
 * and no row for the sink means that the sink was configured later: it then registers itself, and owes itself what the log held before.
 */
export async function awaitSinkRow(deps: ApplyDeps, schemas: KnownSchemas, signal: AbortSignal): Promise<SinkRow> {
  for (let first = true; ; first = false) {
    const ends = await endsSoFar(deps, signal);
    const stored = await readSinkRow(deps, signal);
    if (stored !== null) return stored.row;
    // The ends were read before the row, so records without a row cannot be those of a pipeline that just starts.
    if (ends.some((end) => end.end > 0)) {
      const registered = await registerLater(deps, schemas, signal);
      if (registered !== null) return registered;
    } else if (first) {
      deps.logger.log('info', 'waiting for capture to register the sink');
    }
    await deps.runtime.sleep(deps.options.controlPollMs, signal);
  }
}

/** What a log answers that was never made. */
const NO_LOG: ReadonlySet<ErrorCode> = new Set(['log_unavailable', 'log_topic_missing']);

/** None while there is no log: capture makes it at the first start, and before that is through there is no checkpoint. */
async function endsSoFar(deps: ApplyDeps, signal: AbortSignal): Promise<readonly LogEnds[]> {
  try {
    return await deps.log.ends(signal);
  } catch (error) {
    if (!NO_LOG.has(codeOf(error)) || (await checkpointOf(deps, signal)) !== null) throw error;
    return [];
  }
}

async function registerLater(deps: ApplyDeps, schemas: KnownSchemas, signal: AbortSignal): Promise<SinkRow | null> {
  const before = await checkpointOf(deps, signal);
  const ends = await deps.log.ends(signal);
  const after = await checkpointOf(deps, signal);
  // The start offsets belong to a generation only if none began while they were read.
  if (before === null || after?.generation !== before.generation) return null;
  // Behind the ends: what is captured only from here on is loaded for all sinks, behind the start offsets.
  await schemas.load(deps.control, deps.pipeline, signal);
  const owes = schemas.captured().filter((table) => !deps.snapshotNever(table));
  const row: SinkRow = {
    state: 'new',
    reason: null,
    owner: randomName(deps.runtime),
    startOffsets: ends.map((end) => end.end),
    startGeneration: before.generation,
    blocked: newestApproved(schemas),
    ...(owes.length === 0 ? {} : { owes }),
  };
  const swap = await deps.control.swap({ key: controlKeys.sink(deps.pipeline, deps.sinkName), value: row, expected: null }, signal);
  return swap.tag === 'stored' ? row : null;
}

/** A new sink's tables are made from the newest schemas, so the step from an older one to them needs nobody's approval. */
function newestApproved(schemas: KnownSchemas): SchemaBlock[] {
  return [...schemas.live().values()].flatMap((versions) => {
    const newest = versions.at(-1);
    if (newest === undefined || versions.length < 2) return [];
    return [{ table: newest.table, version: newest.version, reasons: ['the sink was made from this schema'], approved: true }];
  });
}

async function checkpointOf(deps: ApplyDeps, signal: AbortSignal): Promise<CheckpointRow | null> {
  const stored = await deps.control.get(controlKeys.checkpoint(deps.pipeline), signal);
  return stored === null ? null : (stored.value as CheckpointRow);
}

/**
 * What a new sink owes itself counts as being loaded from the first record on, in every partition: until the end of its own load has come
 * by there, nothing is claimed of the table, and a partial image without its row is dropped.
 */
export function firstProgress(of: {
  readonly offset: Offset;
  readonly sinkName: string;
  readonly owes?: readonly TableId[] | undefined;
}): SinkProgress {
  const { offset, sinkName, owes = [] } = of;
  const openLoads = owes.map((table) => ({ table, sink: sinkName }));
  return { offset, pair: null, holder: null, watermark: null, floors: [], openLoads, epochs: [], replays: 0 };
}

/**
 * Makes a new sink known: its start offsets become its first progress in every partition, and only then the row says so. A
 * worker that dies in between finds the sink new and the same start offsets.
 */
export async function makeKnown(deps: ApplyDeps, row: SinkRow, signal: AbortSignal): Promise<SinkRow> {
  for (const [partition, offset] of row.startOffsets.entries()) {
    await rideOut(deps, () => writeFirstProgress(deps, { partition, offset, owes: row.owes }, signal), { signal });
  }
  return rideOut(deps, () => changeSinkRow(deps, (now) => (now.state === 'new' ? { ...now, state: 'known' } : null), signal), { signal });
}

async function writeFirstProgress(
  deps: ApplyDeps,
  start: { readonly partition: number; readonly offset: Offset; readonly owes: SinkRow['owes'] },
  signal: AbortSignal,
): Promise<void> {
  const stored = (await deps.sink.progress(signal)).get(start.partition);
  if (stored === undefined) {
    await using held = await deps.sink.assign(start.partition, signal);
    if (held.start === null) await held.save(firstProgress({ ...start, sinkName: deps.sinkName }), signal);
    return;
  }
  if (stored.pair === null && stored.offset === start.offset) return;
  // Another process can have made the sink known, and moved on, since the row was read.
  const now = await readSinkRow(deps, signal);
  if (now?.row.state === 'known') return;
  throw new CausewayError(
    'sink_misconfigured',
    `the sink ${deps.sinkName} is new, but holds progress of an earlier pipeline: remove that with ` +
      `\`causeway pipeline remove --sink ${deps.sinkName} --confirm ${deps.pipeline}\``,
  );
}
