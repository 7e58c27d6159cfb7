import { assert, present } from '#core/assert.ts';
import type { Codec } from '#core/codec.ts';
import type { StoredRecord } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import { endsBatch } from '#core/record.ts';
import type { ChangeOp, ChangeRecord, ControlRecord, Envelope } from '#core/record.ts';
import type { SinkLimits } from '#core/sink.ts';
import type { SchemaVersion, TableSchema } from '#core/schema.ts';
import { isPartial } from '#core/value.ts';
import type { KnownSchemas } from './catalogue.ts';
import { Fold } from './coalesce.ts';
import { admit } from './counter.ts';
import type { CounterState } from './counter.ts';
import type { ParkedKeys } from './dead-letter.ts';
import type { ApplyResult } from './observer.ts';
import type { Standing } from './standing.ts';

/** What came of one record of the log. */
export type Step =
  /** It stands in the batch, or changes nothing. */
  | { readonly tag: 'taken' }
  /** The batch has to reach the sink first; then the same record is given again. */
  | { readonly tag: 'flush-first' }
  /** Whether the sink holds rows of this schema has to be looked at first; then the same record is given again. */
  | { readonly tag: 'look-first'; readonly schema: TableSchema }
  /** A record that a batch never crosses. What is held has to reach the sink before it is followed. */
  | { readonly tag: 'alone'; readonly record: Alone; readonly bytes: Uint8Array; readonly follow: () => void };

export type Alone = Envelope & (Exclude<ControlRecord, { readonly tag: 'watermark' }> | ChangeRecord);

export type Tally = (op: ChangeOp, result: ApplyResult) => void;

const TAKEN: Step = { tag: 'taken' };
const FLUSH_FIRST: Step = { tag: 'flush-first' };

/** Collects what goes into one batch. Moves the partition's standing along; the caller alone knows what of it took effect. */
export class Window {
  readonly fold = new Fold();
  bytes = 0;
  /** Versions that the sink was made ready for since the worker took the partition. */
  readonly met = new Set<SchemaVersion>();
  readonly #codec: Codec;
  readonly #schemas: KnownSchemas;
  readonly #sinkName: string;
  readonly #tally: Tally;

  constructor(input: { readonly codec: Codec; readonly schemas: KnownSchemas; readonly sinkName: string; readonly tally: Tally }) {
    this.#codec = input.codec;
    this.#schemas = input.schemas;
    this.#sinkName = input.sinkName;
    this.#tally = input.tally;
  }

  isFull(limits: SinkLimits): boolean {
    return this.fold.size >= limits.batchRowsMax || this.bytes >= limits.batchBytesMax;
  }

  clear(): void {
    this.fold.clear();
    this.bytes = 0;
  }

  step(stored: StoredRecord, at: { readonly standing: Standing; readonly parked: ParkedKeys }): Step {
    const { standing } = at;
    const record = this.#codec.decode(stored.value, this.#schemas);
    const next = (stored.offset + 1) as Offset;
    const admission = admit(standing.counter, record);
    if (admission.tag !== 'next') {
      if (record.tag === 'change') this.#tally(record.op, admission.tag === 'fenced' ? 'fenced' : 'duplicate');
      standing.advance(next);
      return TAKEN;
    }
    const follow = (): void => {
      standing.counter = admission.state;
      standing.advance(next);
    };
    if (record.tag === 'watermark') {
      follow();
      standing.raiseWatermark(record.sequence, record.sourceTime);
      return TAKEN;
    }
    if (record.tag !== 'change') {
      assert(endsBatch(record), 'what is neither a change nor a watermark ends a batch');
      return { tag: 'alone', record, bytes: stored.value, follow };
    }
    return this.#change(record, { ...at, bytes: stored.value, next, counter: admission.state });
  }

  #change(
    record: Envelope & ChangeRecord,
    at: {
      readonly standing: Standing;
      readonly parked: ParkedKeys;
      readonly bytes: Uint8Array;
      readonly next: Offset;
      readonly counter: CounterState;
    },
  ): Step {
    const { standing, parked, bytes } = at;
    const skipped = whySkipped(record, standing, this.#sinkName);
    if (skipped !== null) {
      this.#tally(record.op, skipped);
    } else if (record.withheld !== null) {
      const follow = (): void => {
        standing.counter = at.counter;
        standing.advance(at.next);
      };
      return { tag: 'alone', record, bytes, follow };
    } else if (this.#onlyMarks(record, parked)) {
      parked.mark(record);
      this.#tally(record.op, 'dead_lettered');
    } else {
      const schema = present(this.#schemas.get(record.schemaVersion), 'schema of a decoded change');
      if (!this.met.has(schema.version)) return { tag: 'look-first', schema };
      const outcome = this.fold.add({ schema, record, bytes });
      if (outcome === 'split') return FLUSH_FIRST;
      if (outcome === 'stale') this.#tally(record.op, 'stale');
      else this.bytes += bytes.byteLength;
    }
    standing.counter = at.counter;
    standing.advance(at.next);
    return TAKEN;
  }

  /** A partial image of a parked key, except where the batch holds a whole one that is newer than what is parked. */
  #onlyMarks(record: ChangeRecord, parked: ParkedKeys): boolean {
    const sequence = parked.sequenceOf(record.key);
    if (sequence === undefined || record.row === null || !isPartial(record.row)) return false;
    const held = this.fold.get(record.key);
    return held === undefined || held.change.sequence <= sequence;
  }
}

/** Why a change takes no effect here whatever the sink holds; null where it may. */
export function whySkipped(record: ChangeRecord, standing: Standing, sinkName: string): ApplyResult | null {
  if (record.sink !== null && record.sink !== sinkName) return 'filtered';
  if (standing.isLost(record.sequence)) return 'fenced';
  return standing.isBelowFloor(record.table, record.sequence) ? 'filtered' : null;
}
