import fc from 'fast-check';
import { afterEach, beforeEach, expect } from 'vitest';

import { present } from '#core/assert.ts';
import { codeOf } from '#core/errors.ts';
import { parseRowKey, rowKeyOf, type RowKey } from '#core/key.ts';
import { epochOf, fencingTokenOf, offsetOf } from '#core/position.ts';
import { tableSchema, type Column, type TableId, type TableSchema } from '#core/schema.ts';
import { decodeSequence, encodeSequence, type Sequence } from '#core/sequence.ts';
import type { Floor, RowChange, RowOutcome, Sink, SinkClaim, SinkPartition, SinkProgress, SinkRow } from '#core/sink.ts';
import type { CanonicalType, Row } from '#core/value.ts';

import { canonicalValues, type TypeCase } from '../support/canonical-values.ts';

/** A store for one test. `Symbol.asyncDispose` ends it; sinks that `open` gave are ended by the tests. */
export type SinkContext = AsyncDisposable & {
  /** The sink `s` of the pipeline `p`, with four partitions. Called twice, it gives what a second process would have. */
  open(): Sink;
  /** A table of this test's own. */
  table(name: string): TableId;
  /** Live rows, read beside the sink, as an application would. In no order. */
  liveRows(schema: TableSchema): Promise<readonly Row[]>;
  /** Puts a row into the replicated table beside the sink: it has no version. */
  plant(schema: TableSchema, row: Row): Promise<void>;
  /** Takes a copy of the stored progress and fences; what it returns puts them back, as a failover to an older replica does. */
  keepProgress(): Promise<() => Promise<void>>;
  /** True where a row that something else wrote counts as the lowest; otherwise it is left alone, and its key parks. */
  readonly takesOver: boolean;
  /** True where a batch takes effect whole or not at all. */
  readonly atomic: boolean;
  /** Loses the claim and nothing else: what a restore of a state from before it does. */
  dropClaim(): Promise<void>;
  /** Types whose every value the store holds without loss. */
  readonly typeCases: readonly TypeCase[];
  /** A type, with a text that looks like one of its values and that the store refuses for ever. */
  readonly poison: { readonly sourceType: string; readonly type: CanonicalType; readonly good: string; readonly bad: string };
  /** True for a store that a table can be missing from. Others skip those tests. */
  readonly hasTables: boolean;
  /** False for a store whose tables know no columns but their key: nothing is added to one, and no default reaches what is there. */
  readonly hasColumns: boolean;
  /** False where a key is kept as its key text: `1` for `1.00`. True where it is absent. */
  readonly keepsKeySpelling?: boolean;
  /** False where the store orders a key of NaN in another way than it compares it. True where it is absent. */
  readonly ordersNaN?: boolean;
  /** Values that the store cannot hold, by the store's manual and not by the connector's code; none where it is absent. */
  readonly refusesValue?: (type: CanonicalType, text: string) => boolean;
  /** Keys of one column that the store cannot hold, likewise. */
  readonly refusesKey?: (type: CanonicalType, text: string) => boolean;
  /** Of the store's own; at least one. */
  readonly limitCases: readonly LimitCase[];
  /** So many that a sweep of them takes a while, at this store. */
  readonly manyRows: number;
  /** Runs of each property. */
  readonly runs: number;
};

/** Rows that the store just takes, and the same ones a byte or a digit larger. */
export type LimitCase = {
  /** For people. */
  readonly what: string;
  readonly columns: readonly Column[];
  readonly key: readonly number[];
  readonly at: readonly Row[];
  readonly over: readonly Row[];
};

export const text: CanonicalType = { tag: 'text' };
export const bigint: CanonicalType = { tag: 'int', bits: 64, unsigned: false };

export function contractColumn(name: string, sourceType: string, type: CanonicalType, nullable = true): Column {
  return { name, type, sourceType, nullable, constantDefault: null };
}

export function contractSchema(table: TableId, columns: readonly Column[], key: readonly number[] = [0]): TableSchema {
  return tableSchema({ table, columns, key });
}

/** `id bigint, a text, big text`: what most tests use. */
export function plainSchema(table: TableId): TableSchema {
  return contractSchema(table, [
    contractColumn('id', 'bigint', bigint, false),
    contractColumn('a', 'text', text),
    contractColumn('big', 'text', text),
  ]);
}

export function sequenceAt(commit: number, change = 1): Sequence {
  return encodeSequence({ epoch: epochOf(1), commit: BigInt(commit), change: BigInt(change), sub: 1 });
}

export function upsertAt(schema: TableSchema, sequence: Sequence, row: Row): RowChange {
  return { tag: 'upsert', schema, key: keyOf(schema, row), sequence, row };
}

export function partialAt(schema: TableSchema, sequence: Sequence, row: Row): RowChange {
  return { tag: 'partial', schema, key: keyOf(schema, row), sequence, row };
}

export function deleteAt(schema: TableSchema, sequence: Sequence, id: string): RowChange {
  return { tag: 'delete', schema, key: JSON.stringify([schema.table, id]) as RowKey, sequence };
}

export function progressAt(counter: number, more: Partial<SinkProgress> = {}): SinkProgress {
  return {
    offset: offsetOf(counter),
    pair: { generation: fencingTokenOf(1), counter },
    holder: 'h',
    watermark: null,
    floors: [],
    openLoads: [],
    epochs: [],
    replays: 0,
    ...more,
  };
}

export function keyOf(schema: TableSchema, row: Row): RowKey {
  return present(rowKeyOf(schema, row), 'key of a test row');
}

/** Every partition of the sink passes the floor. `held` is used where it is one of them; other holders are fenced. */
export async function passFloor(sink: Sink, floor: Floor, signal: AbortSignal, held: SinkPartition | null = null): Promise<void> {
  const progress = progressAt(Number(decodeSequence(floor.sequence).commit), { floors: [floor] });
  for (const number of [0, 1, 2, 3]) {
    if (held?.partition === number) {
      await held.save(progress, signal);
      continue;
    }
    await using taken = await sink.assign(number, signal);
    await taken.save(progress, signal);
  }
}

export const tags = (outcomes: readonly RowOutcome[]): readonly string[] =>
  outcomes.map((outcome) => (outcome.tag === 'rejected' ? outcome.code : outcome.tag));

export async function codeThrown(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return codeOf(error);
  }
  return 'nothing';
}

export async function scanned(
  sink: Sink,
  schema: TableSchema,
  signal: AbortSignal,
  range = { from: null, to: null } as KeyRangeText,
): Promise<SinkRow[]> {
  const rows: SinkRow[] = [];
  for await (const page of sink.scan(schema, sink.scansInOrder ? range : { from: null, to: null }, signal)) rows.push(...page);
  return sink.scansInOrder ? rows : rows.filter(({ key }) => isIn(key, range)).toSorted(byKey);
}

/** Of keys of whole numbers, or of numbers and then texts. */
function isIn(key: RowKey, { from, to }: KeyRangeText): boolean {
  const own = parseRowKey(key).columns;
  return (from === null || compareTexts(own, from) >= 0) && (to === null || compareTexts(own, to) < 0);
}

function byKey(a: SinkRow, b: SinkRow): number {
  return compareTexts(parseRowKey(a.key).columns, parseRowKey(b.key).columns);
}

function compareTexts(a: readonly string[], b: readonly string[]): number {
  for (const [index, text] of a.entries()) {
    const other = b[index] ?? '';
    if (text === other) continue;
    const [one, two] = [Number(text), Number(other)];
    if (Number.isNaN(one) || Number.isNaN(two)) return text < other ? -1 : 1;
    return one - two;
  }
  return 0;
}

type KeyRangeText = { readonly from: readonly string[] | null; readonly to: readonly string[] | null };

export const byText = (a: unknown, b: unknown): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);

/** What the tests of the contract share. All but the functions is new for each test. */
export type SinkBench<Context extends SinkContext = SinkContext> = {
  readonly never: AbortSignal;
  readonly owner: SinkClaim;
  context: Context;
  sink: Sink;
  /** `plainSchema`, provisioned. */
  schema: TableSchema;
  /** The first one, under `owner`. */
  partition: SinkPartition;
  readonly open: () => Sink;
  readonly assign: (of: Sink, number: number) => Promise<SinkPartition>;
  readonly apply: (rows: readonly RowChange[], to?: SinkPartition) => Promise<readonly string[]>;
  /** Sequence and row of one key. `undefined` where the sink knows nothing of it. */
  readonly stored: (of: TableSchema, key: RowKey) => Promise<{ readonly sequence: Sequence | null; readonly row: Row | null } | undefined>;
  /** `stored` of the key 1. */
  readonly one: () => Promise<{ readonly sequence: Sequence | null; readonly row: Row | null } | undefined>;
};

/** Called inside of a `describe`. */
export function sinkBench<Context extends SinkContext>(makeContext: () => Promise<Context>): SinkBench<Context> {
  const never = new AbortController().signal;
  const owner = { owner: 'o', known: false };
  let opened: AsyncDisposable[];

  const open = (): Sink => {
    const another = bench.context.open();
    opened.push(another);
    return another;
  };
  const assign = async (of: Sink, number: number): Promise<SinkPartition> => {
    await of.claim(owner, never);
    const given = await of.assign(number, never);
    opened.push(given);
    return given;
  };
  const apply = async (rows: readonly RowChange[], to = bench.partition): Promise<readonly string[]> =>
    tags(await to.apply({ rows, progress: null }, never));
  /** Sequence and row of one key. `undefined` where the sink knows nothing of it. */
  const stored = async (of: TableSchema, key: RowKey): Promise<{ sequence: Sequence | null; row: Row | null } | undefined> => {
    const found = (await scanned(bench.sink, of, never)).filter((entry) => entry.key === key);
    expect(found.length).toBeLessThan(2);
    const entry = found[0];
    return entry === undefined ? undefined : { sequence: entry.sequence, row: entry.row };
  };
  const one = async (): Promise<{ sequence: Sequence | null; row: Row | null } | undefined> =>
    stored(bench.schema, keyOf(bench.schema, ['1', null, null]));

  const bench = { never, owner, open, assign, apply, stored, one } as SinkBench<Context>;

  beforeEach(async () => {
    opened = [];
    bench.context = await makeContext();
    bench.sink = open();
    bench.schema = plainSchema(bench.context.table('plain'));
    await bench.sink.provision([bench.schema], never);
    bench.partition = await assign(bench.sink, 0);
  });
  afterEach(async () => {
    for (const one of opened.reverse()) await one[Symbol.asyncDispose]();
    await bench.context[Symbol.asyncDispose]();
  });
  return bench;
}

/** Cuts a list of changes where a key would stand twice in a batch. */
export function batchesOfDistinctKeys(changes: readonly RowChange[]): RowChange[][] {
  const batches: RowChange[][] = [];
  let batch: RowChange[] = [];
  let keys = new Set<string>();
  for (const change of changes) {
    if (keys.has(change.key)) {
      batches.push(batch);
      batch = [];
      keys = new Set();
    }
    batch.push(change);
    keys.add(change.key);
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

/** What apply does with a retryable error, without the wait. Two writers of one key may be made to go one by one. */
export async function retried<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!['sink_unavailable', 'sink_throttled'].includes(codeOf(error)) || attempt === 20) throw error;
    }
  }
}

/** Types whose printed form is narrower than their canonical type tells keep to their edges. */
export function drawable(entry: TypeCase): fc.Arbitrary<string> {
  const edgesOnly = ['character varying(20)', 'character(4)'];
  const base = fc.constantFrom(...entry.edges);
  if (edgesOnly.includes(entry.sourceType) || entry.type.tag === 'other') return base;
  return fc.oneof(base, canonicalValues(entry.type));
}
