import { assert, present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import { parseRowKey, rowKeyOf, type RowKey } from '#core/key.ts';
import { fencingTokenOf, type FencingToken } from '#core/position.ts';
import type { Column, SchemaChange, TableId, TableSchema } from '#core/schema.ts';
import { SEQUENCE_ZERO, type Sequence } from '#core/sequence.ts';
import {
  hasPassed,
  type Difference,
  type Floor,
  type KeyRange,
  type RowChange,
  type RowOutcome,
  type Sink,
  type SinkClaim,
  type SinkLimits,
  type SinkPartition,
  compareSinkProgress,
  type SinkProgress,
  type SinkReports,
  type SinkRow,
} from '#core/sink.ts';
import type { Row } from '#core/value.ts';

/** A row's values by column name, so that a table can get more columns. */
type Values = ReadonlyMap<string, string | null>;
type StoredRow = { readonly sequence: Sequence | null; readonly values: Values | null };
type StoredTable = { readonly columns: Map<string, Column>; readonly rows: Map<RowKey, StoredRow> };

export type SinkCall =
  | { readonly name: 'apply'; readonly partition: number; readonly rows: readonly RowChange[]; readonly progress: SinkProgress | null }
  | { readonly name: 'save'; readonly partition: number; readonly progress: SinkProgress }
  | { readonly name: 'assign'; readonly partition: number }
  | { readonly name: 'claim' | 'provision' | 'evolve' | 'differences' | 'progress' | 'sweep' | 'sweeps' | 'read' | 'report' };

/** What survives when a sink is closed and opened again, and what two processes share. */
export class MemorySinkStore {
  readonly tables = new Map<TableId, StoredTable>();
  readonly fences = new Map<number, number>();
  /** Batches with rows that each partition has seen, ever. */
  readonly writes = new Map<number, number>();
  readonly progress = new Map<number, SinkProgress>();
  readonly swept = new Map<TableId, Sequence>();
  /** Differences by run, and by what tells them apart in it. */
  readonly reports = new Map<string, Map<string, Difference>>();
  /** Who has claimed the progress. */
  owner: string | null = null;
  /** Why a row's values are refused for ever; null for rows that are taken. */
  poison: (schema: TableSchema, row: Row) => string | null = () => null;
  /**
   * Called before a call takes effect and after it, before its promise resolves. What it throws at `before` is a refused call,
   * at `after` a lost reply; a promise that it returns delays the call.
   */
  onCall: ((stage: 'before' | 'after', call: SinkCall) => void | Promise<void>) | null = null;
  /** Refuses to follow additive changes by itself. */
  holdsSchemas = false;

  table(id: TableId): StoredTable {
    const table = this.tables.get(id);
    if (table === undefined) throw new CausewayError('sink_misconfigured', `the table ${id} is missing`);
    return table;
  }

  checkOwner(owner: string): void {
    if (this.owner !== owner) throw new CausewayError('sink_claimed', `another deployment, owner ${this.owner ?? ''}, has the sink`);
  }

  checkPassed(floor: Floor): void {
    if ((this.swept.get(floor.table) ?? '') >= floor.sequence) return;
    const behind = [...this.fences.keys()].find((partition) => {
      const progress = this.progress.get(partition);
      return progress === undefined || !hasPassed(progress, floor);
    });
    if (behind !== undefined) throw new CausewayError('sink_went_back', `partition ${behind} has not passed the floor`);
  }

  /** Replaces the row where its sequence is lower. At once. */
  write(change: RowChange): RowOutcome {
    const table = this.table(change.schema.table);
    const stored = table.rows.get(change.key);
    if (stored?.sequence !== undefined && stored.sequence !== null && stored.sequence >= change.sequence) return { tag: 'stale' };
    if (change.tag === 'delete') {
      table.rows.set(change.key, { sequence: change.sequence, values: null });
      return { tag: 'applied' };
    }
    const base = stored?.values ?? null;
    if (change.tag === 'partial' && base === null) return { tag: 'rejected', code: 'partial_without_base', reason: 'there is no live row' };
    const refusal = this.poison(change.schema, change.row);
    if (refusal !== null) return { tag: 'rejected', code: 'value_refused', reason: refusal };
    const given = valuesOf(change.schema, change.row);
    const values = new Map(change.tag === 'partial' && base !== null ? base : defaultsOf(table));
    for (const [name, value] of given) values.set(name, value);
    table.rows.set(change.key, { sequence: change.sequence, values });
    return { tag: 'applied' };
  }

  /** Live rows in the schema's columns, in no order. */
  liveRows(schema: TableSchema): Row[] {
    const rows = [...(this.tables.get(schema.table)?.rows.values() ?? [])];
    return rows.flatMap(({ values }) => (values === null ? [] : [rowOf(schema, values)]));
  }

  stored(table: TableId, key: RowKey): StoredRow | undefined {
    return this.tables.get(table)?.rows.get(key);
  }

  plant(schema: TableSchema, row: Row): void {
    const key = present(rowKeyOf(schema, row), 'key of a planted row');
    this.table(schema.table).rows.set(key, { sequence: null, values: valuesOf(schema, row) });
  }

  /** A copy of everything, which `restore` puts back: what a failover to an older replica does. */
  keep(what: 'all' | 'progress' = 'all'): () => void {
    const fences = new Map(this.fences);
    const progress = new Map(this.progress);
    const writes = new Map(this.writes);
    const swept = new Map(this.swept);
    const { owner } = this;
    const tables = new Map([...this.tables].map(([id, { columns, rows }]) => [id, { columns: new Map(columns), rows: new Map(rows) }]));
    return () => {
      refill(this.fences, fences);
      refill(this.progress, progress);
      refill(this.writes, writes);
      if (what === 'progress') return;
      refill(this.swept, swept);
      this.owner = owner;
      refill(this.tables, tables);
    };
  }
}

function refill<K, V>(map: Map<K, V>, from: ReadonlyMap<K, V>): void {
  map.clear();
  for (const [key, value] of from) map.set(key, value);
}

const SWEEP_ROWS_MAX = 100;
const SCAN_ROWS_MAX = 500;

/** A Sink without a store behind it. */
export class MemorySink implements Sink {
  readonly kind = 'memory';
  readonly scansInOrder = true;
  readonly limits: SinkLimits;
  readonly reports: SinkReports;
  readonly #store: MemorySinkStore;
  #claimant: string | null = null;
  /** As with a store whose values depend on what it is. */
  #knowsStore = false;

  constructor(store: MemorySinkStore = new MemorySinkStore(), limits: Partial<SinkLimits> = {}) {
    this.#store = store;
    this.reports = reportsOf(store, (...given) => this.#call(...given));
    this.limits = { batchRowsMax: 500, batchBytesMax: 1024 * 1024, ...limits };
  }

  async check(_schemas: readonly TableSchema[], signal: AbortSignal): Promise<readonly Finding[]> {
    await turn(signal);
    return [];
  }

  async provision(schemas: readonly TableSchema[], signal: AbortSignal): Promise<void> {
    this.#knowsStore = true;
    await this.#call({ name: 'provision' }, signal, () => {
      for (const { table, columns } of schemas) {
        if (this.#store.tables.has(table)) continue;
        this.#store.tables.set(table, { columns: new Map(columns.map((column) => [column.name, column])), rows: new Map() });
      }
    });
  }

  async evolve(after: TableSchema, change: SchemaChange & { readonly tag: 'additive' }, signal: AbortSignal): Promise<void> {
    await this.#call({ name: 'evolve' }, signal, () => {
      if (this.#store.holdsSchemas) throw new CausewayError('schema_blocked', 'this sink follows no schema by itself');
      const table = this.#store.table(after.table);
      for (const column of change.added) {
        if (table.columns.has(column.name)) continue;
        table.columns.set(column.name, column);
        for (const [key, stored] of table.rows) {
          if (stored.values === null) continue;
          table.rows.set(key, { ...stored, values: new Map([...stored.values, [column.name, column.constantDefault]]) });
        }
      }
    });
  }

  async differences(schema: TableSchema, signal: AbortSignal): Promise<readonly string[]> {
    this.#knowsStore = true;
    return this.#call({ name: 'differences' }, signal, () => {
      const table = this.#store.tables.get(schema.table);
      if (table === undefined) return [`the table ${schema.table} is missing`];
      return schema.columns.flatMap(({ name, sourceType }) => {
        const column = table.columns.get(name);
        if (column === undefined) return [`the column ${name} is missing`];
        return column.sourceType === sourceType ? [] : [`the column ${name} is ${column.sourceType}, not ${sourceType}`];
      });
    });
  }

  async holdsRows(schema: TableSchema, signal: AbortSignal): Promise<boolean> {
    await turn(signal);
    return this.#store.liveRows(schema).length > 0;
  }

  async claim(by: SinkClaim, signal: AbortSignal): Promise<void> {
    await this.#call({ name: 'claim' }, signal, () => {
      if (this.#store.owner === null && !by.known && this.#store.progress.size > 0)
        throw new CausewayError('sink_misconfigured', 'the sink is new, but holds progress');
      this.#store.owner ??= by.owner;
      this.#store.checkOwner(by.owner);
    });
    this.#claimant = by.owner;
  }

  async assign(partition: number, signal: AbortSignal): Promise<SinkPartition> {
    const claimant = present(this.#claimant, 'a claim before a partition is taken');
    return this.#call({ name: 'assign', partition }, signal, () => {
      if (this.#store.owner === null) throw new CausewayError('sink_unknown_progress', 'the sink has lost the claim on its progress');
      this.#store.checkOwner(claimant);
      const token = fencingTokenOf((this.#store.fences.get(partition) ?? 0) + 1);
      this.#store.fences.set(partition, token);
      return new MemoryPartition({ store: this.#store, partition, token, claimant, call: (...given) => this.#call(...given) });
    });
  }

  async progress(signal: AbortSignal): Promise<ReadonlyMap<number, SinkProgress>> {
    return this.#call({ name: 'progress' }, signal, () => new Map(this.#store.progress));
  }

  async sweep(schema: TableSchema, floor: Floor, signal: AbortSignal): Promise<{ readonly rows: number }> {
    const table = this.#store.table(schema.table);
    const missing = schema.columns.find(({ name }) => !table.columns.has(name));
    if (missing !== undefined) throw new CausewayError('sink_misconfigured', `the column ${missing.name} of ${schema.table} is missing`);
    let rows = 0;
    const keys = [...table.rows.keys()];
    for (let from = 0; from < keys.length; from += SWEEP_ROWS_MAX) {
      await turn(signal);
      this.#store.checkPassed(floor);
      for (const key of keys.slice(from, from + SWEEP_ROWS_MAX)) {
        const stored = table.rows.get(key);
        if (stored === undefined || (stored.sequence ?? SEQUENCE_ZERO) >= floor.sequence) continue;
        table.rows.set(key, { sequence: floor.sequence, values: null });
        rows += 1;
      }
    }
    return this.#call({ name: 'sweep' }, signal, () => {
      this.#store.checkPassed(floor);
      if ((this.#store.swept.get(floor.table) ?? '') < floor.sequence) this.#store.swept.set(floor.table, floor.sequence);
      return { rows };
    });
  }

  async sweeps(signal: AbortSignal): Promise<ReadonlyMap<TableId, Sequence>> {
    return this.#call({ name: 'sweeps' }, signal, () => new Map(this.#store.swept));
  }

  async *scan(schema: TableSchema, range: KeyRange, signal: AbortSignal): AsyncIterable<readonly SinkRow[]> {
    this.#knowsStore = true;
    await turn(signal);
    const compare = keyComparison(schema);
    const found = [...this.#store.table(schema.table).rows].map(([key, stored]) => ({ key, columns: parseRowKey(key).columns, stored }));
    const within = found
      .filter(({ columns }) => range.from === null || compare(columns, range.from) >= 0)
      .filter(({ columns }) => range.to === null || compare(columns, range.to) < 0)
      .sort((a, b) => compare(a.columns, b.columns));
    for (let from = 0; from < within.length; from += SCAN_ROWS_MAX) {
      await turn(signal);
      yield within.slice(from, from + SCAN_ROWS_MAX).map(({ key, stored }) => ({
        key,
        sequence: stored.sequence,
        row: stored.values === null ? null : rowOf(schema, stored.values),
      }));
    }
  }

  async read(schema: TableSchema, keys: readonly RowKey[], signal: AbortSignal): Promise<readonly SinkRow[]> {
    this.#knowsStore = true;
    return this.#call({ name: 'read' }, signal, () => {
      const { rows } = this.#store.table(schema.table);
      return [...new Set(keys)].flatMap((key) => {
        const stored = rows.get(key);
        if (stored === undefined) return [];
        return [{ key, sequence: stored.sequence, row: stored.values === null ? null : rowOf(schema, stored.values) }];
      });
    });
  }

  readBack(schema: TableSchema): (row: Row) => Row | null {
    return (row) => {
      assert(this.#knowsStore, 'another call of the sink has returned before');
      return this.#store.poison(schema, row) === null ? row : null;
    };
  }

  async remove(owners: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
    await turn(signal);
    if (this.#store.owner !== null && !owners.includes(this.#store.owner)) this.#store.checkOwner('');
    this.#store.owner = null;
    this.#store.progress.clear();
    this.#store.fences.clear();
    this.#store.swept.clear();
    this.#store.reports.clear();
    return ['progress, fences and sweeps'];
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  /** `effect` happens at once, as a transaction does; all that waits stands around it. */
  async #call<T>(call: SinkCall, signal: AbortSignal, effect: () => T): Promise<T> {
    await turn(signal);
    await this.#store.onCall?.('before', call);
    signal.throwIfAborted();
    const result = effect();
    await this.#store.onCall?.('after', call);
    await turn(signal);
    return result;
  }
}

type Call = <T>(call: SinkCall, signal: AbortSignal, effect: () => T) => Promise<T>;

class MemoryPartition implements SinkPartition {
  readonly partition: number;
  readonly token: FencingToken;
  readonly start: SinkProgress | null;
  readonly #store: MemorySinkStore;
  readonly #call: Call;
  readonly #claimant: string;
  /** Newest progress that this holder knows to be stored. */
  #seen: SinkProgress | null;
  #writes: number;
  #busy = false;

  constructor(input: {
    readonly store: MemorySinkStore;
    readonly partition: number;
    readonly token: FencingToken;
    readonly claimant: string;
    readonly call: Call;
  }) {
    this.#store = input.store;
    this.partition = input.partition;
    this.token = input.token;
    this.#call = input.call;
    this.#claimant = input.claimant;
    this.start = input.store.progress.get(input.partition) ?? null;
    this.#seen = this.start;
    this.#writes = input.store.writes.get(input.partition) ?? 0;
  }

  async apply(
    batch: { readonly rows: readonly RowChange[]; readonly progress: SinkProgress | null },
    signal: AbortSignal,
  ): Promise<readonly RowOutcome[]> {
    const { partition } = this;
    if (new Set(batch.rows.map(({ key }) => key)).size !== batch.rows.length) throw new Error('a batch holds a key once');
    const { seen, writes, outcomes } = await this.#alone({ name: 'apply', partition, ...batch }, signal, () => {
      // Looked for first, so that nothing of the batch is written where a table is missing.
      for (const change of batch.rows) this.#checkColumns(change);
      const progress = batch.progress === null ? null : this.#keep(batch.progress);
      const count = (this.#store.writes.get(partition) ?? 0) + (batch.rows.length > 0 ? 1 : 0);
      this.#store.writes.set(partition, count);
      return { seen: progress, writes: count, outcomes: batch.rows.map((change) => this.#store.write(change)) };
    });
    if (seen !== null) this.#seen = seen;
    this.#writes = writes;
    return outcomes;
  }

  async save(progress: SinkProgress, signal: AbortSignal): Promise<SinkProgress> {
    const { partition } = this;
    this.#seen = await this.#alone({ name: 'save', partition, progress }, signal, () => this.#keep(progress));
    return this.#seen;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  async #alone<T>(call: SinkCall, signal: AbortSignal, effect: () => T): Promise<T> {
    if (this.#busy) throw new Error('a partition takes one call at a time');
    this.#busy = true;
    try {
      return await this.#call(call, signal, () => {
        this.#checkHold();
        return effect();
      });
    } finally {
      this.#busy = false;
    }
  }

  #checkHold(): void {
    const fence = this.#store.fences.get(this.partition) ?? 0;
    if (this.#store.owner !== this.#claimant) throw new CausewayError('sink_went_back', 'the claim is gone');
    if (fence > this.token) throw new CausewayError('partition_fenced', `partition ${this.partition} is held under a newer token`);
    const stored = this.#store.progress.get(this.partition);
    const isLower = this.#seen !== null && (stored === undefined || compareSinkProgress(stored, this.#seen) < 0);
    const isFewer = (this.#store.writes.get(this.partition) ?? 0) < this.#writes;
    if (fence < this.token || isLower || isFewer) throw new CausewayError('sink_went_back', `partition ${this.partition} lost progress`);
  }

  #keep(progress: SinkProgress): SinkProgress {
    const stored = this.#store.progress.get(this.partition);
    if (stored !== undefined && compareSinkProgress(progress, stored) <= 0) return stored;
    this.#store.progress.set(this.partition, progress);
    return progress;
  }

  #checkColumns(change: RowChange): void {
    const table = this.#store.table(change.schema.table);
    if (change.tag === 'delete') return;
    for (const [index, { name }] of change.schema.columns.entries()) {
      if (change.row[index] !== undefined && !table.columns.has(name)) {
        throw new CausewayError('sink_misconfigured', `the column ${name} of ${change.schema.table} is missing`);
      }
    }
  }
}

/** One for each run, table, kind and key. */
function reportsOf(store: MemorySinkStore, call: Call): SinkReports {
  return {
    add: async (run, differences, signal) => {
      await call({ name: 'report' }, signal, () => {
        const kept = store.reports.get(run) ?? new Map<string, Difference>();
        for (const one of differences) kept.set(JSON.stringify([one.table, one.kind, one.key]), one);
        store.reports.set(run, kept);
      });
    },
    list: async function* (run, signal) {
      await turn(signal);
      const kept = [...(store.reports.get(run) ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
      for (let from = 0; from < kept.length; from += SCAN_ROWS_MAX) {
        await turn(signal);
        yield kept.slice(from, from + SCAN_ROWS_MAX);
      }
    },
    keepOnly: async (runs, signal) => {
      await call({ name: 'report' }, signal, () => {
        for (const run of [...store.reports.keys()]) if (!runs.includes(run)) store.reports.delete(run);
      });
    },
  };
}

function defaultsOf(table: StoredTable): Values {
  return new Map([...table.columns.values()].map(({ name, constantDefault }) => [name, constantDefault]));
}

function valuesOf(schema: TableSchema, row: Row): Values {
  return new Map(
    schema.columns.flatMap(({ name }, index) => {
      const value = row[index];
      return value === undefined ? [] : [[name, value] as const];
    }),
  );
}

function rowOf(schema: TableSchema, values: Values): Row {
  return schema.columns.map(({ name }) => values.get(name) ?? null);
}

function keyComparison(schema: TableSchema): (a: readonly string[], b: readonly string[]) => number {
  const numeric = schema.key.map((index) => ['int', 'decimal', 'float'].includes(schema.columns[index]?.type.tag ?? ''));
  return (a, b) => {
    for (const [index, left] of a.entries()) {
      const right = b[index] ?? '';
      if (left === right) continue;
      const byNumber = numeric[index] === true ? compareNumbers(Number(left), Number(right)) : 0;
      return byNumber === 0 ? (left < right ? -1 : 1) : byNumber;
    }
    return 0;
  };
}

/** NaN is the greatest, as in Postgres. */
function compareNumbers(a: number, b: number): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  return a === b ? 0 : a < b ? -1 : 1;
}

/** One turn, so that nothing here is faster than a promise. */
async function turn(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await Promise.resolve();
  signal.throwIfAborted();
}
