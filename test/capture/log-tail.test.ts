import { expect, test } from 'vitest';
import type { LogBatch } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import { compareProgress } from '#core/log.ts';
import { MemoryLog, type MemoryLogStore } from '../support/memory-log.ts';
import { World } from './world.ts';

/** A sink that catches up while the tail is being read: what it has behind it is freed under the reader. */
class FreedWhileRead extends MemoryLog {
  readonly #store: MemoryLogStore;
  freed = 0;

  constructor(store: MemoryLogStore) {
    super(store);
    this.#store = store;
  }

  override async *read(partition: number, from: Offset, signal: AbortSignal): AsyncIterable<LogBatch> {
    const { start, records } = this.#store.partition(partition);
    if (this.freed <= partition) {
      this.freed = partition + 1;
      const progress = { offset: (start + records.length) as Offset, pair: null };
      const stored = this.#store.progress.get('warm') ?? new Map<number, typeof progress>();
      if (compareProgress(progress, { offset: from, pair: null }) > 0) stored.set(partition, progress);
      this.#store.progress.set('warm', stored);
      this.#store.retained = ['warm'];
      this.#store.trim();
    }
    yield* super.read(partition, from, signal);
  }
}

test('the tail is read to its end though its beginning is freed meanwhile', async () => {
  const world = new World();
  const orders = world.database.createTable('public.orders');
  // It dies before it stores where its records ended.
  const first = await world.startStreaming({ options: { checkpointIntervalMs: 3_600_000 } });
  for (let id = 0; id < 50; id += 1) world.database.commit([{ op: 'insert', table: orders, row: [String(id), 'value'] }]);
  await world.clock.advance(2_000);
  first.kill();
  await world.clock.advance(100);
  const log = new FreedWhileRead(world.logStore);
  const second = await world.startStreaming({ log }, 25_000);
  expect(log.freed).toBe(world.logStore.partitions.length);
  await world.stopped(second);
});
