// A sink that joins a pipeline which has run for a while, under writes and kills: in the end it holds the source's rows, and before then
// it never claims a table of which it lacks rows.
import { describe, expect, test } from 'vitest';
import type { TableId } from '#core/schema.ts';
import { fakePipeline } from '../support/fake-pipeline.ts';
import { FakeDatabase, type FakeStatement } from '../support/fake-source.ts';
import { MemoryControlStore, memoryControlRows } from '../support/memory-control-store.ts';
import { MemoryLogStore } from '../support/memory-log.ts';
import { MemorySinkStore } from '../support/memory-sink.ts';
import { VirtualClock } from '../support/test-runtime.ts';
import type { Pipeline } from '../../src/runtime/pipeline.ts';

const SEEDS = 10;

describe.each([{ from: 1 }, { from: 1 + SEEDS }])('a sink that joins later, seeds from $from on', ({ from }) => {
  test('ends with the source’s rows', async () => {
    let checked = 0;
    for (let seed = from; seed < from + SEEDS; seed += 1) checked += await joins(seed);
    expect(checked).toBeGreaterThan(SEEDS);
  });
});

/** Returns how often the sink's claim was compared with what it held. */
async function joins(seed: number): Promise<number> {
  const ground = new Ground(seed);
  const { clock, database } = ground;
  let run = ground.start(['warm']);
  await ground.live(4);
  for (let step = 0; step < 8; step += 1) {
    if (step === 0 || ground.random() < 0.4) {
      run.end(ground.random() < 0.6 ? 'kill' : 'stop');
      await clock.runUntil(run.done);
      run = ground.start(['warm', 'later']);
    }
    await ground.live(1 + ground.below(3), run.pipeline);
  }
  database.onCall = null;
  database.show();
  await clock.advance(60_000);
  expect(ground.differences('warm'), `seed ${seed}`).toEqual([]);
  expect(ground.differences('later'), `seed ${seed}`).toEqual([]);
  const [, later] = run.pipeline.status().sinks;
  expect([later?.loading, later?.watermark === null, later?.parkedKeys], `seed ${seed}`).toEqual([[], false, 0]);
  run.end('stop');
  await clock.runUntil(run.done);
  return ground.checked;
}

type Run = { readonly pipeline: Pipeline; readonly done: Promise<void>; readonly end: (how: 'stop' | 'kill') => void };

class Ground {
  readonly clock: VirtualClock;
  readonly database: FakeDatabase;
  checked = 0;
  readonly #tables: readonly TableId[];
  readonly #logStore = new MemoryLogStore({ partitions: 3 });
  readonly #controlRows = memoryControlRows();
  readonly #sinks = new Map([
    ['warm', new MemorySinkStore()],
    ['later', new MemorySinkStore()],
  ]);
  readonly #seed: number;
  #writes = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.clock = new VirtualClock(seed);
    this.database = new FakeDatabase(this.clock.runtime);
    this.#tables = ['public.orders', 'public.lines'].map((name) => this.database.createTable(name, ['id', 'value', 'large']));
    // Those that begin with an a are never written again.
    for (const table of this.#tables) {
      const row = (at: number): FakeStatement => ({
        op: 'insert',
        table,
        row: [`${at % 2 === 0 ? 'a' : 'k'}${at}`, `v${at}`, `large${at}`],
      });
      this.database.commit(Array.from({ length: 6 + this.below(20) }, (_, at) => row(at)));
    }
    this.database.onCall = () => {
      if (this.random() < 0.3) this.#write();
      if (this.random() < 0.3) this.database.show(1);
    };
  }

  random(): number {
    return this.clock.runtime.random();
  }

  below(bound: number): number {
    return Math.floor(this.random() * bound);
  }

  start(names: readonly string[]): Run {
    const stop = new AbortController();
    const kill = new AbortController();
    const pipeline = fakePipeline({
      clock: this.clock,
      database: this.database,
      control: new MemoryControlStore(this.#controlRows),
      logStore: this.#logStore,
      sinkStores: Object.fromEntries([...this.#sinks].filter(([name]) => names.includes(name))),
    });
    const done = pipeline.run({ stop: stop.signal, kill: kill.signal });
    const end = (how: 'stop' | 'kill'): void => (how === 'stop' ? stop : kill).abort(new DOMException(how, 'AbortError'));
    return { pipeline, done, end };
  }

  async live(seconds: number, pipeline?: Pipeline): Promise<void> {
    for (let at = 0; at < seconds * 10; at += 1) {
      if (this.random() < 0.3) this.#write();
      await this.clock.advance(100);
      if (pipeline !== undefined) this.#compareClaim(pipeline);
    }
  }

  /** What the sink claims of a table is at least that it has what was there from the beginning. */
  #compareClaim(pipeline: Pipeline): void {
    const later = pipeline.status().sinks.find(({ name }) => name === 'later');
    if (later === undefined || later.watermark === null) return;
    for (const table of this.#tables.filter((one) => !later.loading.includes(one))) {
      this.checked += 1;
      const missing = this.#differences('later', table).filter((text) => text.startsWith('a'));
      expect(missing, `seed ${this.#seed}: claimed of ${table}`).toEqual([]);
    }
  }

  differences(sink: string): readonly string[] {
    return this.#tables.flatMap((table) => this.#differences(sink, table));
  }

  #differences(sink: string, table: TableId): readonly string[] {
    const { schema, rows } = this.database.table(table);
    const store = this.#sinks.get(sink);
    const source = [...rows.values()].map((row) => row.join(' '));
    const copy = store?.tables.has(table) === true ? store.liveRows(schema).map((row) => row.join(' ')) : [];
    return [
      ...source.filter((row) => !copy.includes(row)),
      ...copy.filter((row) => !source.includes(row)).map((row) => `${row} (surplus)`),
    ];
  }

  #write(): void {
    const { database } = this;
    this.#writes += 1;
    const table = this.#tables[this.below(2)] as TableId;
    const id = `k${this.below(30)}`;
    if (database.isLocked(table, id)) return;
    const exists = database.table(table).rows.has(JSON.stringify([table, id]) as never);
    const chance = this.random();
    const whole = [id, `w${this.#writes}`, `large${this.#writes}`];
    const statement: FakeStatement = !exists
      ? { op: 'insert', table, row: whole }
      : chance < 0.2
        ? { op: 'delete', table, id }
        : { op: 'update', table, id, row: chance < 0.7 ? [id, `w${this.#writes}`, undefined] : whole };
    database.commit([statement], { hidden: this.random() < 0.2 });
  }
}
