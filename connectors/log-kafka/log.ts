import { CausewayError } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { DeadLetters, Log, LogBatch, LogEnds, LogExpectation, LogReader, LogUsage, LogWriter } from '#core/log.ts';
import { offsetOf, type Offset } from '#core/position.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import { checkKafka } from './check.ts';
import { KeptAdmin, type ClientParts } from './client.ts';
import type { Config } from './config.ts';
import { deadLetterPlan, prepareDeadLetters } from './dead-letter-topic.ts';
import { KafkaDeadLetters } from './dead-letter.ts';
import { Fetcher } from './fetch.ts';
import { GroupReader } from './group.ts';
import { Membership } from './membership.ts';
import { checkOwner, topicEdges } from './owner.ts';
import { KafkaProducer, openSender, Outage } from './producer.ts';
import { endsOf, readToEnd } from './read.ts';
import { deadLetterTopic, groupOf, removeFromKafka } from './remove.ts';
import { logTopic, provisionTopic } from './topic.ts';
import { KeptBrokers, TopicBrokers } from './topic-brokers.ts';
import { KafkaLogWriter } from './write.ts';

export type KafkaLogInput = {
  readonly config: Config;
  readonly pipeline: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
};

/** A single call is tried again for so long; what runs for ever has its own patience. */
const PATIENCE_MS = 10_000;

/** The log of one pipeline in one topic of Kafka, whose partitions any number of processes read. */
export class KafkaLog implements Log {
  readonly partitions: number;
  readonly recordBytesMax: number;
  readonly sharesPartitions = true;
  readonly #config: Config;
  readonly #pipeline: string;
  readonly #client: ClientParts;
  readonly #groupPrefix: string;
  readonly #admin: KeptAdmin;
  readonly #brokers: KeptBrokers;
  readonly #outage: Outage;
  readonly #deadLetters = new Map<string, KafkaDeadLetters>();
  readonly #readers = new Set<LogReader>();

  constructor({ config, pipeline, runtime, logger }: KafkaLogInput) {
    this.partitions = config.partitions;
    this.recordBytesMax = config.recordBytesMax;
    this.#config = config;
    this.#pipeline = pipeline;
    this.#client = { config, clientId: `causeway_${pipeline}`, runtime, logger };
    this.#groupPrefix = config.group ?? `causeway_${pipeline}`;
    this.#admin = new KeptAdmin(this.#client);
    this.#brokers = new KeptBrokers(this.#client, PATIENCE_MS);
    this.#outage = new Outage(logger);
  }

  async provision(signal: AbortSignal): Promise<void> {
    await provisionTopic({ client: this.#client, admin: this.#admin, brokers: this.#brokers }, logTopic(this.#config), signal);
    const edges = await topicEdges(this.#brokers, this.#config, signal);
    checkOwner(edges, { topic: this.#config.topic, pipeline: this.#pipeline });
  }

  async remove(consumer: string | null, signal: AbortSignal): Promise<readonly string[]> {
    const names = { topic: this.#config.topic, groupPrefix: this.#groupPrefix };
    const { runtime } = this.#client;
    return await this.#admin.use(signal, (admin) => removeFromKafka(admin, { names, consumer, runtime }, signal));
  }

  async prepareConsumer(consumer: string, { known }: { readonly known: boolean }, signal: AbortSignal): Promise<void> {
    const plan = deadLetterPlan(this.#config, deadLetterTopic(this.#config.topic, consumer));
    await prepareDeadLetters({ client: this.#client, admin: this.#admin, brokers: this.#brokers }, { plan, known }, signal);
  }

  async writer(signal: AbortSignal): Promise<LogWriter> {
    const ends = await this.ends(signal);
    const { topic, compression, producers } = this.#config;
    const parts = {
      topic,
      open: (opening: AbortSignal) => openSender(this.#client, { topic, compression }, opening),
      outage: this.#outage,
      runtime: this.#client.runtime,
      ends: new Map<number, Offset>(ends.map(({ end }, partition) => [partition, end])),
    };
    return new KafkaLogWriter({
      producers: Array.from({ length: Math.min(producers, this.partitions) }, () => new KafkaProducer(parts)),
      outage: this.#outage,
      limits: { partitions: this.partitions, recordBytesMax: this.recordBytesMax, pipeline: this.#pipeline },
    });
  }

  async reader(consumer: string, signal: AbortSignal): Promise<LogReader> {
    const { topic, sessionTimeout: sessionTimeoutMs } = this.#config;
    const { runtime, logger } = this.#client;
    const group = { groupId: groupOf(this.#groupPrefix, consumer), topic, partitions: this.partitions };
    // Polls and joins hold their connections, so that nothing else goes through this client.
    const brokers = await TopicBrokers.open(this.#client, signal);
    try {
      await brokers.run(signal, () => brokers.know(topic));
    } catch (error) {
      await brokers[Symbol.asyncDispose]();
      throw error;
    }
    const closed = new AbortController();
    const fetcher = new Fetcher({ brokers, topic, runtime, logger }, closed.signal);
    const reader = new GroupReader({
      ...group,
      brokers: this.#brokers,
      fetcher,
      runtime,
      membership: (onAssigned) => new Membership({ ...group, brokers, sessionTimeoutMs, runtime, logger, onAssigned }),
      close: async () => {
        this.#readers.delete(reader);
        closed.abort(new CausewayError('log_unavailable', 'the reader of the log was closed'));
        await brokers[Symbol.asyncDispose]();
        await fetcher.settled();
      },
    });
    this.#readers.add(reader);
    return reader;
  }

  read(partition: number, from: Offset, signal: AbortSignal): AsyncIterable<LogBatch> {
    return readToEnd(this.#brokers, { topic: this.#config.topic, partition, from }, signal);
  }

  async ends(signal: AbortSignal): Promise<readonly LogEnds[]> {
    const partitions = Array.from({ length: this.partitions }, (_none, partition) => partition);
    const found = await this.#brokers.use(signal, (brokers) => brokers.ends(this.#config.topic, partitions));
    return partitions.map((partition) => {
      const ends = found.get(partition);
      if (ends === undefined) throw new CausewayError('log_unavailable', `no ends of partition ${partition} were told`);
      return { start: offsetOf(ends.start), end: offsetOf(ends.end) };
    });
  }

  /** The same object each time: it knows what it has read. */
  deadLetters(consumer: string): DeadLetters {
    const known = this.#deadLetters.get(consumer);
    if (known !== undefined) return known;
    const { topic } = this.#config;
    const letters = new KafkaDeadLetters({
      topic: deadLetterTopic(topic, consumer),
      brokers: this.#brokers,
      config: this.#config,
      // Not capture waits for these.
      outage: new Outage(this.#client.logger),
      runtime: this.#client.runtime,
      logStart: async (partition, signal) => (await endsOf(this.#brokers, { topic, partition }, signal)).start,
    });
    this.#deadLetters.set(consumer, letters);
    return letters;
  }

  check(expected: LogExpectation, signal: AbortSignal): Promise<readonly Finding[]> {
    const parts = { client: this.#client, admin: this.#admin, brokers: this.#brokers };
    const names = { pipeline: this.#pipeline, groupPrefix: this.#groupPrefix };
    return checkKafka({ ...parts, ...names, config: this.#config }, expected, signal);
  }

  /** Age alone frees records here. */
  retain(_consumers: readonly string[], signal: AbortSignal): Promise<void> {
    return signal.aborted ? Promise.reject(signal.reason as Error) : Promise.resolve();
  }

  usage(signal: AbortSignal): Promise<LogUsage> {
    return Promise.try(() => {
      signal.throwIfAborted();
      return { bytes: null, bytesMax: null, stalled: this.#outage.lasts };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const reader of [...this.#readers]) await reader[Symbol.asyncDispose]();
    await this.#admin[Symbol.asyncDispose]();
    await this.#brokers[Symbol.asyncDispose]();
  }
}
