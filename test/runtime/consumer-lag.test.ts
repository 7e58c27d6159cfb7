import { expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import type { LogEnds } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { ApplyStatus, PartitionStatus } from '../../src/apply/observer.ts';
import { lagOf, partitionsOf } from '../../src/runtime/consumer-lag.ts';
import { Ground } from './pipeline-ground.ts';

const labels = '{pipeline="orders",sink="warm"}';

const ends = [10, 20, 30].map((end): LogEnds => ({ start: 0 as Offset, end: end as Offset }));
const statusOf = (partitions: readonly Partial<PartitionStatus>[]): ApplyStatus => ({
  sink: 'warm',
  state: 'running',
  partitions: partitions.map((partition) => ({
    partition: 0,
    state: 'running',
    offset: null,
    pair: null,
    watermark: null,
    parkedKeys: 0,
    ...partition,
  })),
  position: null,
  watermark: null,
  loading: [],
  parked: { keys: 0, awaitingRepair: 0, oldestSequence: null, oldestCommittedAt: null },
  blocked: [],
  inFlightRows: 0,
});

test('a partition is behind by the records up to the end as it was seen, never by less than none', () => {
  const partitions = partitionsOf(
    statusOf([
      { partition: 0, offset: 4 as Offset },
      { partition: 2, offset: 31 as Offset },
      { partition: 1, offset: 20 as Offset, state: 'fenced' },
    ]),
    ends,
  );
  expect(partitions).toEqual([
    { partition: 0, state: 'running', lagRecords: 6 },
    { partition: 2, state: 'running', lagRecords: 0 },
  ]);
  expect(lagOf(partitions)).toEqual({ sum: 6, worst: 6 });
});

test('what is not known is told as nothing, not as 0', () => {
  expect(lagOf([])).toBeNull();
  const known = { partition: 0, offset: 4 as Offset };
  expect(lagOf(partitionsOf(statusOf([known, { partition: 1 }]), ends))).toBeNull();
  expect(lagOf(partitionsOf(statusOf([known]), null))).toBeNull();
});

test('the status tells when the lease ends, which partitions are applied here, and how far behind the sink is; so do the metrics', async () => {
  const ground = new Ground();
  await ground.clock.advance(10_000);
  const { lease, sink } = ground.status();
  expect(lease).toMatchObject({ held: true, generation: 1 });
  expect(lease?.expiresInSeconds).toBeGreaterThan(8);
  expect(lease?.expiresInSeconds).toBeLessThanOrEqual(13.5);
  expect(sink?.partitions.map(({ partition }) => partition)).toEqual([0, 1, 2, 3]);
  expect(sink?.lagRecords).toBe(0);
  expect(await ground.metric(`causeway_consumer_lag_records${labels}`)).toBe(0);
  expect(await ground.metric(`causeway_consumer_max_partition_lag_records${labels}`)).toBe(0);
  ground.sinkStore.onCall = (when, call) => {
    if (when === 'before' && call.name === 'apply') throw new CausewayError('sink_unavailable', 'the sink is down');
  };
  for (let id = 0; id < 20; id += 1) ground.insert(id);
  await ground.clock.advance(5_000);
  expect(ground.status().sink?.lagRecords).toBeGreaterThanOrEqual(20);
  expect(await ground.metric(`causeway_consumer_lag_records${labels}`)).toBeGreaterThanOrEqual(20);
  ground.sinkStore.onCall = null;
  await ground.clock.advance(60_000);
  await ground.end();
  expect(ground.status().sink?.partitions).toEqual([]);
});
