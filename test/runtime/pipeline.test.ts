import { expect, test } from 'vitest';
import type { TableId } from '#core/schema.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import type { PipelineConfig } from '../../src/config/config.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { createPipeline } from '../../src/runtime/pipeline.ts';
import { FakeDatabase, FakeSource } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { MemorySink, MemorySinkStore } from '../support/memory-sink.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const part = { kind: 'fake', config: null, raw: {} };

function configOf(sinks: readonly string[]): PipelineConfig {
  return {
    name: 'orders',
    source: part,
    tables: [{ pattern: 'public.*', snapshot: 'initial', target: null }],
    log: part,
    sinks: sinks.map((name) => ({ ...part, name, parkedKeysMax: 10, freshnessMs: null })),
    logFormat: 1,
    leaseTtlMs: 15_000,
  };
}

test('the log is freed behind the slowest of the configured sinks', async () => {
  const clock = new VirtualClock();
  const database = new FakeDatabase(clock.runtime);
  const table: TableId = database.createTable('public.orders');
  const logStore = new MemoryLogStore({ partitions: 1 });
  const stores = { warm: new MemorySinkStore(), cold: new MemorySinkStore() };
  const control = new MemoryControlStore();
  const pipeline = createPipeline({
    config: configOf(['warm', 'cold']),
    roles: ['capture', 'apply'],
    describedAs: 'test',
    codec: jsonCodec,
    runtime: clock.runtime,
    logger: silentLogger,
    metrics: createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: false }),
    build: () =>
      Promise.resolve({
        control,
        source: new FakeSource(database),
        log: new MemoryLog(logStore),
        sinks: new Map([
          ['warm', new MemorySink(stores.warm, {})],
          ['cold', new MemorySink(stores.cold, {})],
        ]),
      }),
  });
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
