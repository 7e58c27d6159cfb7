import { expect, test } from 'vitest';
import { createMetrics } from '../../src/metrics/registry.ts';
import { fakePipeline } from '../support/fake-pipeline.ts';
import { FakeDatabase } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLogStore } from '../support/memory-log.ts';
import { MemorySinkStore } from '../support/memory-sink.ts';
import { VirtualClock } from '../support/test-runtime.ts';

test.each([
  { sharesPartitions: false, standbyApplies: 'waiting' },
  { sharesPartitions: true, standbyApplies: 'running' },
])('a standby applies only where the log shares partitions out: $sharesPartitions', async ({ sharesPartitions, standbyApplies }) => {
  const clock = new VirtualClock();
  const database = new FakeDatabase(clock.runtime);
  database.createTable('public.orders');
  const logStore = new MemoryLogStore({ partitions: 2, sharesPartitions });
  const control = new MemoryControlStore();
  const stop = new AbortController();
  const signals = { stop: stop.signal, kill: new AbortController().signal };
  const metrics = ['first', 'second'].map(() => createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: false }));
  const deployment = { clock, database, control, logStore, sinkStores: { warm: new MemorySinkStore() } };
  const pipelines = metrics.map((own, index) => fakePipeline({ ...deployment, describedAs: `process ${index}`, metrics: own }));
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
