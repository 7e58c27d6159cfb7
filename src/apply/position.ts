import type { TableId } from '#core/schema.ts';
import { maxSequence } from '#core/sequence.ts';
import type { Sequence } from '#core/sequence.ts';
import type { Floor, PartitionStanding } from '#core/sink.ts';
import type { WatermarkPoint } from './observer.ts';

/** Newest floor of each table that no sweep has reached yet. */
export function pendingFloors(standings: Iterable<PartitionStanding>, swept: ReadonlyMap<TableId, Sequence>): Floor[] {
  const newest = new Map<TableId, Sequence>();
  for (const { floors } of standings) {
    for (const { table, sequence } of floors) {
      const known = newest.get(table);
      newest.set(table, known === undefined ? sequence : maxSequence(known, sequence));
    }
  }
  return [...newest].flatMap(([table, sequence]) => ((swept.get(table) ?? '') < sequence ? [{ table, sequence }] : []));
}

/**
 * The sink's applied position: the least of the partitions' watermarks. It stays where it was while a truncate at or below it has
 * rows left to sweep, and is unknown (null) until every partition has one.
 */
export function sinkPosition(input: {
  readonly reported: WatermarkPoint | null;
  /** One of each partition; null for a partition that nothing is known of. */
  readonly standings: readonly (PartitionStanding | null)[];
  readonly pending: readonly Floor[];
}): WatermarkPoint | null {
  let least: WatermarkPoint | null = null;
  for (const standing of input.standings) {
    const watermark = standing?.watermark ?? null;
    if (watermark === null) return input.reported;
    if (least === null || watermark.sequence < least.sequence) least = watermark;
    else if (watermark.sequence === least.sequence && watermark.sourceTime < least.sourceTime) least = watermark;
  }
  const found = least;
  if (found === null || input.pending.some((floor) => floor.sequence <= found.sequence)) return input.reported;
  const { reported } = input;
  if (reported === null || reported.sequence < found.sequence) return found;
  return reported.sequence === found.sequence && reported.sourceTime < found.sourceTime ? found : reported;
}
