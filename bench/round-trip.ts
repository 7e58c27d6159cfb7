// What the client and the broker need by themselves: a record sent and fetched again, with the settings that the log uses.
import { setTimeout as sleep } from 'node:timers/promises';
import { configSchema } from '../connectors/log-kafka/config.ts';
import { fetchFrom } from '../connectors/log-kafka/kafkajs-internals.ts';
import { type Batch, openSender, type Sender } from '../connectors/log-kafka/producer.ts';
import { rawBatches, recordsOf } from '../connectors/log-kafka/record-batch.ts';
import { TopicBrokers } from '../connectors/log-kafka/topic-brokers.ts';
import { silentLogger } from '../test/support/silent-logger.ts';
import { realRuntime } from '../test/support/test-runtime.ts';
import { type BenchKafka, PARTITIONS } from './kafka.ts';
import { until } from './arena.ts';
import type { Measured } from './pairs.ts';
import { quantilesOf } from './quantiles.ts';
import { UsageMeter } from './usage.ts';

/** What a record of the log's has, roughly. */
const VALUE_BYTES = 400;
const FETCH_WAIT_MS = 500;
const FETCH_BYTES_MAX = 1024 * 1024;

export type RoundTripLoad = {
  readonly topic: string;
  readonly seconds: number;
  readonly warmUpMs: number;
  readonly transactionsPerSecond: number;
  readonly rowsPerTransaction: number;
  readonly probeEveryMs: number;
};

/** The same load as that of the rows: a stretch of records each time, shared among the partitions, with the probes between them. */
export async function roundTrip(kafka: BenchKafka, load: RoundTripLoad): Promise<Measured> {
  await kafka.makeTopic(load.topic);
  const config = configSchema.parse(kafka.logIn(load.topic, 'zstd'));
  const client = { config, clientId: 'bench', runtime: realRuntime(), logger: silentLogger };
  const ended = new AbortController();
  const { topic, compression } = config;
  const lanes: Lane[] = [];
  for (let partition = 0; partition < PARTITIONS; partition += 1) {
    lanes.push(new Lane(partition, await openSender(client, { topic, compression }, ended.signal)));
  }
  await using brokers = await TopicBrokers.open(client, ended.signal);
  await brokers.know(topic);

  const outstanding = new Map<string, number>();
  const latencies: number[] = [];
  const meter = new UsageMeter([{ name: 'round trip', pid: process.pid }, kafka.watched]);
  const startMs = performance.now();
  const endMs = startMs + load.warmUpMs + load.seconds * 1_000;
  const fetching = fetchAll(brokers, topic, {
    isOver: () => performance.now() >= endMs && outstanding.size === 0,
    seen: (key) => {
      const sentMs = outstanding.get(key);
      if (sentMs === undefined) return;
      outstanding.delete(key);
      if (sentMs - startMs > load.warmUpMs) latencies.push(performance.now() - sentMs);
    },
  });
  let rows = 0;
  const write = async (): Promise<void> => {
    for (let transaction = 0; performance.now() < endMs; transaction += 1) {
      await sleep(Math.max(0, startMs + (transaction * 1_000) / load.transactionsPerSecond - performance.now()));
      for (let row = 0; row < load.rowsPerTransaction; row += 1) lanes[row % PARTITIONS]?.send(`row ${transaction}`);
      rows += load.rowsPerTransaction;
    }
  };
  const probe = async (): Promise<void> => {
    for (let id = 1; performance.now() < endMs; id += 1) {
      const key = `probe ${id}`;
      outstanding.set(key, performance.now());
      lanes[id % PARTITIONS]?.send(key);
      await sleep(load.probeEveryMs);
    }
  };
  await Promise.all([write(), probe()]);
  await until(() => Promise.resolve(outstanding.size === 0), 'all records fetched');
  await fetching;
  for (const lane of lanes) await lane.end();
  const usage = meter.stop();
  return { rows, seconds: (performance.now() - startMs) / 1_000, latencyMs: quantilesOf(latencies), usage };
}

/** One send at a time for a partition, as the log does; what comes meanwhile goes with the next. */
class Lane {
  readonly #partition: number;
  readonly #sender: Sender;
  #waiting: Batch['messages'][number][] = [];
  #sending: Promise<void> | null = null;

  constructor(partition: number, sender: Sender) {
    this.#partition = partition;
    this.#sender = sender;
  }

  send(key: string): void {
    this.#waiting.push({ key, value: Buffer.alloc(VALUE_BYTES, key) });
    this.#sending ??= this.#send();
  }

  async end(): Promise<void> {
    await this.#sending;
    this.#sender.destroy();
  }

  async #send(): Promise<void> {
    const signal = new AbortController().signal;
    // What is written in one go is one batch.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const messages = this.#waiting;
      this.#waiting = [];
      await this.#sender.send({ partition: this.#partition, messages }, signal);
    }
    this.#sending = null;
  }
}

type Watcher = { readonly isOver: () => boolean; readonly seen: (key: string) => void };

async function fetchAll(brokers: TopicBrokers, topic: string, { isOver, seen }: Watcher): Promise<void> {
  const next = Array.from({ length: PARTITIONS }, () => 0);
  while (!isOver()) {
    const broker = await brokers.leader(topic, 0);
    const partitions = next.map((from, partition) => ({ partition, from, bytesMax: FETCH_BYTES_MAX }));
    const fetched = await fetchFrom(broker, { topic, partitions, waitMs: FETCH_WAIT_MS, bytesMax: PARTITIONS * FETCH_BYTES_MAX });
    for (const { partition, errorCode, bytes } of fetched.partitions) {
      if (errorCode !== 0) throw new Error(`partition ${partition} was not fetched: ${errorCode}`);
      for (const batch of rawBatches(bytes)) {
        next[partition] = batch.lastOffset + 1;
        for (const { key } of await recordsOf(batch)) if (key !== null) seen(key.toString());
      }
    }
  }
}
