import { CausewayError } from '#core/errors.ts';
import { comparePairs, type CounterPair, type LogRecord } from '#core/record.ts';
import type { SchemaVersion, TableSchema } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { TableId } from '#core/schema.ts';
import { jsonCodec } from '../../../src/codec/json.ts';
import type { Scene } from './scene.ts';

/** A record with what the rules of the log make of it. */
export type ReadRecord = {
  readonly offset: number;
  readonly record: LogRecord;
  /** False where it is of a superseded generation or was sent again: it changes nothing. */
  readonly counts: boolean;
  /** Where a reader's counters stand behind it. */
  readonly pair: CounterPair | null;
};

/**
 * Reads the log as the design tells a reader to (C6, C7), apart from the product's own reader: which records count, and that
 * the counters of those are dense.
 */
export class LogReaderModel {
  /** Every record of each partition, by offset; what the log has forgotten is kept. */
  readonly partitions: ReadRecord[][];
  readonly #scene: Scene;
  readonly #schemas = new Map<SchemaVersion, TableSchema>();

  constructor(scene: Scene) {
    this.#scene = scene;
    this.partitions = scene.logStore.partitions.map(() => []);
  }

  /** Takes in what was appended since, and returns it. */
  catchUp(): readonly { readonly partition: number; readonly read: ReadRecord }[] {
    const fresh: { readonly partition: number; readonly read: ReadRecord }[] = [];
    for (const [partition, { start, records }] of this.#scene.logStore.partitions.entries()) {
      const known = this.partitions[partition] ?? [];
      for (let at = known.length - start; at >= 0 && at < records.length; at += 1) {
        const stored = records[at];
        if (stored === undefined) break;
        const read = this.#read(stored.value, { partition, offset: stored.offset, before: known.at(-1)?.pair ?? null });
        if (read === null) break;
        known.push(read);
        fresh.push({ partition, read });
      }
    }
    return fresh;
  }

  #read(
    value: Uint8Array,
    at: { readonly partition: number; readonly offset: number; readonly before: CounterPair | null },
  ): ReadRecord | null {
    const { partition, offset, before } = at;
    let record: LogRecord;
    try {
      record = jsonCodec.decode(value, this.#schemas);
    } catch (error) {
      const code = error instanceof CausewayError ? error.code : String(error);
      this.#scene.fail('log', `record ${offset} of partition ${partition} cannot be read: ${code}`);
      return null;
    }
    if (record.tag === 'schema') this.#schemas.set(record.schema.version, record.schema);
    const pair: CounterPair = { generation: record.generation, counter: record.counter };
    if (before !== null && record.generation < before.generation) return { offset, record, counts: false, pair: before };
    if (before !== null && record.generation === before.generation) {
      if (record.counter <= before.counter) return { offset, record, counts: false, pair: before };
      if (record.counter !== before.counter + 1) this.#gap(partition, offset, `counter ${record.counter} follows ${before.counter}`);
      return { offset, record, counts: true, pair };
    }
    if (record.tag !== 'generation-open' || record.counter !== 1) {
      this.#gap(partition, offset, `generation ${record.generation} begins with a ${record.tag}`);
    } else if (record.acknowledged !== null && (before === null || comparePairs(record.acknowledged, before) > 0)) {
      this.#gap(partition, offset, `the opening of generation ${record.generation} names a pair that was not reached`);
    }
    return { offset, record, counts: true, pair };
  }

  #gap(partition: number, offset: number, text: string): void {
    this.#scene.fail('C7', `partition ${partition}, offset ${offset}: ${text}`);
  }
}

/** The first truncate of the table, before an offset, that is above the sequence; null where there is none. */
export function floorAbove(
  records: readonly ReadRecord[],
  of: { readonly table: TableId; readonly sequence: Sequence },
  before = records.length,
): Sequence | null {
  for (let at = 0; at < before; at += 1) {
    const read = records[at];
    if (read?.counts !== true || read.record.tag !== 'truncate') continue;
    if (read.record.table === of.table && read.record.sequence >= of.sequence) return read.record.sequence;
  }
  return null;
}
