import { backoffMs, CausewayError } from '#core/errors.ts';
import type { LogEnds } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';
import { openClient, type ClientParts, type KafkaClient } from './client.ts';
import { brokerErrorType, codeOfKafkaError, kafkaError } from './errors.ts';
import type { Broker, Cluster } from './kafkajs-internals.ts';

const LATEST = -1;
const EARLIEST = -2;
const COORDINATOR_TYPES = { group: 0, producer: 1 } as const;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_MAX_MS = 2_000;

/** The brokers of one client, and which of them leads each partition of its topics. */
export class TopicBrokers implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly #client: KafkaClient;
  readonly #topics = new Set<string>();

  private constructor(client: KafkaClient) {
    this.#client = client;
    this.cluster = client.cluster();
  }

  static async open(parts: ClientParts, signal: AbortSignal): Promise<TopicBrokers> {
    const client = await openClient(parts, signal);
    const brokers = new TopicBrokers(client);
    try {
      await brokers.run(signal, () => brokers.cluster.connect());
      return brokers;
    } catch (error) {
      client.destroy();
      throw error;
    }
  }

  /** With the errors of kafkajs as ours. The client is of no more use once the signal aborts. */
  run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return this.#client.use(signal, work);
  }

  /** Asks for the topic's leaders, once. Errors: `log_topic_missing`. */
  async know(topic: string): Promise<void> {
    if (this.#topics.has(topic)) return;
    await this.cluster.addTargetTopic(topic);
    this.#topics.add(topic);
  }

  /** Errors: `log_unavailable` while the partition has none. */
  async leader(topic: string, partition: number): Promise<Broker> {
    await this.know(topic);
    const [leader = null] = this.leaders(topic, [partition]).keys();
    if (leader === null) throw new CausewayError('log_unavailable', `partition ${partition} of the topic ${topic} has no leader`);
    return this.cluster.findBroker({ nodeId: leader });
  }

  /** By broker; what has no leader now stands under null. */
  leaders(topic: string, partitions: readonly number[]): ReadonlyMap<number | null, readonly number[]> {
    const metadata = this.cluster.findTopicPartitionMetadata(topic);
    return Map.groupBy(partitions, (partition) => {
      const leader = metadata.find(({ partitionId }) => partitionId === partition)?.leader ?? -1;
      return leader < 0 ? null : leader;
    });
  }

  /** The first offset that is still there, and the one after the last that is durable. */
  async ends(topic: string, partitions: readonly number[]): Promise<ReadonlyMap<number, LogEnds>> {
    await this.know(topic);
    // A broker that led before, and hung, tells an older end until it has learnt of its successor.
    await this.cluster.refreshMetadata();
    const found = new Map<number, LogEnds>();
    for (const [leader, own] of this.leaders(topic, partitions)) {
      if (leader === null) throw new CausewayError('log_unavailable', `partition ${own[0] ?? '?'} of ${topic} has no leader`);
      const broker = await this.cluster.findBroker({ nodeId: leader });
      const [starts, ends] = await Promise.all([EARLIEST, LATEST].map((timestamp) => listOffsets(broker, { topic, own, timestamp })));
      for (const partition of own) {
        const [start, end] = [starts?.get(partition), ends?.get(partition)];
        if (start === undefined || end === undefined)
          throw new CausewayError('log_unavailable', `no end of partition ${partition} was told`);
        found.set(partition, { start, end });
      }
    }
    return found;
  }

  /** Who keeps a consumer group, or the epochs of a producer. The client of kafkajs asks too, but hides why nobody told it. */
  async coordinator({
    name,
    of,
    topic,
  }: {
    readonly name: string;
    readonly of: 'group' | 'producer';
    readonly topic: string;
  }): Promise<Broker> {
    await this.know(topic);
    let last: unknown = new CausewayError('log_unavailable', 'no broker is known');
    for (const nodeId of this.cluster.getNodeIds()) {
      try {
        const broker = await this.cluster.findBroker({ nodeId });
        const { coordinator } = await broker.findGroupCoordinator({ groupId: name, coordinatorType: COORDINATOR_TYPES[of] });
        return await this.cluster.findBroker(coordinator);
      } catch (error) {
        last = error;
        if (!passes(error)) break;
      }
    }
    throw last;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]();
  }
}

async function listOffsets(
  broker: Broker,
  of: { readonly topic: string; readonly own: readonly number[]; readonly timestamp: number },
): Promise<ReadonlyMap<number, Offset>> {
  const { topic, own, timestamp } = of;
  const { responses } = await broker.listOffsets({
    isolationLevel: 0,
    topics: [{ topic, partitions: own.map((partition) => ({ partition, timestamp })) }],
  });
  return new Map(responses.flatMap(({ partitions }) => partitions.map(({ partition, offset }) => [partition, Number(offset) as Offset])));
}

/** A leader that moved, a connection that broke, a broker that starts: asked again, of the brokers as they are then. */
export function passes(error: unknown): boolean {
  return codeOfKafkaError(error) === 'log_unavailable';
}

/** Not yet, where a broker has just started or the topic was just made; then it is missing. */
export function isMissing(error: unknown): boolean {
  return brokerErrorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION' || codeOfKafkaError(error) === 'log_topic_missing';
}

export function waitMs(runtime: Runtime, attempt: number): number {
  return backoffMs({ attempt, firstMs: BACKOFF_FIRST_MS, maxMs: BACKOFF_MAX_MS, random: runtime.random() });
}

/** One client for calls that are answered at once, made when it is first needed and anew after any failure. */
export class KeptBrokers implements AsyncDisposable {
  readonly #parts: ClientParts;
  /** How long a call is tried again before its error is told. */
  readonly #patienceMs: number;
  #opening: Promise<TopicBrokers> | null = null;

  constructor(parts: ClientParts, patienceMs: number) {
    this.#parts = parts;
    this.#patienceMs = patienceMs;
  }

  /** Repeats `work`, which only reads, while its errors are of the kind that passes. */
  async use<T>(signal: AbortSignal, work: (brokers: TopicBrokers) => Promise<T>): Promise<T> {
    const { runtime } = this.#parts;
    const untilMs = runtime.monotonicMs() + this.#patienceMs;
    for (let attempt = 0; ; attempt += 1) {
      signal.throwIfAborted();
      const opening = (this.#opening ??= TopicBrokers.open(this.#parts, new AbortController().signal));
      try {
        return await orAborted(opening.then(work), signal);
      } catch (error) {
        signal.throwIfAborted();
        if (this.#opening === opening) this.#drop();
        if (!(passes(error) || isMissing(error)) || runtime.monotonicMs() > untilMs) throw kafkaError(error);
        await runtime.sleep(waitMs(runtime, attempt), signal);
      }
    }
  }

  async pause(ms: number, signal: AbortSignal): Promise<void> {
    await this.#parts.runtime.sleep(ms, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opening = this.#opening;
    this.#opening = null;
    await opening?.then(
      (brokers) => brokers[Symbol.asyncDispose](),
      () => undefined,
    );
  }

  #drop(): void {
    this[Symbol.asyncDispose]().catch(() => undefined);
  }
}

/** Others may wait for answers of the same client, so that the wait alone ends. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', aborted, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted));
  });
}
