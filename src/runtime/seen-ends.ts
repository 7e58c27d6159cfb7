import type { Log, LogEnds } from '#core/log.ts';
import type { PartitionStatus } from '../apply/observer.ts';

/** Between two questions for the ends while every partition stands at them. */
const LOOKS_AT_END = 3;

/**
 * The log's ends as they were seen last. Where brokers have to be asked for them, that is done at each look while a partition is behind,
 * and now and then while none is.
 */
export class SeenEnds {
  #ends: readonly LogEnds[] | null = null;
  #looks = 0;

  /** `partitions` are those that are applied here. Null where the ends cannot be had. */
  async look(
    log: Pick<Log, 'sharesPartitions'>,
    of: { readonly partitions: readonly PartitionStatus[]; readonly ends: () => Promise<readonly LogEnds[] | null> },
  ): Promise<readonly LogEnds[] | null> {
    this.#looks += 1;
    if (!log.sharesPartitions || this.#looks >= LOOKS_AT_END || !this.#areAtEnd(of.partitions)) {
      this.#looks = 0;
      this.#ends = await of.ends();
    }
    return this.#ends;
  }

  #areAtEnd(partitions: readonly PartitionStatus[]): boolean {
    return partitions.every(({ partition, offset }) => {
      const end = this.#ends?.[partition]?.end;
      return offset !== null && end !== undefined && offset >= end;
    });
  }
}
