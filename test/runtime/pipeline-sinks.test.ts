// Several sinks in one pipeline: what befalls one of them is a state of that one alone.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AssertionError } from '#core/assert.ts';
import { controlKeys } from '#core/control-rows.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { newLoad } from '#core/load-row.ts';
import type { TableId } from '#core/schema.ts';
import type { PipelineStatus } from '../../src/http/status-document.ts';
import type { Pipeline } from '../../src/runtime/pipeline.ts';
import { fakePipeline } from '../support/fake-pipeline.ts';
import { FakeDatabase } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLogStore } from '../support/memory-log.ts';
import { MemorySinkStore, type SinkCall } from '../support/memory-sink.ts';
import { VirtualClock } from '../support/test-runtime.ts';

type Befalls = NonNullable<MemorySinkStore['onCall']>;

let clock: VirtualClock;
let database: FakeDatabase;
let table: TableId;
let control: MemoryControlStore;
let warm: MemorySinkStore;
let cold: MemorySinkStore;
let pipeline: Pipeline;
let run: Promise<void>;
let stop: AbortController;
let kill: AbortController;

beforeEach(() => {
  clock = new VirtualClock();
  database = new FakeDatabase(clock.runtime);
  table = database.createTable('public.orders');
  control = new MemoryControlStore();
  warm = new MemorySinkStore();
  cold = new MemorySinkStore();
});

afterEach(end);

/** A daemon over what earlier ones left. */
function start(of: {
  readonly logStore: MemoryLogStore;
  readonly sinkStores: Readonly<Record<string, MemorySinkStore>>;
  readonly snapshot?: 'initial' | 'never';
  readonly onOpen?: (name: string) => void;
}): void {
  stop = new AbortController();
  kill = new AbortController();
  pipeline = fakePipeline({ clock, database, control, ...of });
  run = pipeline.run({ stop: stop.signal, kill: kill.signal });
  // A kill ends it with the reason.
  run.catch(() => undefined);
}

/** Like a sink that hangs is ended at last: by the second stage of a stop. */
async function end(): Promise<void> {
  stop.abort(new DOMException('stop', 'AbortError'));
  kill.abort(new DOMException('kill', 'AbortError'));
  await clock.runUntil(run.catch(() => undefined));
}

function insert(id: number): void {
  database.commit([{ op: 'insert', table, row: [String(id), 'v'.repeat(200)] }]);
}

function rowsOf(store: MemorySinkStore): number {
  return store.tables.has(table) ? store.liveRows(database.table(table).schema).length : 0;
}

function sinkNamed(name: string): PipelineStatus['sinks'][number] | undefined {
  return pipeline.status().sinks.find((sink) => sink.name === name);
}

const refusing = (code: ErrorCode, ...names: readonly SinkCall['name'][]): Befalls => {
  return (stage, call) => {
    if (stage === 'before' && (names.length === 0 || names.includes(call.name))) throw new CausewayError(code, 'so it is');
  };
};
const throwing = (thrown: unknown, ...names: readonly SinkCall['name'][]): Befalls => {
  return (stage, call) => {
    if (stage === 'before' && (names.length === 0 || names.includes(call.name))) throw thrown;
  };
};
const taking = (ms: number, ...names: readonly SinkCall['name'][]): Befalls => {
  return (stage, call) => (stage === 'before' && names.includes(call.name) ? clock.runtime.sleep(ms, kill.signal) : undefined);
};
const never = 1e9;

type Trouble = {
  readonly what: string;
  /** Of the sink: where it was so from its start, and where it had run before; null where it cannot begin later. */
  readonly states: readonly [string, string | null];
  readonly code: ErrorCode | null;
  readonly befalls: () => Befalls;
  /** False where not even the end of the trouble brings the call back. */
  readonly passes?: false;
};

const troubles: readonly Trouble[] = [
  { what: 'does not answer a claim', states: ['starting', null], code: null, befalls: () => taking(never, 'claim') },
  { what: 'does not answer while its tables are made', states: ['starting', null], code: null, befalls: () => taking(never, 'provision') },
  { what: "is somebody else's", states: ['failed', null], code: 'sink_claimed', befalls: () => refusing('sink_claimed', 'claim') },
  { what: 'writes slowly', states: ['starting', 'running'], code: null, befalls: () => taking(60_000, 'apply', 'save') },
  {
    what: 'does not answer a write',
    states: ['starting', 'running'],
    code: null,
    befalls: () => taking(never, 'apply', 'save'),
    passes: false,
  },
  { what: 'is down', states: ['starting', 'retrying'], code: 'sink_unavailable', befalls: () => refusing('sink_unavailable') },
  {
    what: 'is throttled',
    states: ['starting', 'retrying'],
    code: 'sink_throttled',
    befalls: () => refusing('sink_throttled', 'apply', 'save'),
  },
  { what: 'refuses the login', states: ['starting', 'retrying'], code: 'sink_credentials', befalls: () => refusing('sink_credentials') },
  {
    what: 'lacks a right',
    states: ['failed', 'failed'],
    code: 'sink_misconfigured',
    befalls: () => refusing('sink_misconfigured', 'apply', 'save'),
  },
  { what: 'throws errors without a code', states: ['failed', 'failed'], code: 'sink_failed', befalls: () => throwing(new Error('odd')) },
  {
    what: 'has a client with a defect',
    states: ['failed', 'failed'],
    code: 'sink_failed',
    befalls: () => throwing(new TypeError('undefined is not a function'), 'apply', 'save'),
  },
  { what: 'throws what is no error', states: ['failed', null], code: 'sink_failed', befalls: () => throwing('odd', 'assign') },
  {
    what: 'ends calls as if it had been told to',
    states: ['failed', 'failed'],
    code: 'sink_failed',
    befalls: () => throwing(new DOMException('timed out', 'AbortError'), 'apply', 'save'),
  },
];

/** What another sink and the source may take for one change, whatever becomes of the sink in trouble: as long as without one. */
const SOON_MS = 2_000;

async function changesGoOn(state: string, code: ErrorCode | null): Promise<void> {
  for (let id = 0; id < 30; id += 1) {
    const before = rowsOf(warm);
    insert(before);
    const { end: committed } = database.transactions.at(-1) ?? { end: 0n };
    await clock.advance(SOON_MS);
    expect(rowsOf(warm)).toBe(before + 1);
    expect(database.slot?.position).toBeGreaterThanOrEqual(committed);
  }
  expect(pipeline.started).toBe(true);
  expect(pipeline.status()).toMatchObject({ state: 'streaming', trouble: null });
  expect(sinkNamed('warm')).toMatchObject({ state: 'running', trouble: null });
  expect(sinkNamed('cold')?.state).toBe(state);
  expect(sinkNamed('cold')?.trouble?.code ?? null).toBe(code);
}

describe.each(troubles)('a sink that $what', ({ states: [state], code, befalls }) => {
  test('from its start delays no other sink and not the source, and is the only one that says so', async () => {
    cold.onCall = befalls();
    start({ logStore: new MemoryLogStore({ partitions: 2 }), sinkStores: { cold, warm } });
    await clock.advance(5_000);
    await changesGoOn(state, code);
    expect(rowsOf(cold)).toBe(0);
  });
});

const later = troubles.flatMap(({ states: [, state], ...trouble }) => (state === null ? [] : [{ ...trouble, state }]));

describe.each(later)('a sink that $what', ({ state, code, befalls, passes = true }) => {
  test('after a while delays no other sink and not the source, and has everything once that is over', async () => {
    start({ logStore: new MemoryLogStore({ partitions: 2 }), sinkStores: { cold, warm } });
    await clock.advance(5_000);
    insert(0);
    await clock.advance(5_000);
    expect(rowsOf(cold)).toBe(1);
    cold.onCall = befalls();
    await changesGoOn(state, code);
    expect(rowsOf(cold)).toBeLessThan(rowsOf(warm));
    cold.onCall = null;
    await clock.advance(120_000);
    expect(rowsOf(cold)).toBe(passes ? 31 : 1);
  });
});

test('a sink that cannot be opened stops alone, until it can be', async () => {
  let opens = false;
  const onOpen = (name: string): void => {
    if (name === 'cold' && !opens) throw new Error('no such module');
  };
  start({ logStore: new MemoryLogStore({ partitions: 2 }), sinkStores: { cold, warm }, onOpen });
  await clock.advance(5_000);
  await changesGoOn('failed', 'sink_failed');
  opens = true;
  await clock.advance(15_000);
  expect([rowsOf(warm), rowsOf(cold)]).toEqual([30, 30]);
  expect(sinkNamed('cold')).toMatchObject({ state: 'running', trouble: null });
});

describe('a broken invariant at a sink', () => {
  const broken = new AssertionError('so it never is');

  test('ends the pipeline, and with it the process', async () => {
    cold.onCall = throwing(broken, 'apply');
    start({ logStore: new MemoryLogStore({ partitions: 2 }), sinkStores: { cold, warm } });
    await clock.advance(5_000);
    insert(0);
    await expect(clock.runUntil(run)).rejects.toBe(broken);
  });

  test('counts though another error was met before it', async () => {
    const met: string[] = [];
    cold.onCall = async (stage, call) => {
      if (stage !== 'before' || call.name !== 'apply') return;
      met.push('apply');
      // Both partitions are at the sink by then.
      const isSecond = met.length > 1;
      await clock.runtime.sleep(isSecond ? 2_000 : 1_000, kill.signal);
      throw isSecond ? broken : new Error('odd');
    };
    start({ logStore: new MemoryLogStore({ partitions: 2 }), sinkStores: { cold, warm } });
    await clock.advance(5_000);
    for (let id = 0; id < 10; id += 1) insert(id);
    await expect(clock.runUntil(run)).rejects.toBe(broken);
    expect(met).toHaveLength(2);
  });
});

test('a sink with too many parked keys stops alone', async () => {
  cold.poison = () => 'no such value here';
  start({ logStore: new MemoryLogStore({ partitions: 2 }), sinkStores: { cold, warm } });
  await clock.advance(5_000);
  await changesGoOn('failed', 'parked_keys_max');
});

test('with the embedded log the source waits only once that is full of what a sink still needs', async () => {
  const logStore = new MemoryLogStore({ partitions: 2, bytesMax: 30_000 });
  start({ logStore, sinkStores: { cold, warm } });
  await clock.advance(5_000);
  cold.onCall = refusing('sink_unavailable');
  for (let id = 0; id < 200; id += 1) insert(id);
  await clock.advance(20_000);
  expect(pipeline.status()).toMatchObject({ state: 'retrying', trouble: { code: 'log_full' } });
  // Whatever found room has arrived at the other sink, which is well.
  expect(rowsOf(warm)).toBeGreaterThan(20);
  expect(rowsOf(warm)).toBeLessThan(200);
  expect(sinkNamed('warm')).toMatchObject({ state: 'running', trouble: null, lagRecords: 0 });
  cold.onCall = null;
  await clock.advance(60_000);
  expect([rowsOf(warm), rowsOf(cold)]).toEqual([200, 200]);
  expect(pipeline.status()).toMatchObject({ state: 'streaming', trouble: null });
});

describe('a sink that is added to a pipeline that has published', () => {
  const logStore = { store: new MemoryLogStore() };

  beforeEach(async () => {
    // What the other sink has is still there.
    logStore.store = new MemoryLogStore({ partitions: 2, keepBytes: 1_000_000 });
    start({ logStore: logStore.store, sinkStores: { warm } });
    await clock.advance(5_000);
    insert(0);
    await clock.advance(5_000);
    await end();
  });

  test('is brought the rows from before by itself, and the others go on', async () => {
    start({ logStore: logStore.store, sinkStores: { cold, warm } });
    await clock.advance(20_000);
    await changesGoOn('running', null);
    expect([rowsOf(warm), rowsOf(cold)]).toEqual([31, 31]);
  });

  test('starts with what is published from then on where they are marked `snapshot: never`', async () => {
    start({ logStore: logStore.store, sinkStores: { cold, warm }, snapshot: 'never' });
    await clock.advance(20_000);
    await changesGoOn('running', null);
    expect([rowsOf(warm), rowsOf(cold)]).toEqual([31, 30]);
  });

  test('is brought the rows from before by a load of its own when that is asked for', async () => {
    start({ logStore: logStore.store, sinkStores: { cold, warm }, snapshot: 'never' });
    await clock.advance(20_000);
    database.commit([{ op: 'update', table, id: '0', row: ['0', undefined] }]);
    insert(1);
    await clock.advance(5_000);
    // What parks for want of its row is repaired by itself.
    expect([rowsOf(cold), sinkNamed('cold')?.parkedKeys]).toEqual([2, 0]);
    let writes = 0;
    warm.onCall = (stage, call) => {
      if (stage === 'before' && call.name === 'apply') writes += 1;
    };
    await load({ table, sink: 'cold' });
    await clock.advance(20_000);
    expect(pipeline.status().loads).toEqual([]);
    expect([rowsOf(warm), rowsOf(cold), sinkNamed('cold')?.parkedKeys]).toEqual([2, 2, 0]);
    // Its rows are none of the other sink's.
    expect(writes).toBe(0);
  });
});

/** As the command asks for it. */
async function load(of: { readonly table: TableId; readonly sink: string }): Promise<void> {
  const value = newLoad({ ...of, rowsExpected: null, wallMs: clock.runtime.wallMs() });
  await control.swap({ key: controlKeys.load('orders', of.table, of.sink), value, expected: null }, new AbortController().signal);
}
