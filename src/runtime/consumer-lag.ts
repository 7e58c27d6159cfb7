import type { LogEnds } from '#core/log.ts';
import type { ApplyStatus } from '../apply/observer.ts';
import type { PartitionStatus } from '../http/status-document.ts';

/** The partitions that this process applies, and how many records each is behind the end of the log as it was seen last. */
export function partitionsOf(status: ApplyStatus | undefined, ends: readonly LogEnds[] | null): readonly PartitionStatus[] {
  return (status?.partitions ?? [])
    .filter(({ state }) => state !== 'fenced')
    .map(({ partition, state, offset }) => {
      const end = ends?.[partition]?.end;
      // The worker may have gone past the end as it was seen.
      return { partition, state, lagRecords: end === undefined || offset === null ? null : Math.max(0, end - offset) };
    });
}

/** The sum, and the worst one; null where there is no partition, or one does not know. */
export function lagOf(partitions: readonly PartitionStatus[]): { readonly sum: number; readonly worst: number } | null {
  if (partitions.length === 0) return null;
  let sum = 0;
  let worst = 0;
  for (const { lagRecords } of partitions) {
    if (lagRecords === null) return null;
    sum += lagRecords;
    worst = Math.max(worst, lagRecords);
  }
  return { sum, worst };
}
