import { backoffMs, CausewayError } from '#core/errors.ts';
import type { LogEnds } from '#core/log.ts';
import type { Runtime } from '#core/runtime.ts';
import { openClient, type ClientParts, type KafkaClient } from './client.ts';
import { brokerErrorType, codeOfKafkaError, kafkaError } from './errors.ts';
import { errorOf, type Broker, type Cluster } from './kafkajs-internals.ts';
import { askedLeaderships, type Leaderships, type Told } from './leadership.ts';
import { offsetsAt, partitionsToldBy } from './requests.ts';

const LATEST = -1;
const EARLIEST = -2;
const NO_EPOCH = -1;
const UNKNOWN_TOPIC_OR_PARTITION = 3;
const COORDINATOR_TYPES = { group: 0, producer: 1 } as const;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_MAX_MS = 2_000;

/** The brokers of one client, and which of them leads each partition of its topics. */
export class TopicBrokers implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly #client: KafkaClient;
  /** By topic, as it was last asked for. */
  readonly #leaderships = new Map<string, Leaderships>();

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
    if (!this.#leaderships.has(topic)) await this.refresh(topic);
  }

  /**
   * Asks for the topic's leaders anew. No single broker is believed: whom it names could have been followed by another one that it has
   * not heard of. Errors: `log_topic_missing`.
   */
  async refresh(topic: string): Promise<void> {
    await this.cluster.addTargetTopic(topic);
    const copies = new Set(this.cluster.findTopicPartitionMetadata(topic).flatMap(({ replicas }) => replicas));
    const nodeIds = this.cluster.getNodeIds().map(Number);
    try {
      const leaderships = await askedLeaderships(nodeIds.filter((nodeId) => copies.has(nodeId)).map((nodeId) => this.#told(nodeId, topic)));
      if (leaderships.size === 0) throw errorOf(UNKNOWN_TOPIC_OR_PARTITION);
      this.#leaderships.set(topic, leaderships);
      if ([...leaderships.values()].every(({ leader }) => leader >= 0)) return;
    } catch (error) {
      await this.cluster.refreshMetadata();
      throw error;
    }
    // Copies can have moved to brokers that were not asked.
    await this.cluster.refreshMetadata();
  }

  async #told(nodeId: number, topic: string): Promise<Told> {
    const broker = await this.cluster.findBroker({ nodeId });
    return { broker: nodeId, partitions: await partitionsToldBy(broker, topic) };
  }

  /** Errors: `log_unavailable` while the partition has none. */
  async leader(topic: string, partition: number): Promise<Broker> {
    await this.know(topic);
    const [leader = null] = this.leaders(topic, [partition]).keys();
    if (leader === null) throw new CausewayError('log_unavailable', `partition ${partition} of the topic ${topic} has no leader`);
    return this.cluster.findBroker({ nodeId: leader });
  }

  /** By broker; what has no leader now, or none that is sure, stands under null. */
  leaders(topic: string, partitions: readonly number[]): ReadonlyMap<number | null, readonly number[]> {
    const known = this.#leaderships.get(topic);
    return Map.groupBy(partitions, (partition) => {
      const leader = known?.get(partition)?.leader ?? -1;
      return leader < 0 ? null : leader;
    });
  }

  /** What the leader is asked with, so that one that was followed by another, or does not know yet that it leads, refuses. */
  epoch(topic: string, partition: number): number {
    return this.#leaderships.get(topic)?.get(partition)?.epoch ?? NO_EPOCH;
  }

  /** The first offset that is still there, and the one after the last that is durable. */
  async ends(topic: string, partitions: readonly number[]): Promise<ReadonlyMap<number, LogEnds>> {
    await this.refresh(topic);
    const found = new Map<number, LogEnds>();
    for (const [leader, own] of this.leaders(topic, partitions)) {
      if (leader === null) throw new CausewayError('log_unavailable', `partition ${own[0] ?? '?'} of ${topic} has no leader`);
      const broker = await this.cluster.findBroker({ nodeId: leader });
      const wanted = own.map((partition) => ({ partition, epoch: this.epoch(topic, partition) }));
      const [starts, ends] = await Promise.all(
        [EARLIEST, LATEST].map((timestamp) => offsetsAt(broker, { topic, partitions: wanted, timestamp })),
      );
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
