import { applyDefaults, runApply, type ApplyDeps, type ApplyOptions } from '../../src/apply/apply.ts';
import type { ApplyObserver, ApplyResult, ApplyStatus } from '../../src/apply/observer.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { present } from '#core/assert.ts';
import { controlKeys } from '#core/control-rows.ts';
import type { SchemaBlock, SinkRow, TableRow } from '#core/control-rows.ts';
import type { ControlKey } from '#core/control.ts';
import { codeOf } from '#core/errors.ts';
import { partitionOf } from '#core/hash.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import { epochMicrosOf, epochOf, fencingTokenOf, positionOf } from '#core/position.ts';
import type { Offset } from '#core/position.ts';
import type { ChangeOp, CounterPair, Envelope, LogRecord } from '#core/record.ts';
import { tableSchema, type Column, type TableId, type TableSchema } from '#core/schema.ts';
import { encodeSequence, watermarkSequence, type Sequence } from '#core/sequence.ts';
import type { SinkLimits, SinkProgress } from '#core/sink.ts';
import type { Row } from '#core/value.ts';
import { MemoryControlStore, memoryControlRows, type MemoryControlRows } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { MemorySink, MemorySinkStore } from '../support/memory-sink.ts';
import { keepingLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';

export const never = new AbortController().signal;

export function textColumn(name: string, more: Partial<Column> = {}): Column {
  return { name, type: { tag: 'text' }, sourceType: 'text', nullable: true, constantDefault: null, ...more };
}

/** `id text, a text, big text`. */
export const schema = tableSchema({
  table: 'public.t' as TableId,
  columns: [textColumn('id', { nullable: false }), textColumn('a'), textColumn('big')],
  key: [0],
});

export function at(commit: number, change = 1, epoch = 1): Sequence {
  return encodeSequence({ epoch: epochOf(epoch), commit: BigInt(commit), change: BigInt(change), sub: 1 });
}

export function keyOf(id: string, of: TableSchema = schema): RowKey {
  return present(rowKeyOf(of, [id, ...of.columns.slice(1).map(() => null)]), 'key');
}

/** A record without its envelope, which the generation that publishes it adds. */
export type Bare = LogRecord extends infer R ? (R extends LogRecord ? Omit<R, keyof Envelope> : never) : never;

export type ChangeInput = {
  readonly id: string;
  readonly commit: number;
  readonly row?: Row;
  readonly op?: ChangeOp;
  readonly of?: TableSchema;
  readonly withheld?: string;
  readonly sink?: string;
  readonly epoch?: number;
};

export function change(input: ChangeInput): Bare {
  const of = input.of ?? schema;
  return {
    tag: 'change',
    table: of.table,
    schemaVersion: of.version,
    key: keyOf(input.id, of),
    sequence: at(input.commit, 1, input.epoch),
    op: input.op ?? (input.row === undefined && input.withheld === undefined ? 'delete' : 'update'),
    row: input.row ?? null,
    withheld: input.withheld ?? null,
    committedAt: epochMicrosOf(input.commit * 1_000_000),
    transactionId: String(input.commit),
    origin: null,
    trace: null,
    sink: input.sink ?? null,
  };
}

export const put = (id: string, commit: number, a: string | null, big: string | null = 'big'): Bare =>
  change({ id, commit, row: [id, a, big] });
export const part = (id: string, commit: number, a: string | null): Bare => change({ id, commit, row: [id, a, undefined] });
export const del = (id: string, commit: number): Bare => change({ id, commit });

export function watermark(commit: number, epoch = 1): Bare {
  return {
    tag: 'watermark',
    sequence: watermarkSequence(epochOf(epoch), BigInt(commit)),
    position: positionOf(String(commit)),
    sourceTime: epochMicrosOf(commit * 1_000_000),
    requestId: null,
  };
}

export function truncate(commit: number, of: TableSchema = schema): Bare {
  return { tag: 'truncate', table: of.table, sequence: at(commit), committedAt: epochMicrosOf(commit * 1_000_000) };
}

/** Publishes as capture does: dense counters in each partition, changes by key, control records everywhere. */
export class Publisher {
  readonly generation: number;
  readonly holder: string;
  readonly counters: number[];
  readonly #stage: Stage;

  constructor(stage: Stage, generation: number, holder = `h${String(generation)}`) {
    this.#stage = stage;
    this.generation = generation;
    this.holder = holder;
    this.counters = Array.from({ length: stage.partitions }, () => 0);
  }

  async open(
    input: {
      readonly acknowledged?: readonly (CounterPair | null)[];
      readonly epoch?: number;
      readonly fork?: bigint;
      readonly partitions?: readonly number[];
    } = {},
  ): Promise<void> {
    for (const partition of input.partitions ?? this.counters.keys()) {
      await this.to(partition, {
        tag: 'generation-open',
        epoch: epochOf(input.epoch ?? 1),
        fork: input.fork ?? 0n,
        partitions: this.#stage.partitions,
        acknowledged: input.acknowledged?.[partition] ?? null,
      });
    }
  }

  pair(partition: number): CounterPair {
    return { generation: fencingTokenOf(this.generation), counter: present(this.counters[partition], 'counter') };
  }

  /** Each change to its key's partition, each control record to every one. */
  async send(...records: readonly Bare[]): Promise<void> {
    for (const record of records) {
      if (record.tag === 'change') await this.to(partitionOf(record.key, this.#stage.partitions), record);
      else for (const partition of this.counters.keys()) await this.to(partition, record);
    }
  }

  async to(partition: number, record: Bare): Promise<void> {
    const counter = (this.counters[partition] ?? 0) + 1;
    this.counters[partition] = counter;
    await this.raw(partition, counter, record);
  }

  async raw(partition: number, counter: number, record: Bare): Promise<void> {
    const whole = { ...record, generation: fencingTokenOf(this.generation), holder: this.holder, counter } as LogRecord;
    await using writer = await this.#stage.log().writer(never);
    await writer.append([this.#stage.encode(partition, whole)], never);
  }
}

export type Outcomes = Map<string, number>;

/** One run of the real apply code. */
export type Running = {
  readonly done: Promise<void>;
  readonly stop: () => Promise<void>;
  readonly kill: () => Promise<void>;
  readonly status: () => ApplyStatus;
  readonly outcomes: Outcomes;
  readonly committedAt: number[];
  /** How many calls wait for what does not answer. */
  waiting(): number;
  /** The code of the error that ended it; null while it runs or after a clean end. */
  code(): string | null;
};

/** A log, a control store and a sink in memory, with a clock of their own. */
export class Stage {
  readonly logger = keepingLogger();
  readonly partitions: number;
  readonly clock = new VirtualClock();
  readonly logStore: MemoryLogStore;
  readonly controlRows: MemoryControlRows = memoryControlRows();
  readonly control = new MemoryControlStore(this.controlRows);
  readonly sinkStore = new MemorySinkStore();
  readonly limits: Partial<SinkLimits>;
  readonly schemas = new Map<string, TableSchema>([[schema.version, schema]]);

  constructor(
    input: {
      readonly partitions?: number;
      readonly limits?: Partial<SinkLimits>;
      readonly keepBytes?: number;
      readonly sharesPartitions?: boolean;
    } = {},
  ) {
    this.partitions = input.partitions ?? 1;
    this.limits = input.limits ?? {};
    this.logStore = new MemoryLogStore({
      partitions: this.partitions,
      keepBytes: input.keepBytes ?? 0,
      sharesPartitions: input.sharesPartitions ?? false,
    });
  }

  log(): MemoryLog {
    return new MemoryLog(this.logStore);
  }

  encode(partition: number, record: LogRecord): { partition: number; key: string | null; value: Uint8Array } {
    if (record.tag !== 'change') return { partition, key: null, value: jsonCodec.encode(record, null) };
    return { partition, key: record.key, value: jsonCodec.encode(record, this.schemas.get(record.schemaVersion) ?? null) };
  }

  /** What capture does before it first publishes. */
  async register(input: Partial<SinkRow> = {}, sink = 's'): Promise<void> {
    await this.tables([[schema]]);
    await this.write(controlKeys.sink('p', sink), {
      state: 'new',
      reason: null,
      owner: 'o',
      startOffsets: Array.from({ length: this.partitions }, () => 0 as Offset),
      startGeneration: fencingTokenOf(1),
      blocked: [],
      ...input,
    } satisfies SinkRow);
  }

  /** Live versions of each table, the newest last. */
  async tables(live: readonly (readonly TableSchema[])[]): Promise<void> {
    for (const schemas of live) {
      const table = present(schemas[0], 'schema').table;
      for (const each of schemas) this.schemas.set(each.version, each);
      const fingerprint = { hash: '', facts: null };
      await this.write(controlKeys.table('p', table), {
        table,
        state: 'streaming',
        reason: null,
        fingerprint,
        schemas,
        reconcileWanted: 0,
      } satisfies TableRow);
    }
  }

  async write(key: ControlKey, value: unknown): Promise<void> {
    const stored = await this.control.get(key, never);
    await this.control.swap({ key, value, expected: stored?.version ?? null }, never);
  }

  async sinkRow(sink = 's'): Promise<SinkRow> {
    return present(await this.control.get(controlKeys.sink('p', sink), never), 'sink row').value as SinkRow;
  }

  async approve(): Promise<void> {
    const row = await this.sinkRow();
    await this.write(controlKeys.sink('p', 's'), {
      ...row,
      blocked: row.blocked.map((block): SchemaBlock => ({ ...block, approved: true })),
    });
  }

  start(more: Partial<ApplyOptions> & { readonly sinkName?: string; readonly snapshot?: 'never' | 'initial' } = {}): Running {
    const { sinkName = 's', snapshot = 'initial', ...options } = more;
    const stop = new AbortController();
    const kill = new AbortController();
    const outcomes: Outcomes = new Map();
    const committedAt: number[] = [];
    const waits = new Set<object>();
    let read: (() => ApplyStatus) | null = null;
    let ended: string | null = null;
    const observer: ApplyObserver = {
      attach: (status) => void (read = status),
      outcome: (op: ChangeOp, result: ApplyResult, count: number) => {
        for (const name of [`${op} ${result}`, result]) outcomes.set(name, (outcomes.get(name) ?? 0) + count);
      },
      batch: (report) => void committedAt.push(...report.committedAt),
      waiting: (call, error) => {
        if (error === null) waits.delete(call);
        else waits.add(call);
      },
      retry: (reason) => void outcomes.set(`retry ${reason}`, (outcomes.get(`retry ${reason}`) ?? 0) + 1),
      parked: ({ keys }) => void outcomes.set('parked', (outcomes.get('parked') ?? 0) + keys),
      released: ({ how, keys }) => void outcomes.set(`released ${how}`, (outcomes.get(`released ${how}`) ?? 0) + keys),
      swept: ({ rows }) => void outcomes.set('swept', (outcomes.get('swept') ?? 0) + rows),
    };
    const deps: ApplyDeps = {
      pipeline: 'p',
      sinkName,
      snapshotNever: () => snapshot === 'never',
      sink: new MemorySink(this.sinkStore, this.limits),
      log: this.log(),
      control: this.control,
      codec: jsonCodec,
      runtime: this.clock.runtime,
      logger: this.logger,
      observer,
      options: { ...applyDefaults, ...options },
    };
    const done = runApply(deps, { stop: stop.signal, kill: kill.signal }).catch((error: unknown) => {
      ended = codeOf(error) === 'internal' ? String(error) : codeOf(error);
    });
    return {
      done,
      stop: () => (stop.abort(new Error('stop')), this.clock.runUntil(done)),
      kill: () => (kill.abort(new Error('kill')), this.clock.runUntil(done)),
      status: () => present(read, 'status')(),
      outcomes,
      committedAt,
      waiting: () => waits.size,
      code: () => ended,
    };
  }

  /** Runs until everything in the log is behind the stored progress, then stops. Returns how it ended. */
  async drain(more: Parameters<Stage['start']>[0] = {}): Promise<Running> {
    const running = this.start(more);
    await this.clock.advance(5_000);
    await running.stop();
    return running;
  }

  progress(partition = 0): SinkProgress | undefined {
    return this.sinkStore.progress.get(partition);
  }

  rows(of: TableSchema = schema): Record<string, Row> {
    return Object.fromEntries(this.sinkStore.liveRows(of).map((row) => [row[0] as string, row.slice(1)]));
  }

  sequenceOf(id: string, of: TableSchema = schema): Sequence | null | undefined {
    return this.sinkStore.stored(of.table, keyOf(id, of))?.sequence;
  }

  letters(sink = 's'): { key: RowKey; sequence: Sequence; code: string; whole: boolean }[] {
    const partitions = [...(this.logStore.letters.get(sink)?.values() ?? [])];
    return partitions.flatMap((letters) =>
      [...letters.values()].map(({ key, sequence, code, record }) => ({ key, sequence, code, whole: record !== null })),
    );
  }
}

/** A stage with a registered sink and generation 1 opened. */
export async function opened(input: ConstructorParameters<typeof Stage>[0] = {}): Promise<{ stage: Stage; first: Publisher }> {
  const stage = new Stage(input);
  await stage.register();
  const first = new Publisher(stage, 1);
  await first.open();
  await first.send({ tag: 'schema', schema });
  return { stage, first };
}
