import { CausewayError } from '#core/errors.ts';
import type { LogEnds } from '#core/log.ts';
import type { RawBatch } from './record-batch.ts';

export type Place = { readonly topic: string; readonly partition: number };

export function offsetGone({ topic, partition }: Place, from: number, { start, end }: LogEnds): CausewayError {
  return new CausewayError(
    'log_offset_gone',
    `offset ${from} of partition ${partition} of the topic ${topic} is not in the log, which holds ${start} to ${end}`,
  );
}

/**
 * So long an end before what was read is not believed. That the newest leader tells it is proved for what `min.insync.replicas` copies
 * hold (`leadership.ts`); a record can be read before these have it, and a broker that tells no epochs proves nothing.
 */
export const STALE_MS = 2_000;

export function isOutside(from: number, { start, end }: LogEnds): boolean {
  return from < start || from > end;
}

/** Batches that continue what was read up to `next`. A batch that was read before, the broker gives again with one that was not. */
export function continued(batches: readonly RawBatch[], next: number): { readonly batches: readonly RawBatch[]; readonly next: number } {
  const fresh = batches.filter((batch) => batch.lastOffset >= next);
  return { batches: fresh, next: (fresh.at(-1)?.lastOffset ?? next - 1) + 1 };
}

/** Compaction leaves holes; in a topic without it a hole is a loss. */
export function checkDense(place: Place, batch: RawBatch, next: number): void {
  if (batch.firstOffset <= next) return;
  throw new CausewayError(
    'log_offset_gone',
    `partition ${place.partition} of the topic ${place.topic} goes on at offset ${batch.firstOffset} behind ${next - 1}: records are missing`,
  );
}

/** The same within a batch, whose records number `count`. */
export function checkWhole(place: Place, batch: RawBatch, count: number): void {
  if (batch.lastOffset - batch.firstOffset + 1 === count) return;
  throw new CausewayError(
    'log_offset_gone',
    `a batch of partition ${place.partition} of the topic ${place.topic}, from offset ${batch.firstOffset} to ${batch.lastOffset}, has ` +
      `${count} records: others were removed, which only compaction does (cleanup.policy has to be delete)`,
  );
}
