import { present } from '#core/assert.ts';
import { controlKeys, type CheckpointRow, type TableRow } from '#core/control-rows.ts';
import type { ControlKey, ControlStore } from '#core/control.ts';
import type { LoadRow } from '#core/load-row.ts';
import type { Log } from '#core/log.ts';
import { comparePairs, type CounterPair, type LogRecord } from '#core/record.ts';
import type { SchemaVersion, TableId, TableSchema } from '#core/schema.ts';
import type { Source } from '#core/source.ts';
import { mergePartial, type Row } from '#core/value.ts';
import { runCapture } from '../../src/capture/capture.ts';
import { defaultCaptureOptions, type CaptureOptions } from '../../src/capture/deps.ts';
import { silentObserver, type CaptureObserver, type CaptureState } from '../../src/capture/observer.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { FakeDatabase, FakeSource } from '../support/fake-source.ts';
import { memoryControlRows, MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';

export const PIPELINE = 'orders';

export type Process = {
  readonly states: CaptureState[];
  readonly stop: () => void;
  readonly kill: () => void;
  /** What runCapture threw, or null; absent while it runs. */
  readonly outcome: () => { readonly error: unknown } | undefined;
};

export type StartOptions = {
  readonly options?: Partial<CaptureOptions>;
  readonly observer?: Partial<CaptureObserver>;
  readonly source?: Source;
  readonly control?: ControlStore;
  readonly log?: Log;
  readonly sinks?: readonly string[];
  readonly snapshotNever?: (table: TableId) => boolean;
};

/** A database, a log, a control store and a clock, before which capture processes are started and ended. */
export class World {
  readonly clock: VirtualClock;
  readonly database: FakeDatabase;
  readonly logStore: MemoryLogStore;
  readonly controlRows = memoryControlRows();

  constructor(options: { readonly seed?: number; readonly partitions?: number; readonly recordBytesMax?: number } = {}) {
    this.clock = new VirtualClock(options.seed ?? 1);
    this.database = new FakeDatabase(this.clock.runtime);
    const recordBytesMax = options.recordBytesMax ?? 1_000_000;
    this.logStore = new MemoryLogStore({ partitions: options.partitions ?? 3, recordBytesMax });
  }

  start(input: StartOptions = {}): Process {
    const stop = new AbortController();
    const kill = new AbortController();
    const states: CaptureState[] = [];
    let outcome: { readonly error: unknown } | undefined;
    const observer: CaptureObserver = { ...silentObserver, ...input.observer, state: (state) => void states.push(state) };
    runCapture(
      {
        pipeline: PIPELINE,
        describedAs: 'test',
        source: input.source ?? new FakeSource(this.database),
        log: input.log ?? new MemoryLog(this.logStore),
        control: input.control ?? new MemoryControlStore(this.controlRows),
        codec: jsonCodec,
        runtime: this.clock.runtime,
        logger: silentLogger,
        observer,
        sinks: input.sinks ?? ['warm'],
        snapshotNever: input.snapshotNever ?? (() => false),
        options: { ...defaultCaptureOptions, ...input.options },
      },
      { stop: stop.signal, kill: kill.signal },
    ).then(
      () => (outcome = { error: null }),
      (error: unknown) => (outcome = { error }),
    );
    return {
      states,
      stop: () => stop.abort(new Error('stop')),
      kill: () => kill.abort(new Error('kill')),
      outcome: () => outcome,
    };
  }

  /** Starts a process and lets it reach the stream: at once, unless a holder that was killed has to be waited for. */
  async startStreaming(input: StartOptions = {}, waitMs = 3_000): Promise<Process> {
    const process = this.start(input);
    await this.clock.advance(waitMs);
    if (process.states.at(-1)?.tag !== 'streaming') {
      throw new Error(`not streaming but ${JSON.stringify(process.states)}, ${String(process.outcome()?.error)}`);
    }
    return process;
  }

  async stopped(process: Process): Promise<void> {
    process.stop();
    await this.clock.advance(100);
    const outcome = process.outcome();
    if (outcome === undefined) throw new Error('it did not stop');
    if (outcome.error !== null) throw outcome.error as Error;
  }

  row(key: ControlKey): unknown {
    const found = this.controlRows.rows.get(key);
    return found === undefined ? null : JSON.parse(found.text);
  }

  get checkpoint(): CheckpointRow {
    return present(this.row(controlKeys.checkpoint(PIPELINE)) as CheckpointRow | null, 'checkpoint');
  }

  loads(): readonly LoadRow[] {
    const keys = [...this.controlRows.rows.keys()].filter((key) => key.startsWith(controlKeys.loads(PIPELINE)));
    return keys.map((key) => this.row(key) as LoadRow);
  }

  tableRow(table: TableId): TableRow {
    return present(this.row(controlKeys.table(PIPELINE, table)) as TableRow | null, 'table row');
  }

  records(partition: number): readonly LogRecord[] {
    const schemas = new Map<SchemaVersion, TableSchema>();
    return this.logStore.partition(partition).records.map(({ value }) => {
      const record = jsonCodec.decode(value, schemas);
      if (record.tag === 'schema') schemas.set(record.schema.version, record.schema);
      return record;
    });
  }

  get everyRecord(): readonly LogRecord[] {
    return this.logStore.partitions.flatMap((_, partition) => this.records(partition));
  }

  /** What a reader of the whole log ends up with; throws where a reader would stop. */
  readLog(): ReadonlyMap<string, Row> {
    const rows = new Map<string, Row>();
    for (const partition of this.logStore.partitions.keys()) {
      for (const [key, row] of readPartition(this.records(partition))) rows.set(key, row);
    }
    return rows;
  }

  /** The rows of the database itself. */
  sourceRows(): ReadonlyMap<string, Row> {
    return new Map<string, Row>(this.database.tables.flatMap(({ rows }) => [...rows]));
  }
}

type Register = { readonly table: TableId; readonly sequence: string; readonly row: Row | null };

/** The rules of a reader in a few lines: generations fence, counters are dense, a greater sequence wins, a truncate is a floor. */
function readPartition(records: readonly LogRecord[]): ReadonlyMap<string, Row> {
  const registers = new Map<string, Register>();
  const floors = new Map<TableId, string>();
  const announced = new Set<SchemaVersion>();
  let reached: CounterPair & { readonly holder: string } = { generation: 0 as CounterPair['generation'], counter: 0, holder: '' };
  for (const record of records) {
    if (record.generation < reached.generation) continue;
    if (record.generation > reached.generation) {
      if (record.tag !== 'generation-open') throw new Error(`generation ${record.generation} has no opening`);
      if (record.acknowledged !== null && comparePairs(reached, record.acknowledged) < 0) throw new Error('a tail is missing');
      announced.clear();
      reached = { generation: record.generation, counter: 0, holder: record.holder };
    }
    if (record.holder !== reached.holder) throw new Error('a generation has two holders');
    if (record.counter !== reached.counter + 1) throw new Error(`counter ${record.counter} follows ${reached.counter}`);
    reached = { generation: record.generation, counter: record.counter, holder: record.holder };
    if (record.tag === 'schema') announced.add(record.schema.version);
    if (record.tag === 'truncate') {
      floors.set(record.table, record.sequence);
      for (const [key, register] of registers) {
        if (register.table === record.table && register.sequence < record.sequence) registers.set(key, { ...register, row: null });
      }
    }
    if (record.tag !== 'change') continue;
    if (!announced.has(record.schemaVersion)) throw new Error('a change before its schema');
    const before = registers.get(record.key);
    if (before !== undefined && before.sequence >= record.sequence) continue;
    if ((floors.get(record.table) ?? '') >= record.sequence) continue;
    const base = before?.row ?? [];
    registers.set(record.key, {
      table: record.table,
      sequence: record.sequence,
      row: record.row === null ? null : mergePartial(base, record.row),
    });
  }
  return new Map([...registers].flatMap(([key, { row }]): readonly [string, Row][] => (row === null ? [] : [[key, row]])));
}
