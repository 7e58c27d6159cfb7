import { controlKeys } from '#core/control-rows.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import { present } from '#core/assert.ts';
import { NO_COUNTS, type ReconcileRow, type ReconcileSelection } from '#core/reconcile-row.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { Difference } from '#core/sink.ts';
import type { Row } from '#core/value.ts';
import { applyDefaults, runApply } from '../../src/apply/apply.ts';
import { silentObserver } from '../../src/apply/observer.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { defaultReconcileOptions, type ReconcileDeps, type ReconcileOptions } from '../../src/reconcile/deps.ts';
import { repair, type Repaired } from '../../src/reconcile/repair.ts';
import { RunRecord } from '../../src/reconcile/run-record.ts';
import { reconcile } from '../../src/reconcile/run.ts';
import type { Spill, SpilledRow } from '../../src/reconcile/spill.ts';
import { PIPELINE, World, type Process } from '../capture/world.ts';
import { FakeSource } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog } from '../support/memory-log.ts';
import { MemorySink, MemorySinkStore } from '../support/memory-sink.ts';
import { silentLogger } from '../support/silent-logger.ts';

const SINK = 'warm';

/** A pipeline that runs over fakes, and reconciliations beside it. */
export class Ground {
  readonly world: World;
  readonly store = new MemorySinkStore();
  #capture: Process | null = null;
  #stopApply: (() => Promise<void>) | null = null;

  constructor(options: { readonly seed?: number; readonly partitions?: number } = {}) {
    this.world = new World(options);
  }

  async start(): Promise<void> {
    const options = { loadPollMs: 200, chunk: { targetMs: 250, rowsFirst: 3, rowsMax: 5, bytesMax: 400, hotMax: 1_000 } };
    this.#capture = this.world.start({ options, sinks: [SINK] });
    this.startApply();
    await this.world.clock.advance(20_000);
  }

  startApply(): void {
    const stop = new AbortController();
    const kill = new AbortController();
    const done = runApply(
      {
        pipeline: PIPELINE,
        sinkName: SINK,
        sink: new MemorySink(this.store),
        log: this.#log(),
        control: this.#control(),
        codec: jsonCodec,
        runtime: this.world.clock.runtime,
        logger: silentLogger,
        observer: silentObserver,
        snapshotNever: () => false,
        options: applyDefaults,
      },
      { stop: stop.signal, kill: kill.signal },
    );
    this.#stopApply = async () => {
      stop.abort(new Error('stop'));
      await this.world.clock.runUntil(done);
    };
  }

  async stopApply(): Promise<void> {
    await this.#stopApply?.();
    this.#stopApply = null;
  }

  async stop(): Promise<void> {
    await this.stopApply();
    if (this.#capture !== null) await this.world.stopped(this.#capture);
  }

  killCapture(): void {
    this.#capture?.kill();
  }

  deps(options: Partial<ReconcileOptions> = {}): ReconcileDeps {
    return {
      pipeline: PIPELINE,
      sinkName: SINK,
      source: new FakeSource(this.world.database),
      sink: new MemorySink(this.store),
      log: this.#log(),
      control: this.#control(),
      codec: jsonCodec,
      runtime: this.world.clock.runtime,
      logger: silentLogger,
      spill: () => new MemorySpill(),
      options: { ...defaultReconcileOptions, chunkRowsMax: 7, patienceMs: 60_000, ...options },
    };
  }

  /** A run to its end, while the clock goes on. */
  async reconcile(
    of: {
      readonly options?: Partial<ReconcileOptions>;
      readonly selection?: Partial<ReconcileSelection>;
      readonly from?: ReconcileRow;
      readonly stop?: AbortSignal;
      readonly run?: string;
    } = {},
  ): Promise<ReconcileRow> {
    const record = await this.begin(of);
    const work = reconcile(this.deps(of.options), record, { stop: of.stop ?? never, timeUp: never });
    await this.world.clock.runUntil(work);
    await work;
    return record.row;
  }

  async begin(of: {
    readonly selection?: Partial<ReconcileSelection>;
    readonly from?: ReconcileRow;
    readonly run?: string;
    readonly token?: number;
  }) {
    const ends = await this.#log().ends(never);
    const row: ReconcileRow = of.from ?? {
      run: of.run ?? 'r1',
      sink: SINK,
      state: 'running',
      selection: { tables: null, sample: null, since: null, ...of.selection },
      cut: ends.map(({ end }) => end),
      cutAt: null,
      startedAtWallMs: 0,
      endedAtWallMs: null,
      tables: this.world.database.tables.map(({ schema: { table } }) => ({
        table,
        state: 'pending',
        reason: null,
        place: null,
        counts: NO_COUNTS,
        rowsExpected: null,
        schemaDifferences: [],
      })),
      verdict: null,
      token: 0,
    };
    const record = new RunRecord({ control: this.#control(), pipeline: PIPELINE, row, token: of.token ?? 1 });
    await record.change({ state: 'running' }, never);
    return record;
  }

  async repair(differences: readonly Difference[]): Promise<Repaired> {
    const work = repair(this.deps(), differences, { onRepaired: () => undefined }, never);
    await this.world.clock.runUntil(work.catch(() => undefined));
    return await work;
  }

  differences(run = 'r1'): readonly Difference[] {
    return [...(this.store.reports.get(run)?.values() ?? [])];
  }

  stored(run: string): ReconcileRow {
    return this.world.row(controlKeys.reconcile(PIPELINE, SINK, run)) as ReconcileRow;
  }

  key(table: TableId, id: string): RowKey {
    const { schema } = this.world.database.table(table);
    return present(rowKeyOf(schema, [id, ...schema.columns.slice(1).map(() => null)]), 'key');
  }

  /** Somebody else writes at the sink: another value, no row, or another sequence, whatever stands there. */
  tamper(table: TableId, id: string, to: { readonly row?: Row | null; readonly sequence?: Sequence | null }): void {
    const { schema } = this.world.database.table(table);
    const key = this.key(table, id);
    const stored = this.store.stored(table, key);
    const sequence = to.sequence === undefined ? (stored?.sequence ?? null) : to.sequence;
    if (to.row === null) {
      this.store.table(table).rows.set(key, { sequence, values: null });
      return;
    }
    const row = to.row ?? [];
    const values = to.row === undefined ? (stored?.values ?? null) : new Map(schema.columns.map(({ name }, at) => [name, row[at] ?? null]));
    this.store.table(table).rows.set(key, { sequence, values });
  }

  #log(): MemoryLog {
    return new MemoryLog(this.world.logStore);
  }

  #control(): MemoryControlStore {
    return new MemoryControlStore(this.world.controlRows);
  }
}

const never = new AbortController().signal;

/** Room that is memory after all. */
export class MemorySpill implements Spill {
  readonly buckets = 4;
  readonly #lines = new Map<string, SpilledRow[]>();

  append(side: 'source' | 'sink', lines: readonly SpilledRow[]): Promise<void> {
    for (const line of lines) {
      const name = `${side} ${line.key.length % this.buckets}`;
      this.#lines.set(name, [...(this.#lines.get(name) ?? []), line]);
    }
    return Promise.resolve();
  }

  async *read(side: 'source' | 'sink', bucket: number): AsyncIterable<readonly SpilledRow[]> {
    yield await Promise.resolve(this.#lines.get(`${side} ${bucket}`) ?? []);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
