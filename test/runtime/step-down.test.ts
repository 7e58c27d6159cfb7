// Two daemons of one pipeline: a request that the one which captures gives its lease up.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { controlKeys, type RequestRow } from '#core/control-rows.ts';
import type { PipelineStatus } from '../../src/http/status-document.ts';
import type { Pipeline } from '../../src/runtime/pipeline.ts';
import { STEP_ASIDE_MS } from '../../src/runtime/step-down.ts';
import { fakePipeline } from '../support/fake-pipeline.ts';
import { FakeDatabase } from '../support/fake-source.ts';
import { memoryControlRows, MemoryControlStore } from '../support/memory-control-store.ts';
import { MemoryLogStore } from '../support/memory-log.ts';
import { MemorySinkStore } from '../support/memory-sink.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const never = new AbortController().signal;

class Crew {
  readonly clock = new VirtualClock();
  readonly control = new MemoryControlStore(memoryControlRows());
  readonly database = new FakeDatabase(this.clock.runtime);
  readonly #logStore = new MemoryLogStore({ partitions: 2 });
  readonly #sinkStore = new MemorySinkStore();
  readonly #stop = new AbortController();
  readonly #members: { readonly pipeline: Pipeline; readonly run: Promise<void> }[] = [];

  constructor() {
    this.database.createTable('public.orders');
  }

  async join(describedAs: string): Promise<void> {
    const pipeline = fakePipeline({
      ...{ clock: this.clock, database: this.database, control: this.control, describedAs },
      ...{ logStore: this.#logStore, sinkStores: { warm: this.#sinkStore } },
    });
    const run = pipeline.run({ stop: this.#stop.signal, kill: new AbortController().signal });
    this.#members.push({ pipeline, run });
    await this.clock.advance(5_000);
  }

  /** Of each, in the order in which they joined. */
  get statuses(): readonly PipelineStatus[] {
    return this.#members.map(({ pipeline }) => pipeline.status());
  }

  get states(): readonly string[] {
    return this.statuses.map(({ state, sinks: [sink] }) => `${state}, sink ${sink?.state ?? ''}`);
  }

  async ask(generation: number): Promise<void> {
    const key = controlKeys.stepDown('orders');
    const value: RequestRow = { kind: 'lease-step-down', args: { generation }, state: 'pending', result: null };
    await this.control.swap({ key, value, expected: (await this.control.get(key, never))?.version ?? null }, never);
  }

  async request(): Promise<RequestRow> {
    return (await this.control.get(controlKeys.stepDown('orders'), never))?.value as RequestRow;
  }

  async end(): Promise<void> {
    this.#stop.abort(new DOMException('stop', 'AbortError'));
    for (const { run } of this.#members) await this.clock.runUntil(run);
  }
}

let crew = new Crew();
beforeEach(() => {
  crew = new Crew();
});
afterEach(() => crew.end());

test('the holder that is asked to step down hands over to the standby, with what it leads, and stands by itself', async () => {
  await crew.join('first');
  await crew.join('second');
  expect(crew.states).toEqual(['streaming, sink running', 'standby, sink waiting']);
  await crew.ask(1);
  await crew.clock.advance(3_000);
  expect(crew.states).toEqual(['standby, sink waiting', 'streaming, sink running']);
  await crew.clock.advance(20_000);
  expect(crew.states).toEqual(['standby, sink waiting', 'streaming, sink running']);
  expect(crew.statuses.map(({ lease }) => [lease?.held, lease?.generation, lease?.holder])).toEqual([
    [false, 2, 'second'],
    [true, 2, 'second'],
  ]);
  expect(await crew.request()).toMatchObject({ state: 'done', result: 'generation 1 was given up' });
});

test('where nobody stands by the same daemon takes its lease again after a while', async () => {
  await crew.join('only');
  await crew.ask(1);
  await crew.clock.advance(STEP_ASIDE_MS - 500);
  expect(crew.states).toEqual(['standby, sink waiting']);
  expect(crew.statuses[0]?.lease?.held).toBe(false);
  await crew.clock.advance(3_000);
  expect(crew.states).toEqual(['streaming, sink running']);
  expect(crew.statuses[0]?.lease).toMatchObject({ held: true, generation: 2 });
  expect((await crew.request()).state).toBe('done');
});

test('a request to an earlier generation, or one that was answered, asks nobody', async () => {
  await crew.join('only');
  await crew.ask(1);
  await crew.clock.advance(STEP_ASIDE_MS + 5_000);
  expect(crew.statuses[0]?.lease).toMatchObject({ held: true, generation: 2 });
  await crew.ask(1);
  await crew.clock.advance(20_000);
  expect(crew.statuses[0]?.lease).toMatchObject({ held: true, generation: 2 });
  expect((await crew.request()).state).toBe('pending');
});
