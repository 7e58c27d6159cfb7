// Figures that are made from what capture and apply tell.
import { expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import { newLoad, type LoadRow } from '#core/load-row.ts';
import { positionOf, type EpochMicros, type Offset } from '#core/position.ts';
import { tableIdOf } from '#core/schema.ts';
import type { SlotFacts } from '#core/source.ts';
import { createMetrics, type Metrics } from '../../src/metrics/registry.ts';
import { observeApply } from '../../src/runtime/apply-view.ts';
import { captureGauges, observeCapture } from '../../src/runtime/capture-view.ts';
import { SourceTime } from '../../src/runtime/source-time.ts';
import { Transit } from '../../src/runtime/transit.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';
import { Ground } from './pipeline-ground.ts';

const labels = '{pipeline="orders",sink="warm"}';
const stage = (name: string, sink: string, what: 'sum' | 'count'): string =>
  `causeway_stage_duration_seconds_${what}{pipeline="orders",sink="${sink}",stage="${name}"}`;

test('the objective stands there as configured, and not at all otherwise', async () => {
  for (const freshnessMs of [null, 60_000]) {
    const ground = new Ground(new MemoryLog(new MemoryLogStore({ partitions: 1 })), freshnessMs);
    await ground.clock.advance(5_000);
    expect(await ground.metric(`causeway_slo_objective_seconds${labels}`)).toBe(freshnessMs === null ? undefined : 60);
    expect(await ground.metric(`causeway_sequence_gaps_total${labels}`)).toBe(0);
    await ground.end();
  }
});

test('each stage is timed: what the source held back, what waited in the log, and what the sink took', async () => {
  const ground = new Ground(new MemoryLog(new MemoryLogStore({ partitions: 1 })));
  await ground.clock.advance(5_000);
  ground.insert(1);
  await ground.clock.advance(5_000);
  for (const [name, sink] of [
    ['capture', ''],
    ['publish', ''],
    ['transit', 'warm'],
    ['apply', 'warm'],
  ] as const) {
    expect(await ground.metric(stage(name, sink, 'count')), name).toBeGreaterThan(0);
    expect(await ground.metric(stage(name, sink, 'sum')), name).toBeLessThan(5);
  }
  const captured = (await ground.metric(stage('capture', '', 'count'))) ?? 0;
  await ground.clock.advance(1_000);
  const heartbeats = ((await ground.metric(stage('capture', '', 'count'))) ?? 0) - captured;
  expect(heartbeats).toBeLessThanOrEqual(1);

  // A change that was committed while the source could not be read.
  ground.database.available = false;
  ground.database.connection?.fail(new CausewayError('source_unavailable', 'it went away'));
  ground.insert(2);
  await ground.clock.advance(20_000);
  ground.database.available = true;
  await ground.clock.advance(10_000);
  expect(await ground.metric(stage('capture', '', 'sum'))).toBeGreaterThan(15);

  // Two changes while the sink is away: the batch in hand waits at the sink, and what comes behind it in the log.
  ground.sinkStore.onCall = (when, call) => {
    if (when === 'before' && call.name === 'apply') throw new CausewayError('sink_unavailable', 'the sink is down');
  };
  ground.insert(3);
  await ground.clock.advance(1_000);
  ground.insert(4);
  await ground.clock.advance(30_000);
  ground.sinkStore.onCall = null;
  await ground.clock.advance(30_000);
  expect(await ground.metric(stage('apply', 'warm', 'sum'))).toBeGreaterThan(25);
  expect(await ground.metric(stage('transit', 'warm', 'sum'))).toBeGreaterThan(25);
  await ground.end();
});

test('the time in the log is not known for what another process appended, or long ago', async () => {
  const clock = new VirtualClock();
  const transit = new Transit(clock.runtime);
  const append = (offset: number): void => transit.durable(new Map([[0, offset as Offset]]));
  const waited = (offset: number): number | null => transit.secondsSince(0, offset as Offset, clock.nowMs);
  expect(waited(5)).toBe(null);
  append(9);
  await clock.advance(1_000);
  append(19);
  await clock.advance(1_000);
  expect([waited(9), waited(10), waited(19), waited(20)]).toEqual([null, 1, 1, null]);
  for (let offset = 20; offset < 5_000; offset += 1) append(offset);
  expect([waited(20), waited(4_999)]).toEqual([null, 0]);
});

class Views {
  readonly clock = new VirtualClock();
  readonly metrics: Metrics = createMetrics({ version: '1', nodeVersion: 'v24', nodeDefaults: false });
  readonly time = new SourceTime(this.clock.runtime);
  readonly #common = {
    pipeline: 'orders',
    metrics: this.metrics,
    logger: silentLogger,
    runtime: this.clock.runtime,
    time: this.time,
    transit: new Transit(this.clock.runtime),
  };
  readonly capture = observeCapture({ ...this.#common, describedAs: 'here', onChange: () => undefined });
  readonly apply = observeApply({ ...this.#common, sink: 'warm' });

  constructor() {
    this.metrics.addGauges((set) => captureGauges('orders', this.capture.view, this.time, set));
  }

  async samples(name: string): Promise<readonly string[]> {
    return (await this.metrics.text()).split('\n').filter((line) => line.startsWith(`${name}{`));
  }
}

const lease = { held: true, generation: null, holder: 'here', ttlMs: 1_000, expiresAtWallMs: null };
const slot: SlotFacts = {
  name: 'causeway_orders',
  plugin: 'pgoutput',
  failover: true,
  position: positionOf('0/0'),
  active: true,
  unusable: null,
  retainedBytes: 0,
  backlogBytes: 0,
  headroomBytes: null,
  walStatus: 'reserved',
  spilledBytes: 1_000,
  openTransactionSeconds: null,
};

test('what the source spilled is counted as it counts it, over a reset of its statistics too', async () => {
  const { capture, ...views } = new Views();
  const total = async (): Promise<readonly string[]> =>
    (await views.metrics.text()).split('\n').filter((line) => line.startsWith('causeway_source_spilled_bytes_total{'));
  capture.observer.slot({ ...slot, spilledBytes: null });
  expect(await total()).toEqual([]);
  for (const spilledBytes of [1_000, 1_500, 200]) capture.observer.slot({ ...slot, spilledBytes });
  expect(await total()).toEqual(['causeway_source_spilled_bytes_total{pipeline="orders"} 1700']);
});

test('the slot is named with its plugin, and an open transaction that cannot be seen is absent, not 0', async () => {
  const views = new Views();
  views.capture.observer.lease(lease);
  views.capture.observer.slot(slot);
  expect(await views.samples('causeway_slot_info')).toEqual([
    'causeway_slot_info{pipeline="orders",slot="causeway_orders",plugin="pgoutput",failover="true"} 1',
  ]);
  expect(await views.samples('causeway_source_long_transaction_seconds')).toEqual([]);
  views.capture.observer.slot({ ...slot, openTransactionSeconds: 0 });
  expect(await views.samples('causeway_source_long_transaction_seconds')).toEqual([
    'causeway_source_long_transaction_seconds{pipeline="orders"} 0',
  ]);
});

test('each end of the lease counts under its own reason', async () => {
  const views = new Views();
  for (const how of ['expired', 'lost', 'released', 'expired'] as const) {
    views.capture.observer.lease(lease);
    views.capture.observer.lease(lease);
    views.capture.observer.lease({ ...lease, held: false });
    views.capture.observer.leaseEnded(how);
  }
  expect([...(await views.samples('causeway_lease_transitions_total'))].sort()).toEqual([
    'causeway_lease_transitions_total{lease="orders",reason="acquired"} 4',
    'causeway_lease_transitions_total{lease="orders",reason="expired"} 2',
    'causeway_lease_transitions_total{lease="orders",reason="lost"} 1',
    'causeway_lease_transitions_total{lease="orders",reason="released"} 1',
  ]);
});

test('a gap counts once, however often it is met again; stale changes count as regressions', async () => {
  const views = new Views();
  expect(await views.samples('causeway_sequence_gaps_total')).toEqual([]);
  views.apply.observer.attach(() => {
    throw new Error('nobody asks');
  });
  const gap = (text: string): void => views.apply.failed(new CausewayError('log_gap', text));
  for (const text of ['counter 7 follows 5', 'counter 7 follows 5']) gap(text);
  views.apply.failed(new CausewayError('sink_unavailable', 'away'));
  gap('counter 9 follows 7');
  expect(await views.samples('causeway_sequence_gaps_total')).toEqual([`causeway_sequence_gaps_total${labels} 2`]);
  views.apply.observer.outcome('update', 'stale', 3);
  views.apply.observer.outcome('update', 'applied', 4);
  expect(await views.samples('causeway_sequence_regressions_total')).toEqual([`causeway_sequence_regressions_total${labels} 3`]);
});

test('the age of a commit is timed once, when it is read', async () => {
  const views = new Views();
  views.time.observe(0);
  const at = (views.time.now() ?? 0) - 2_000_000;
  for (const micros of [at, at, at - 1_000_000]) views.capture.observer.readUpTo(micros as EpochMicros);
  expect(await views.samples('causeway_stage_duration_seconds_sum')).toEqual([
    'causeway_stage_duration_seconds_sum{pipeline="orders",sink="",stage="capture"} 2',
  ]);
});

test('loads show while they are under way, and what nobody estimated does not', async () => {
  const views = new Views();
  const { observer } = views.capture;
  const load = (of: Partial<LoadRow>): LoadRow => {
    const table = tableIdOf('public', 'orders');
    return { ...newLoad({ table, sink: null, rowsExpected: null, wallMs: 0 }), state: 'reading', ...of };
  };
  observer.lease(lease);
  observer.loads([
    load({ rows: 10, rowsExpected: 1_000 }),
    load({ sink: 'warm', rows: 7, paused: true }),
    load({ table: tableIdOf('public', 'old'), state: 'done', rows: 3 }),
  ]);
  expect(await views.samples('causeway_snapshot_active')).toEqual(['causeway_snapshot_active{pipeline="orders"} 1']);
  expect(await views.samples('causeway_snapshot_rows')).toEqual([
    'causeway_snapshot_rows{pipeline="orders",table="public.orders",sink=""} 10',
    'causeway_snapshot_rows{pipeline="orders",table="public.orders",sink="warm"} 7',
  ]);
  expect(await views.samples('causeway_snapshot_rows_expected')).toEqual([
    'causeway_snapshot_rows_expected{pipeline="orders",table="public.orders",sink=""} 1000',
  ]);
  // Another process captures now.
  observer.lease({ ...lease, held: false, holder: 'there' });
  expect(await views.samples('causeway_snapshot_active')).toEqual([]);
});

test('a load shows in the status and the figures until it is over', async () => {
  const ground = new Ground();
  ground.insert(1);
  ground.database.onCall = (call) => {
    if (call !== 'opened') return;
    ground.database.onCall = null;
    // Reads wait until they show it.
    ground.database.commit([{ op: 'update', table: ground.table, id: '1', row: ['1', 'w'] }], { hidden: true });
  };
  await ground.clock.advance(10_000);
  const load = { table: 'public.orders', sink: null, state: 'reading', paused: false, rows: 0, bytes: 0, rowsExpected: null };
  expect(ground.status().loads).toEqual([{ ...load, percent: null, secondsLeft: null, startedAtWallMs: expect.any(Number) as number }]);
  expect(await ground.metric('causeway_snapshot_active{pipeline="orders"}')).toBe(1);
  ground.database.show();
  await ground.clock.advance(10_000);
  expect(ground.status().loads).toEqual([]);
  expect(await ground.metric('causeway_snapshot_active{pipeline="orders"}')).toBe(0);
  await ground.end();
});
