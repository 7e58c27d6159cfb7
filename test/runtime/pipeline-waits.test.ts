// What the status says while something does not answer and is tried again: why, since when, and nothing any more once it does.
import { expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import type { LogEnds } from '#core/log.ts';
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

const config: PipelineConfig = {
  name: 'orders',
  source: part,
  tables: [{ pattern: 'public.*', snapshot: 'initial', target: null }],
  log: part,
  sinks: [{ ...part, name: 'warm', parkedKeysMax: 10 }],
  leaseTtlMs: 15_000,
};

/** A log that is not there before somebody provisions it, like one in a file. */
class LateLog extends MemoryLog {
  #made = false;

  override async provision(signal: AbortSignal): Promise<void> {
    await super.provision(signal);
    this.#made = true;
  }

  override async ends(signal: AbortSignal): Promise<readonly LogEnds[]> {
    if (!this.#made) throw new CausewayError('log_unavailable', 'the log does not exist');
    return super.ends(signal);
  }
}

class Ground {
  readonly clock = new VirtualClock();
  readonly database = new FakeDatabase(this.clock.runtime);
  readonly table: TableId = this.database.createTable('public.orders');
  readonly sinkStore = new MemorySinkStore();
  readonly logger = keepingLogger();
  readonly pipeline: Pipeline;
  readonly #stop = new AbortController();
  readonly #run: Promise<void>;

  constructor(log: MemoryLog = new MemoryLog(new MemoryLogStore({ partitions: 4 }))) {
    this.pipeline = createPipeline({
      config,
      roles: ['capture', 'apply'],
      describedAs: 'test',
      codec: jsonCodec,
      runtime: this.clock.runtime,
      logger: this.logger,
      metrics: createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: false }),
      build: () =>
        Promise.resolve({
          control: new MemoryControlStore(),
          source: new FakeSource(this.database),
          log,
          sinks: new Map([['warm', new MemorySink(this.sinkStore)]]),
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

  async end(): Promise<void> {
    this.#stop.abort(new DOMException('stop', 'AbortError'));
    await this.clock.runUntil(this.#run);
  }
}

test('a full log and a sink that does not answer say so, with the time at which that began', async () => {
  const ground = new Ground(new MemoryLog(new MemoryLogStore({ partitions: 4, bytesMax: 20_000 })));
  await ground.clock.advance(5_000);
  expect(ground.status()).toMatchObject({ state: 'streaming', trouble: null, sink: { state: 'running', trouble: null } });
  ground.sinkStore.onCall = (stage, call) => {
    if (stage === 'before' && call.name === 'apply') throw new CausewayError('sink_unavailable', 'the sink is down');
  };
  for (let id = 0; id < 100; id += 1) ground.insert(id);
  await ground.clock.advance(10_000);
  const seen = ground.status();
  expect(seen).toMatchObject({ state: 'retrying', trouble: { code: 'log_full' } });
  expect(seen.sink).toMatchObject({ state: 'retrying', trouble: { code: 'sink_unavailable', message: 'the sink is down' } });
  await ground.clock.advance(60_000);
  const later = ground.status();
  expect([later.trouble, later.sink?.trouble]).toEqual([seen.trouble, seen.sink?.trouble]);
  expect(later.trouble?.sinceWallMs).toBeLessThan(ground.clock.runtime.wallMs() - 60_000);
  // Four partitions and many attempts are one line.
  expect(ground.lines('waiting for what does not answer')).toBe(1);
  ground.sinkStore.onCall = null;
  await ground.clock.advance(30_000);
  expect(ground.status()).toMatchObject({ state: 'streaming', trouble: null, sink: { state: 'running', trouble: null } });
  expect(ground.sinkStore.progress.size).toBe(4);
  await ground.end();
});

test('a source that refuses the login is told since its first refusal, in one line, and then at a slow pace', async () => {
  const ground = new Ground();
  await ground.clock.advance(5_000);
  const since = ground.clock.runtime.wallMs();
  ground.database.onCall = (call) => {
    if (call === 'inspect' || call === 'heartbeat') throw new CausewayError('source_credentials', 'the password is wrong');
  };
  ground.database.connection?.fail(new CausewayError('source_unavailable', 'it went away'));
  await ground.clock.advance(120_000);
  const { state, trouble } = ground.status();
  expect([state, trouble?.code, trouble?.message]).toEqual(['retrying', 'source_credentials', 'the password is wrong']);
  expect((trouble?.sinceWallMs ?? 0) - since).toBeLessThan(1_000);
  expect(ground.lines('connecting to the source: trying again')).toBe(1);
  await ground.clock.advance(600_000);
  expect(ground.lines('connecting to the source: trying again')).toBe(3);
  ground.database.onCall = null;
  await ground.clock.advance(30_000);
  expect(ground.status()).toMatchObject({ state: 'streaming', trouble: null });
  await ground.end();
});

test('a first start has nothing to warn of', async () => {
  const ground = new Ground(new LateLog(new MemoryLogStore({ partitions: 4 })));
  await ground.clock.advance(5_000);
  ground.insert(1);
  await ground.clock.advance(5_000);
  expect(ground.status()).toMatchObject({ state: 'streaming', sink: { state: 'running' } });
  expect(ground.sinkStore.progress.size).toBe(4);
  expect(ground.logger.lines.filter(({ level }) => level !== 'info')).toEqual([]);
  await ground.end();
});
