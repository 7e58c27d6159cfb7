// Every kind of row that a pipeline keeps in the control store, as the product itself wrote them: captured, applied, altered, asked, and
// taken over by a second daemon, on a clock of the test's own.
import { controlKeys, type DesiredRow, type LeaseRow, type RequestRow } from '#core/control-rows.ts';
import type { ControlKey, ControlRow, ControlStore } from '#core/control.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { createPipeline } from '../../src/runtime/pipeline.ts';
import { FakeDatabase, FakeSource } from './fake-source.ts';
import { MemoryLog, MemoryLogStore } from './memory-log.ts';
import { MemorySink, MemorySinkStore } from './memory-sink.ts';
import { silentLogger } from './silent-logger.ts';
import { VirtualClock } from './test-runtime.ts';

const part = { kind: 'fake', config: null, raw: {} };
const never = new AbortController().signal;

/** The pipeline is `orders`, with the table `public.orders` and the sink `warm`. The store has rows of nobody else. */
export async function rowsOfAPipeline(control: ControlStore): Promise<readonly ControlRow[]> {
  const clock = new VirtualClock();
  const database = new FakeDatabase(clock.runtime);
  const table = database.createTable('public.orders');
  const logStore = new MemoryLogStore({ partitions: 2 });
  const sinkStore = new MemorySinkStore();
  const stop = new AbortController();
  const join = (describedAs: string): Promise<void> =>
    createPipeline({
      config: {
        name: 'orders',
        source: part,
        tables: [{ pattern: 'public.*', snapshot: 'initial', target: null }],
        log: part,
        logFormat: 1,
        sinks: [{ ...part, name: 'warm', parkedKeysMax: 10, freshnessMs: null }],
        leaseTtlMs: 15_000,
      },
      roles: ['capture', 'apply'],
      describedAs,
      codec: jsonCodec,
      runtime: clock.runtime,
      logger: silentLogger,
      metrics: createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: false }),
      build: () =>
        Promise.resolve({
          control,
          source: new FakeSource(database),
          log: new MemoryLog(logStore),
          sinks: new Map([['warm', new MemorySink(sinkStore)]]),
        }),
    }).run({ stop: stop.signal, kill: new AbortController().signal });
  const put = async (key: ControlKey, value: DesiredRow | RequestRow): Promise<void> => {
    await control.swap({ key, value, expected: null }, never);
  };

  const runs = [join('one'), join('two')];
  await clock.advance(10_000);
  database.commit([{ op: 'insert', table, row: ['1', 'a'] }]);
  database.alterTable(table, { columns: ['id', 'value', 'note'], verdict: { tag: 'harmless', text: 'a column' } });
  database.commit([{ op: 'insert', table, row: ['2', 'b', 'c'] }]);
  await put(controlKeys.desired('orders'), { paused: false, pausedSinks: [] });
  await put(controlKeys.request('orders', 'replay'), {
    kind: 'dlq-replay',
    args: { sink: 'warm', keys: null },
    state: 'pending',
    result: null,
  });
  await clock.advance(30_000);
  const generation = ((await control.get(controlKeys.lease('orders'), never))?.value as LeaseRow).token;
  await put(controlKeys.stepDown('orders'), { kind: 'lease-step-down', args: { generation }, state: 'pending', result: null });
  await clock.advance(30_000);
  stop.abort(new DOMException('stop', 'AbortError'));
  for (const run of runs) await clock.runUntil(run);
  return await control.list('', never);
}
