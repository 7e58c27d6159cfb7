// A pipeline over fakes, on a clock that the test moves.
import type { TableId } from '#core/schema.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import type { PipelineConfig } from '../../src/config/config.ts';
import type { PipelineStatus } from '../../src/http/status-document.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { createPipeline, type Pipeline } from '../../src/runtime/pipeline.ts';
import { FakeDatabase, FakeSource } from '../support/fake-source.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { MemorySink, MemorySinkStore } from '../support/memory-sink.ts';
import { keepingLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const part = { kind: 'fake', config: null, raw: {} };

const configOf = (freshnessMs: number | null): PipelineConfig => ({
  name: 'orders',
  source: part,
  tables: [{ pattern: 'public.*', snapshot: 'initial', target: null }],
  log: part,
  sinks: [{ ...part, name: 'warm', parkedKeysMax: 10, freshnessMs }],
  logFormat: 1,
  leaseTtlMs: 15_000,
});

export class Ground {
  readonly clock = new VirtualClock();
  readonly database = new FakeDatabase(this.clock.runtime);
  readonly table: TableId = this.database.createTable('public.orders');
  readonly sinkStore = new MemorySinkStore();
  readonly logger = keepingLogger();
  readonly metrics = createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: false });
  readonly pipeline: Pipeline;
  readonly #stop = new AbortController();
  readonly #run: Promise<void>;

  constructor(log: MemoryLog = new MemoryLog(new MemoryLogStore({ partitions: 4 })), freshnessMs: number | null = null) {
    this.pipeline = createPipeline({
      config: configOf(freshnessMs),
      roles: ['capture', 'apply'],
      describedAs: 'test',
      codec: jsonCodec,
      runtime: this.clock.runtime,
      logger: this.logger,
      metrics: this.metrics,
      build: () =>
        Promise.resolve({
          control: new MemoryControlStore(),
          source: new FakeSource(this.database),
          log,
          sinks: new Map([['warm', () => Promise.resolve(new MemorySink(this.sinkStore))]]),
        }),
    });
    this.#run = this.pipeline.run({ stop: this.#stop.signal, kill: new AbortController().signal });
  }

  insert(id: number): void {
    this.database.commit([{ op: 'insert', table: this.table, row: [String(id), 'v'.repeat(200)] }]);
  }

  status(): PipelineStatus & { readonly sink: PipelineStatus['sinks'][number] | undefined } {
    const status = this.pipeline.status();
    return { ...status, sink: status.sinks[0] };
  }

  lines(message: string): number {
    return this.logger.lines.filter((line) => line.message === message).length;
  }

  /** The value of one sample; undefined where there is none. */
  async metric(sample: string): Promise<number | undefined> {
    const line = (await this.metrics.text()).split('\n').find((text) => text.startsWith(`${sample} `));
    return line === undefined ? undefined : Number(line.slice(sample.length + 1));
  }

  async end(): Promise<void> {
    this.#stop.abort(new DOMException('stop', 'AbortError'));
    await this.clock.runUntil(this.#run);
  }
}
