import type { RowKey } from '#core/key.ts';

/** What waits for its counterpart and does not fit memory, apart by a hash of its key. */
export interface Spill extends AsyncDisposable {
  readonly buckets: number;
  append(side: 'source' | 'sink', lines: readonly SpilledRow[]): Promise<void>;
  /** Everything that was appended to the bucket, in the order of the calls. */
  read(side: 'source' | 'sink', bucket: number): AsyncIterable<readonly SpilledRow[]>;
}

export type SpilledRow = { readonly key: RowKey; readonly digest: string };
