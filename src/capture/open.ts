import { controlKeys, type CheckpointRow, type EpochRow } from '#core/control-rows.ts';
import { CausewayError, codeOf } from '#core/errors.ts';
import type { SlotFacts, SourceFacts, SourceStream } from '#core/source.ts';
import { decideContinuity, type Continuity } from './continuity.ts';
import { readRow } from './control-rows.ts';
import { Encoder } from './encode.ts';
import type { EncodedBatch } from './encoded-batch.ts';
import { assertStillHolder, startFirst, type FirstStart } from './first-start.ts';
import { isEmptyLog, readLogTail, type LogTail } from './log-tail.ts';
import { shortHolder, type OwnRecords } from './own-records.ts';

export type Connected = {
  readonly stream: SourceStream;
  readonly checkpoint: CheckpointRow;
  readonly epoch: EpochRow;
  /** As it was just before the stream took it. */
  readonly slot: SlotFacts | null;
};

/**
 * Takes the slot: writes the own generation into the checkpoint, proves that the source joins on to what was captured, looks
 * at the tables, opens the stream, and proves it again. The same at each connect; the generation's first, at which `own` is null,
 * may also have to make what is missing.
 */
export async function connect(start: FirstStart, own: OwnRecords | null, signal: AbortSignal): Promise<Connected> {
  const { deps, checkpoint, tables } = start;
  const { source } = deps;
  const first = own === null;
  const tried = { fresh: false, provisioned: !first };
  while (true) {
    const stored = await checkpoint.fence(signal);
    const epoch = await readRow<EpochRow>(start.access, controlKeys.epoch(deps.pipeline), signal);
    const ends = await deps.log.ends(signal);
    await own?.lookBehind(ends, signal);
    const logEmpty = isEmptyLog(ends);
    if (stored !== null) assertPartitions(stored, deps.log.partitions);
    // Without a checkpoint the log alone can tell which generation was reached; this stops where it is not below ours.
    else if (!logEmpty) await readTail(start, { checkpoint: null, epoch }, signal);
    const proof = { checkpoint: stored, epoch, logEmpty };
    const { facts, decision } = await prove(start, proof, signal);
    if (decision.tag === 'start_fresh') {
      if (!first || tried.fresh)
        throw new CausewayError('checkpoint_lost', 'the checkpoint was removed from the control store while capture was connecting');
      tried.fresh = true;
      tried.provisioned = true;
      await startFirst(start, { facts, slot: decision.slot }, signal);
      continue;
    }
    if (!tried.provisioned) {
      // Only after the proof: nothing is made at a server that may be the wrong one.
      tried.provisioned = true;
      await source.provision('keep', signal);
      continue;
    }
    await tables.adopt(facts, signal);
    await tables.observe(facts, decision.checkpoint.position, signal);
    await using undo = new AsyncDisposableStack();
    const stream = undo.use(await source.open(signal));
    // Until it was taken the slot could still be moved, or another server have come in place of the first.
    await prove(start, proof, signal);
    undo.move();
    return { stream, checkpoint: decision.checkpoint, epoch: decision.epoch, slot: facts.slot };
  }
}

type Proof = Omit<Parameters<typeof decideContinuity>[0], 'facts' | 'comparePositions'>;

/** Looks at the source, which has to join on to what was captured. */
async function prove(
  start: FirstStart,
  proof: Proof,
  signal: AbortSignal,
): Promise<{ readonly facts: SourceFacts; readonly decision: Exclude<Continuity, { readonly tag: 'stop' }> }> {
  const { source, observer } = start.deps;
  const facts = await source.inspect(signal);
  observer.slot(facts.slot);
  const decision = decideContinuity({ ...proof, facts, comparePositions: (a, b) => source.comparePositions(a, b) });
  if (decision.tag === 'stop') {
    await assertStillHolder(start, signal);
    throw decision.error;
  }
  return { facts, decision };
}

/** After the slot was taken: whatever was acknowledged before stands in the log by now. Errors: also `fenced`. */
export async function readTail(
  start: FirstStart,
  from: { readonly checkpoint: CheckpointRow | null; readonly epoch: EpochRow | null },
  signal: AbortSignal,
): Promise<LogTail> {
  const { deps, owner, tables } = start;
  const schemas = tables.rows.flatMap((row) => row.schemas);
  const own = { generation: owner.generation, epoch: from.epoch?.epoch ?? null };
  try {
    return await readLogTail({ log: deps.log, codec: deps.codec, checkpoint: from.checkpoint, schemas, own }, signal);
  } catch (error) {
    // Whoever took over since the slot was taken has published too; the checkpoint then tells that nothing was lost.
    if (codeOf(error) === 'generation_behind') await start.checkpoint.fence(signal);
    throw error;
  }
}

/**
 * What opens the generation: `generation-open` and the live schema versions for every partition, and the encoder that goes on
 * counting behind them. Each batch is encoded when it is asked for, and handed to the log in that turn.
 */
export function openingRecords(
  start: FirstStart,
  connected: Connected,
): { readonly encoder: Encoder; readonly batches: readonly (() => EncodedBatch)[] } {
  const { deps, owner, tables } = start;
  const { checkpoint, epoch } = connected;
  tables.begin();
  const { partitions } = deps.log;
  const encoder = new Encoder({
    codec: deps.codec,
    generation: owner.generation,
    holder: shortHolder(owner.holder),
    epoch: epoch.epoch,
    partitions,
    recordBytesMax: deps.log.recordBytesMax,
    captures: (table) => tables.captures(table),
  });
  encoder.connected(checkpoint.sequence);
  const fork = BigInt(`0x${epoch.fork}`);
  const opening = (): EncodedBatch =>
    encoder.control((partition) => {
      const acknowledged = checkpoint.partitions[partition] ?? null;
      return {
        tag: 'generation-open',
        epoch: epoch.epoch,
        fork,
        partitions,
        acknowledged: acknowledged === null ? null : { generation: acknowledged.generation, counter: acknowledged.counter },
      };
    });
  return { encoder, batches: [opening, () => encoder.announce(tables.liveSchemas)] };
}

function assertPartitions(checkpoint: CheckpointRow, partitions: number): void {
  if (checkpoint.partitions.length === partitions) return;
  throw new CausewayError(
    'log_partitions_changed',
    `the log has ${partitions} partitions, and the checkpoint is of ${checkpoint.partitions.length}`,
  );
}
