import type { ControlStore } from '#core/control.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { createMetrics, type Metrics } from '../../src/metrics/registry.ts';
import { createPipeline, type Pipeline } from '../../src/runtime/pipeline.ts';
import { type FakeDatabase, FakeSource } from './fake-source.ts';
import { MemoryLog, type MemoryLogStore } from './memory-log.ts';
import { MemorySink, type MemorySinkStore } from './memory-sink.ts';
import { silentLogger } from './silent-logger.ts';
import type { VirtualClock } from './test-runtime.ts';

const part = { kind: 'fake', config: null, raw: {} };

/** The pipeline `orders`, of every table in `public`, over fakes. Several that are given the same ones are daemons of one deployment. */
export function fakePipeline(of: {
  readonly clock: VirtualClock;
  readonly database: FakeDatabase;
  readonly control: ControlStore;
  readonly logStore: MemoryLogStore;
  /** By the name of the sink. */
  readonly sinkStores: Readonly<Record<string, MemorySinkStore>>;
  /** Called before a sink is opened, which fails with what it throws. */
  readonly onOpen?: (name: string) => void;
  readonly describedAs?: string;
  readonly metrics?: Metrics;
  readonly snapshot?: 'initial' | 'never';
}): Pipeline {
  const { clock, database, control, logStore, sinkStores, describedAs = 'test', snapshot = 'initial' } = of;
  const openerOf = (name: string, store: MemorySinkStore) => {
    const sink = new MemorySink(store);
    return () =>
      Promise.try(() => {
        of.onOpen?.(name);
        return sink;
      });
  };
  return createPipeline({
    config: {
      name: 'orders',
      source: part,
      tables: [{ pattern: 'public.*', snapshot, target: null }],
      log: part,
      sinks: Object.keys(sinkStores).map((name) => ({ ...part, name, parkedKeysMax: 10, freshnessMs: null })),
      logFormat: 1,
      leaseTtlMs: 15_000,
    },
    roles: ['capture', 'apply'],
    describedAs,
    codec: jsonCodec,
    runtime: clock.runtime,
    logger: silentLogger,
    metrics: of.metrics ?? createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: false }),
    build: () =>
      Promise.resolve({
        control,
        source: new FakeSource(database),
        log: new MemoryLog(logStore),
        sinks: new Map(Object.entries(sinkStores).map(([name, store]) => [name, openerOf(name, store)])),
      }),
  });
}
