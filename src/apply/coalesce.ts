import type { RowKey } from '#core/key.ts';
import type { EpochMicros } from '#core/position.ts';
import type { ChangeOp, ChangeRecord, Envelope } from '#core/record.ts';
import type { TableSchema } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { RowChange } from '#core/sink.ts';
import { isPartial, mergePartial } from '#core/value.ts';
import type { Row } from '#core/value.ts';

/** A change that can be folded: one that has an image or deletes. */
export type FoldEvent = {
  readonly schema: TableSchema;
  readonly record: Envelope & ChangeRecord;
  /** The record as it stood in the log, for the case that it has to be parked. */
  readonly bytes: Uint8Array;
};

/** The newest event of a key in a batch, with what was folded into it. */
export type FoldedChange = {
  readonly change: RowChange;
  readonly record: Envelope & ChangeRecord;
  /** Null where the change was merged from several records, so that no record of the log says what it says. */
  readonly bytes: Uint8Array | null;
  readonly committedAt: EpochMicros;
  /** Operations of the older events that this one took the place of; null for none, which is the common case. */
  readonly absorbed: ChangeOp[] | null;
};

export type FoldOutcome =
  | 'held'
  /** The fold holds this sequence of the key or a newer one. */
  | 'stale'
  /** Two writes are needed, one after the other: what is held goes to the sink first, and this event begins the next batch. */
  | 'split';

/**
 * Reduces a batch to the newest event of each key by sequence. A partial image is merged over an earlier image of its key;
 * an event that is not newer than what is held changes nothing, so a log that was sent again folds to the same rows.
 */
export class Fold {
  readonly #changes = new Map<RowKey, FoldedChange>();

  get size(): number {
    return this.#changes.size;
  }

  get(key: RowKey): FoldedChange | undefined {
    return this.#changes.get(key);
  }

  values(): FoldedChange[] {
    return [...this.#changes.values()];
  }

  clear(): void {
    this.#changes.clear();
  }

  add(event: FoldEvent): FoldOutcome {
    const { record, schema } = event;
    const held = this.#changes.get(record.key);
    if (held === undefined) {
      this.#changes.set(record.key, folded(event, record.row, event.bytes, null));
      return 'held';
    }
    if (record.sequence <= held.change.sequence) return 'stale';
    if (record.row === null || !isPartial(record.row)) {
      this.#changes.set(record.key, folded(event, record.row, event.bytes, absorbing(held)));
      return 'held';
    }
    // A delete is not something to put a partial image on, and images of two schemas have no columns in common by place.
    if (held.change.tag === 'delete' || held.change.schema.version !== schema.version) return 'split';
    const merged = mergePartial(held.change.row, record.row);
    this.#changes.set(record.key, folded(event, merged, null, absorbing(held)));
    return 'held';
  }
}

export function rowChangeOf(input: {
  readonly schema: TableSchema;
  readonly key: RowKey;
  readonly sequence: Sequence;
  readonly row: Row | null;
  /** The first operation of those that the change stands for. */
  readonly op?: ChangeOp | undefined;
}): RowChange {
  const { schema, key, sequence, row, op } = input;
  if (row === null) return { schema, key, sequence, tag: 'delete' };
  if (isPartial(row)) return { schema, key, sequence, tag: 'partial', row };
  if (op === 'insert' || op === 'read') return { schema, key, sequence, tag: 'upsert', row, isNew: true };
  return { schema, key, sequence, tag: 'upsert', row };
}

function folded(event: FoldEvent, row: Row | null, bytes: Uint8Array | null, absorbed: ChangeOp[] | null): FoldedChange {
  const { schema, record } = event;
  const change = rowChangeOf({ schema, key: record.key, sequence: record.sequence, row, op: absorbed?.[0] ?? record.op });
  return { change, record, bytes, committedAt: record.committedAt, absorbed };
}

function absorbing(held: FoldedChange): ChangeOp[] {
  const absorbed = held.absorbed ?? [];
  absorbed.push(held.record.op);
  return absorbed;
}
