import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import { compressionTypes } from './compression.ts';
import type { Config } from './config.ts';
import type { Place } from './continuity.ts';
import { brokerErrorType, kafkaError } from './errors.ts';
import { errorOf, type ProducedMessage, type ProducerEpoch } from './kafkajs-internals.ts';
import type { Outage } from './producer.ts';
import { type KeptBrokers, type TopicBrokers, waitMs } from './topic-brokers.ts';

export type FencedParts = {
  readonly brokers: KeptBrokers;
  readonly place: Place;
  readonly config: Pick<Config, 'requestTimeout' | 'compression'>;
  readonly outage: Outage;
  readonly runtime: Runtime;
};

type Batch = { readonly firstSequence: number; readonly messages: readonly ProducedMessage[] };

const ALL_REPLICAS = -1;
const TRANSACTION_MS = 60_000;
const SEQUENCE_MAX = 2 ** 31 - 1;
/** Compaction leaves one of them. */
const TAKEN_KEY = Buffer.from('["h"]');

/** A later epoch wrote the partition, or the broker no longer follows this one's numbers. */
const FENCED: ReadonlySet<string> = new Set([
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'UNKNOWN_PRODUCER_ID',
]);

/**
 * One partition that only its last taker writes. A producer's epoch does that ("Apache Kafka documentation, KIP-98"): taking raises it,
 * and the first batch of the new epoch makes the partition's leader refuse everything of an older one, also what was sent before and
 * comes late. The producer of kafkajs would allow it only for transactions; these batches are in none.
 */
export class FencedPartition {
  readonly #parts: FencedParts;
  readonly #epoch: ProducerEpoch;
  #sequence = 0;
  /** Sent, and nobody knows whether it stands there: no later one may pass it. */
  #pending: Batch | null = null;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(parts: FencedParts, epoch: ProducerEpoch) {
    this.#parts = parts;
    this.#epoch = epoch;
  }

  static async take(parts: FencedParts, signal: AbortSignal): Promise<FencedPartition> {
    const { topic, partition } = parts.place;
    const transactionalId = `${topic}.${partition}`;
    const epoch = await parts.brokers.use(signal, async (brokers) => {
      const coordinator = await brokers.coordinator({ name: transactionalId, of: 'producer', topic });
      return coordinator.initProducerId({ transactionalId, transactionTimeout: TRANSACTION_MS });
    });
    const fenced = new FencedPartition(parts, epoch);
    await fenced.prove(signal);
    return fenced;
  }

  /** Resolves if nobody else has taken the partition. Errors: as `send`. */
  async prove(signal: AbortSignal): Promise<void> {
    const { producerId, producerEpoch } = this.#epoch;
    await this.send([{ key: TAKEN_KEY, value: Buffer.from(`${producerId}/${producerEpoch}`) }], signal);
  }

  /** Resolves once the messages are durable, however long that takes. Errors: `partition_fenced`, and whatever waiting does not mend. */
  send(messages: readonly ProducedMessage[], signal: AbortSignal): Promise<void> {
    const result = this.#last.then(async () => {
      signal.throwIfAborted();
      await this.#finish(signal);
      if (this.#sequence + messages.length > SEQUENCE_MAX) throw this.#fenced('its numbers are used up');
      this.#pending = { firstSequence: this.#sequence, messages };
      this.#sequence += messages.length;
      await this.#finish(signal);
    });
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** The same batch with the same numbers, until a leader says that it has it. */
  async #finish(signal: AbortSignal): Promise<void> {
    const batch = this.#pending;
    if (batch === null) return;
    const { outage, runtime, brokers } = this.#parts;
    let waits = false;
    try {
      for (let attempt = 0; ; attempt += 1) {
        try {
          const refusal = await brokers.use(signal, (now) => this.#produce(now, batch));
          if (refusal !== null) throw refusal;
          this.#pending = null;
          return;
        } catch (error) {
          signal.throwIfAborted();
          const failure = kafkaError(error);
          if (failure.code !== 'log_unavailable') throw failure;
          if (!waits) outage.begin(failure);
          waits = true;
          await runtime.sleep(waitMs(runtime, attempt), signal);
        }
      }
    } finally {
      if (waits) outage.end();
    }
  }

  /** Null once the batch stands there; what is refused for good comes as a result, since it is not tried again. */
  async #produce(brokers: TopicBrokers, { firstSequence, messages }: Batch): Promise<CausewayError | null> {
    const { place, config } = this.#parts;
    const { topic, partition } = place;
    const leader = await brokers.leader(topic, partition);
    try {
      const { topics } = await leader.produce({
        ...this.#epoch,
        acks: ALL_REPLICAS,
        timeout: config.requestTimeout,
        compression: compressionTypes[config.compression],
        topicData: [{ topic, partitions: [{ partition, firstSequence, messages }] }],
      });
      const reply = topics.find(({ topicName }) => topicName === topic)?.partitions.find((one) => one.partition === partition);
      if (reply === undefined)
        return new CausewayError('log_unproved', `the reply to a write does not name partition ${partition} of ${topic}`);
      if (reply.errorCode !== 0) throw errorOf(reply.errorCode);
      return null;
    } catch (error) {
      const type = brokerErrorType(error) ?? '';
      if (type === 'DUPLICATE_SEQUENCE_NUMBER') return null;
      if (FENCED.has(type)) return this.#fenced(type);
      throw error;
    }
  }

  #fenced(why: string): CausewayError {
    const { topic, partition } = this.#parts.place;
    return new CausewayError('partition_fenced', `another worker took partition ${partition} of the topic ${topic}: ${why}`);
  }
}
