import { expect, test } from 'vitest';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import type { PipelineConfig } from '../../src/config/config.ts';
import type { PipelineStatus } from '../../src/http/status-document.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { createPipeline } from '../../src/runtime/pipeline.ts';
import { FakeDatabase, FakeSource } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { MemorySink, MemorySinkStore } from '../support/memory-sink.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const part = { kind: 'fake', config: null, raw: {} };

const config: PipelineConfig = {
  name: 'orders',
  source: part,
  tables: [{ pattern: 'public.*', snapshot: 'initial', target: null }],
  log: part,
  sinks: [{ ...part, name: 'warm', parkedKeysMax: 10, freshnessMs: null }],
  logFormat: 1,
  leaseTtlMs: 15_000,
};

test('a control store that cannot be used is told as what keeps the pipeline, until it can', async () => {
  const clock = new VirtualClock();
  const database = new FakeDatabase(clock.runtime);
  database.createTable('public.orders');
  const control = new MemoryControlStore();
  const broken = new CausewayError('control_foreign', 'the file is not ours');
  let usable = false;
  const guarded: ControlStore = {
    get: (key, signal) => (usable ? control.get(key, signal) : Promise.reject(broken)),
    list: (prefix, signal) => control.list(prefix, signal),
    swap: (swap, signal) => control.swap(swap, signal),
    remove: (key, version, signal) => control.remove(key, version, signal),
    [Symbol.asyncDispose]: () => control[Symbol.asyncDispose](),
  };
  const pipeline = createPipeline({
    config,
    roles: ['capture', 'apply'],
    describedAs: 'test',
    codec: jsonCodec,
    runtime: clock.runtime,
    logger: silentLogger,
    metrics: createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: false }),
    build: () =>
      Promise.resolve({
        control: guarded,
        source: new FakeSource(database),
        log: new MemoryLog(new MemoryLogStore({ partitions: 1 })),
        sinks: new Map([['warm', () => Promise.resolve(new MemorySink(new MemorySinkStore()))]]),
      }),
  });
  const stop = new AbortController();
  const run = pipeline.run({ stop: stop.signal, kill: new AbortController().signal });
  await clock.advance(5_000);
  expect(pipeline.status()).toMatchObject({ state: 'failed', trouble: { code: 'control_foreign' } });
  usable = true;
  await clock.advance(15_000);
  expect(pipeline.status()).toMatchObject({ state: 'streaming', trouble: null });
  stop.abort(new DOMException('stop', 'AbortError'));
  await clock.runUntil(run);
});

test('why a sink waits for a person is shown until it runs, however often it is tried again', async () => {
  const clock = new VirtualClock();
  const database = new FakeDatabase(clock.runtime);
  database.createTable('public.orders');
  const logStore = new MemoryLogStore({ partitions: 1 });
  const sinkStore = new MemorySinkStore();
  let refused = true;
  let attempts = 0;
  const seenAtAttempts: (PipelineStatus['sinks'][number] | undefined)[] = [];
  sinkStore.onCall = (stage, call) => {
    if (stage !== 'before' || call.name !== 'provision' || !refused) return;
    attempts += 1;
    if (attempts > 1) seenAtAttempts.push(pipeline.status().sinks[0]);
    throw new CausewayError('sink_misconfigured', 'a table is missing');
  };
  const pipeline = createPipeline({
    config,
    roles: ['capture', 'apply'],
    describedAs: 'test',
    codec: jsonCodec,
    runtime: clock.runtime,
    logger: silentLogger,
    metrics: createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: false }),
    build: () =>
      Promise.resolve({
        control: new MemoryControlStore(),
        source: new FakeSource(database),
        log: new MemoryLog(logStore),
        sinks: new Map([['warm', () => Promise.resolve(new MemorySink(sinkStore))]]),
      }),
  });
  const stop = new AbortController();
  const run = pipeline.run({ stop: stop.signal, kill: new AbortController().signal });
  await clock.advance(45_000);
  expect(seenAtAttempts.length).toBeGreaterThan(1);
  const since = pipeline.status().sinks[0]?.trouble?.sinceWallMs;
  for (const seen of seenAtAttempts) {
    expect(seen).toMatchObject({ state: 'failed', trouble: { code: 'sink_misconfigured', sinceWallMs: since } });
  }
  refused = false;
  await clock.advance(15_000);
  expect(pipeline.status().sinks[0]).toMatchObject({ state: 'running', trouble: null });
  stop.abort(new DOMException('stop', 'AbortError'));
  await clock.runUntil(run);
});
