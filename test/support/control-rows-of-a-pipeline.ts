// Every kind of row that a pipeline keeps in the control store, as the product itself wrote them: loaded, captured, applied, altered,
// asked, and taken over by a second daemon, on a clock of the test's own.
import { controlKeys, type DesiredRow, type LeaseRow, type RequestRow } from '#core/control-rows.ts';
import type { ControlKey, ControlRow, ControlStore } from '#core/control.ts';
import { fakePipeline } from './fake-pipeline.ts';
import { FakeDatabase } from './fake-source.ts';
import { MemoryLogStore } from './memory-log.ts';
import { MemorySinkStore } from './memory-sink.ts';
import { VirtualClock } from './test-runtime.ts';

const never = new AbortController().signal;

/** The pipeline is `orders`, with the table `public.orders` and the sink `warm`. The store has rows of nobody else. */
export async function rowsOfAPipeline(control: ControlStore): Promise<readonly ControlRow[]> {
  const clock = new VirtualClock();
  const database = new FakeDatabase(clock.runtime);
  const table = database.createTable('public.orders');
  const stores = { logStore: new MemoryLogStore({ partitions: 2 }), sinkStores: { warm: new MemorySinkStore() } };
  const deployment = { clock, database, control, ...stores };
  const stop = new AbortController();
  const join = (describedAs: string): Promise<void> =>
    fakePipeline({ ...deployment, describedAs }).run({ stop: stop.signal, kill: new AbortController().signal });
  const put = async (key: ControlKey, value: DesiredRow | RequestRow): Promise<void> => {
    await control.swap({ key, value, expected: null }, never);
  };

  // What is there already is loaded.
  database.commit([{ op: 'insert', table, row: ['0', 'z'] }]);
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
