import { expect, test } from 'vitest';
import type { TableId } from '#core/schema.ts';
import { fakePipeline } from '../support/fake-pipeline.ts';
import { FakeDatabase } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLogStore } from '../support/memory-log.ts';
import { MemorySinkStore } from '../support/memory-sink.ts';
import { VirtualClock } from '../support/test-runtime.ts';

test('the log is freed behind the slowest of the configured sinks', async () => {
  const clock = new VirtualClock();
  const database = new FakeDatabase(clock.runtime);
  const table: TableId = database.createTable('public.orders');
  const logStore = new MemoryLogStore({ partitions: 1 });
  const stores = { warm: new MemorySinkStore(), cold: new MemorySinkStore() };
  const pipeline = fakePipeline({ clock, database, control: new MemoryControlStore(), logStore, sinkStores: stores });
  const stop = new AbortController();
  const run = pipeline.run({ stop: stop.signal, kill: new AbortController().signal });
  for (let id = 0; id < 20; id += 1) {
    await clock.advance(1_000);
    database.commit([{ op: 'insert', table, row: [String(id), 'value'] }]);
  }
  await clock.advance(10_000);
  const { start, records } = logStore.partition(0);
  expect(logStore.retained).toEqual(['warm', 'cold']);
  expect(start).toBeGreaterThan(20);
  expect(start).toBeLessThanOrEqual(Math.min(...[stores.warm, stores.cold].map((store) => store.progress.get(0)?.offset ?? 0)));
  expect(records.length).toBeGreaterThan(0);
  stop.abort(new DOMException('stop', 'AbortError'));
  await clock.runUntil(run);
});
