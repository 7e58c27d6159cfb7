import type { Offset } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';

/** Appends that are remembered for each partition: apply is further behind only where the age of the watermark tells more. */
const APPENDS_MAX = 1_000;

type Append = { readonly offset: Offset; readonly atMs: number };

/** When records became durable in the log, for the time that they wait there. Known only for what this process appended. */
export class Transit {
  readonly #runtime: Pick<Runtime, 'monotonicMs'>;
  readonly #appends = new Map<number, Append[]>();

  constructor(runtime: Pick<Runtime, 'monotonicMs'>) {
    this.#runtime = runtime;
  }

  /** `offsets`: of each partition's last record. */
  durable(offsets: ReadonlyMap<number, Offset>): void {
    const atMs = this.#runtime.monotonicMs();
    for (const [partition, offset] of offsets) {
      const appends = this.#appends.get(partition) ?? [];
      this.#appends.set(partition, appends);
      appends.push({ offset, atMs });
      // In one piece now and then: shifting one by one costs time for each append.
      if (appends.length > 2 * APPENDS_MAX) appends.splice(0, APPENDS_MAX);
    }
  }

  /** How long the record at `offset` had been durable at `atMs`; null where that is not known. */
  secondsSince(partition: number, offset: Offset, atMs: number): number | null {
    const appends = this.#appends.get(partition) ?? [];
    const after = appends.findLastIndex((append) => append.offset < offset) + 1;
    const append = appends[after];
    // Before the first remembered append there may have been one that held the record.
    if (append === undefined || after === 0) return null;
    return Math.max(0, (atMs - append.atMs) / 1_000);
  }
}
