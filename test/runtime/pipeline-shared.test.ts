import { expect, test } from 'vitest';
import { jsonCodec } from '../../src/codec/json.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { createPipeline, type Pipeline } from '../../src/runtime/pipeline.ts';
import { FakeDatabase, FakeSource } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { MemorySink, MemorySinkStore } from '../support/memory-sink.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const part = { kind: 'fake', config: null, raw: {} };

test.each([
  { sharesPartitions: false, standbyApplies: 'waiting' },
  { sharesPartitions: true, standbyApplies: 'running' },
])('a standby applies only where the log shares partitions out: $sharesPartitions', async ({ sharesPartitions, standbyApplies }) => {
  const clock = new VirtualClock();
  const database = new FakeDatabase(clock.runtime);
  database.createTable('public.orders');
  const logStore = new MemoryLogStore({ partitions: 2, sharesPartitions });
  const sinkStore = new MemorySinkStore();
  const control = new MemoryControlStore();
  const stop = new AbortController();
  const signals = { stop: stop.signal, kill: new AbortController().signal };
  const metrics = ['first', 'second'].map(() => createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: false }));
  const pipelines = metrics.map((own, index): Pipeline =>
    createPipeline({
      config: {
        name: 'orders',
        source: part,
        tables: [{ pattern: 'public.*', snapshot: 'initial', target: null }],
        log: part,
        sinks: [{ ...part, name: 'warm', parkedKeysMax: 10, freshnessMs: null }],
        logFormat: 1,
        leaseTtlMs: 15_000,
      },
      roles: ['capture', 'apply'],
      describedAs: `process ${index}`,
      codec: jsonCodec,
      runtime: clock.runtime,
      logger: silentLogger,
      metrics: own,
      build: () =>
        Promise.resolve({
          control,
          source: new FakeSource(database),
          log: new MemoryLog(logStore),
          sinks: new Map([['warm', new MemorySink(sinkStore)]]),
        }),
    }),
  );
  const runs = pipelines.map((pipeline) => pipeline.run(signals));
  await clock.advance(30_000);
  const standby = pipelines.findIndex((pipeline) => pipeline.status().state === 'standby');
  expect(standby).toBeGreaterThanOrEqual(0);
  expect(pipelines.map((pipeline) => pipeline.status().sinks[0]?.state)[standby]).toBe(standbyApplies);
  const text = await metrics[standby]?.text();
  expect(text?.includes('causeway_sink_state{pipeline="orders",sink="warm"')).toBe(sharesPartitions);
  stop.abort(new DOMException('stop', 'AbortError'));
  for (const run of runs) await clock.runUntil(run);
});
