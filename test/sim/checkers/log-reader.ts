import { CausewayError } from '#core/errors.ts';
import { comparePairs, type CounterPair, type LogRecord } from '#core/record.ts';
import type { SchemaVersion, TableSchema } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { OpenLoad } from '#core/sink.ts';
import type { TableId } from '#core/schema.ts';
import { isPartial } from '#core/value.ts';
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
  /** Loads that are open behind it, as `table/sink`, the sink empty where it is for all. */
  readonly openLoads: ReadonlySet<string>;
};

type Read = Omit<ReadRecord, 'openLoads'>;

const NO_LOADS: ReadonlySet<string> = new Set();

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
        const before = known.at(-1);
        const found = this.#read(stored.value, { partition, offset: stored.offset, before: before?.pair ?? null });
        if (found === null) break;
        const read = { ...found, openLoads: openBehind(found, before?.openLoads ?? NO_LOADS) };
        known.push(read);
        fresh.push({ partition, read });
      }
    }
    return fresh;
  }

  #read(value: Uint8Array, at: { readonly partition: number; readonly offset: number; readonly before: CounterPair | null }): Read | null {
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

  /** As the log has announced it. */
  schema(version: SchemaVersion): TableSchema | undefined {
    return this.#schemas.get(version);
  }

  #gap(partition: number, offset: number, text: string): void {
    this.#scene.fail('C7', `partition ${partition}, offset ${offset}: ${text}`);
  }
}

function openBehind({ record, counts }: Read, before: ReadonlySet<string>): ReadonlySet<string> {
  if (!counts || (record.tag !== 'load-open' && record.tag !== 'load-close')) return before;
  const load = loadName(record);
  const others = [...before].filter((other) => other !== load);
  return new Set(record.tag === 'load-open' ? [...others, load] : others);
}

/** Loads that are under way at the sink behind the record. */
export function loadsAt(read: ReadRecord | undefined, sink: string): readonly string[] {
  return [...(read?.openLoads ?? NO_LOADS)].filter((load) => load.endsWith('/') || load.endsWith(`/${sink}`));
}

export function tablesLoading(read: ReadRecord | undefined, sink: string): readonly TableId[] {
  return loadsAt(read, sink).map((load) => load.slice(0, load.lastIndexOf('/')) as TableId);
}

export function loadName({ table, sink }: OpenLoad): string {
  return `${table}/${sink ?? ''}`;
}

/** True where the record need not take effect at the sink: it is for another one, or leaves out a column of a row that is still to come. */
export function isPassedOver(read: ReadRecord, sink: string): boolean {
  const { record } = read;
  if (record.tag !== 'change') return true;
  if (record.sink !== null && record.sink !== sink) return true;
  return record.row !== null && isPartial(record.row) && tablesLoading(read, sink).includes(record.table);
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
