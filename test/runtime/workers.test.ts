// What a process applies while another one captures, as commands read it.
import { expect, test } from 'vitest';
import { controlKeys, type WorkerRow } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { SinkStatus } from '../../src/http/status-document.ts';
import { followWorkers } from '../../src/runtime/workers.ts';
import { memoryControlRows, MemoryControlStore } from '../support/memory-control-store.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const never = new AbortController().signal;

const sinkWith = (partitions: readonly number[]): SinkStatus => ({
  name: 'warm',
  kind: 'fake',
  state: 'running',
  trouble: null,
  loading: [],
  watermark: null,
  lagSeconds: null,
  lagRecords: 0,
  partitions: partitions.map((partition) => ({ partition, state: 'running', lagRecords: 0 })),
  parkedKeys: 0,
  parkedAwaitingRepair: 0,
  parkedOldestMicros: null,
  blocked: [],
  inFlightRows: 0,
  reconcile: null,
});

class Process {
  partitions: readonly number[];
  captures = false;
  readonly control: MemoryControlStore;
  readonly #stop = new AbortController();
  readonly #run: Promise<void>;

  constructor(clock: VirtualClock, rows: ReturnType<typeof memoryControlRows>, describedAs: string, partitions: readonly number[]) {
    this.partitions = partitions;
    this.control = new MemoryControlStore(rows);
    const { runtime } = clock;
    const own = { pipeline: 'orders', describedAs, control: this.control, runtime, logger: silentLogger };
    const told = { captures: () => this.captures, sinks: () => [sinkWith(this.partitions), sinkWith([])] };
    this.#run = followWorkers({ ...own, ...told }, this.#stop.signal);
  }

  async rows(): Promise<readonly WorkerRow[]> {
    return (await this.control.list(controlKeys.workers('orders'), never)).map(({ value }) => value as WorkerRow);
  }

  async end(): Promise<void> {
    this.#stop.abort(new DOMException('stop', 'AbortError'));
    await this.#run;
  }
}

test('who applies while another one captures tells so, again and again, and takes it back when it applies nothing', async () => {
  const clock = new VirtualClock();
  const process = new Process(clock, memoryControlRows(), 'host/1', [1, 3]);
  await clock.advance(5_000);
  const [first] = await process.rows();
  expect(first).toMatchObject({ describedAs: 'host/1', sinks: [{ name: 'warm', partitions: [{ partition: 1 }, { partition: 3 }] }] });
  await clock.advance(5_000);
  expect((await process.rows())[0]?.writtenAtWallMs).toBeGreaterThan(first?.writtenAtWallMs ?? Infinity);
  process.partitions = [];
  await clock.advance(5_000);
  expect(await process.rows()).toEqual([]);
  await process.end();
});

test('who begins to capture takes its row back: the status of the pipeline tells the same', async () => {
  const clock = new VirtualClock();
  const process = new Process(clock, memoryControlRows(), 'host/1', [1]);
  await clock.advance(5_000);
  expect(await process.rows()).toHaveLength(1);
  process.captures = true;
  await clock.advance(5_000);
  expect(await process.rows()).toEqual([]);
  process.captures = false;
  await clock.advance(5_000);
  expect(await process.rows()).toHaveLength(1);
  await process.end();
});

test('who captures clears away what processes left that are gone, and leaves what still moves', async () => {
  const clock = new VirtualClock();
  const rows = memoryControlRows();
  const holder = new Process(clock, rows, 'host/1', [0]);
  holder.captures = true;
  const gone = new Process(clock, rows, 'host/2', [1]);
  const lives = new Process(clock, rows, 'host/3', [2]);
  await clock.advance(5_000);
  await gone.end();
  await clock.advance(50_000);
  expect((await holder.rows()).map(({ describedAs }) => describedAs).sort()).toEqual(['host/2', 'host/3']);
  await clock.advance(100_000);
  expect((await holder.rows()).map(({ describedAs }) => describedAs)).toEqual(['host/3']);
  await holder.end();
  await lives.end();
});

test('a control store that cannot be reached is tried again', async () => {
  const clock = new VirtualClock();
  const process = new Process(clock, memoryControlRows(), 'host/1', [1]);
  const swap = process.control.swap.bind(process.control);
  process.control.swap = () => Promise.reject(new CausewayError('control_unavailable', 'gone'));
  await clock.advance(20_000);
  expect(await process.rows()).toEqual([]);
  process.control.swap = swap;
  await clock.advance(5_000);
  expect(await process.rows()).toHaveLength(1);
  await process.end();
});

test('a row whose write was not answered is taken back all the same', async () => {
  const clock = new VirtualClock();
  const process = new Process(clock, memoryControlRows(), 'host/1', [1]);
  const swap = process.control.swap.bind(process.control);
  process.control.swap = async (...given) => {
    await swap(...given);
    throw new CausewayError('control_unavailable', 'there is no answer');
  };
  await clock.advance(5_000);
  expect(await process.rows()).toHaveLength(1);
  process.captures = true;
  await clock.advance(5_000);
  expect(await process.rows()).toEqual([]);
  await process.end();
});
