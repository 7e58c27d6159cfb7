// Commit to visible through Kafka at 1,000 rows a second, beside the sum of what cannot be had for less: Postgres's own replication
// between the same two servers, and a record sent to the same broker and fetched again.
import { Arena } from '../arena.ts';
import { BenchKafka, PARTITIONS } from '../kafka.ts';
import { latenciesResult, type Measured, measuredOf, type Result, takeTurns } from '../pairs.ts';
import { roundTrip } from '../round-trip.ts';
import {
  PROBE_EVERY_MS,
  ROWS_PER_TRANSACTION,
  throughCauseway,
  throughSubscription,
  TRANSACTIONS_PER_SECOND,
  WARM_UP_MS,
} from './latency.ts';

const GOAL = 3;
const OURS = 'causeway';
const SUBSCRIPTION = 'subscription';
const ROUND_TRIP = 'round trip';

export async function latencyKafkaCase({ runs, seconds }: { readonly runs: number; readonly seconds: number }): Promise<Result[]> {
  await using kafka = await BenchKafka.create();
  await using arena = await Arena.create();
  const load = {
    seconds,
    warmUpMs: WARM_UP_MS,
    transactionsPerSecond: TRANSACTIONS_PER_SECOND,
    rowsPerTransaction: ROWS_PER_TRANSACTION,
    probeEveryMs: PROBE_EVERY_MS,
  };
  const turns = await takeTurns('latency-kafka', runs, [
    {
      name: OURS,
      measure: (run) => {
        const pipeline = `run${run}`;
        const options = { log: kafka.logIn(pipeline, 'zstd') };
        return throughCauseway(arena, { pipeline, seconds, options, others: [kafka.watched] });
      },
    },
    { name: SUBSCRIPTION, measure: (run) => throughSubscription(arena, `reference${run}`, seconds) },
    { name: ROUND_TRIP, measure: (run) => roundTrip(kafka, { ...load, topic: `round-trip${run}` }) },
  ]);
  const pairs = turns.map(({ measured, loadAverage }) => ({
    ours: measuredOf(measured, OURS),
    reference: sumOf(measuredOf(measured, SUBSCRIPTION), measuredOf(measured, ROUND_TRIP)),
    loadAverage,
  }));
  const rows = ROWS_PER_TRANSACTION * TRANSACTIONS_PER_SECOND;
  const what = `commit to visible through Kafka (${PARTITIONS} partitions, zstd) at ${rows} rows/s for ${seconds} s, sidecar`;
  return [
    latenciesResult({ name: 'latency-kafka', what, reference: `${SUBSCRIPTION} + ${ROUND_TRIP}`, pairs }, { goal: GOAL, bound: ['p99'] }),
  ];
}

/** Each quantile by itself, which is no less than the quantile of both one behind the other would mostly be. */
function sumOf(one: Measured, other: Measured): Measured {
  const sum = (of: 'p50' | 'p99' | 'max'): number => (one.latencyMs?.[of] ?? NaN) + (other.latencyMs?.[of] ?? NaN);
  const probes = Math.min(one.latencyMs?.probes ?? 0, other.latencyMs?.probes ?? 0);
  return {
    rows: one.rows,
    seconds: one.seconds,
    usage: [...one.usage, ...other.usage],
    latencyMs: { p50: sum('p50'), p99: sum('p99'), max: sum('max'), probes },
  };
}
