import type { EncodedRecord } from '#core/log.ts';
import type { EpochMicros, Position } from '#core/position.ts';

export type EncodedBatch = {
  readonly records: EncodedRecord[];
  /** Keys and values. */
  bytes: number;
  /** Ends of transactions and keepalives, in stream order. */
  readonly marks: Mark[];
  readonly counts: { insert: number; update: number; delete: number; truncate: number; withheld: number; dropped: number };
  /** Changes of the largest transaction that ended here. */
  largestTransaction: number;
};

export type Mark =
  /** `records` counts everything encoded since the generation began, up to and including this transaction. */
  | {
      readonly tag: 'commit';
      readonly position: Position;
      readonly commit: bigint;
      readonly committedAt: EpochMicros;
      readonly records: number;
    }
  | { readonly tag: 'keepalive'; readonly position: Position };

export function emptyBatch(): EncodedBatch {
  return {
    records: [],
    bytes: 0,
    marks: [],
    counts: { insert: 0, update: 0, delete: 0, truncate: 0, withheld: 0, dropped: 0 },
    largestTransaction: 0,
  };
}
