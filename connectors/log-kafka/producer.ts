import type { Message, Producer, RecordMetadata } from 'kafkajs';
import { assert } from '#core/assert.ts';
import { backoffMs, CausewayError } from '#core/errors.ts';
import { offsetOf, type Offset } from '#core/position.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import { openClient, producerOf, type ClientParts } from './client.ts';
import { compressionTypes } from './compression.ts';
import type { Compression } from './config.ts';
import { kafkaError } from './errors.ts';
import { ofOnePartition } from './one-partition.ts';

const ALL_REPLICAS = -1;
const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 5_000;
/** A broker that just started, or one behind the controller, may not know a topic for a moment. */
const MISSING_ATTEMPTS = 5;
/** kafkajs's numbers begin anew before 2^31, and the broker would then take what is new for a repetition. */
const MESSAGES_MAX = 1e9;
const WHOLE = /^\d{1,15}$/;
/** Packing less, such as the watermarks of an idle source, costs more than it saves. */
const PACKED_BYTES_MIN = 1_024;

/** Messages of one partition, to be sent together. */
export type Batch = { readonly partition: number; readonly messages: readonly Message[] };

/** One producer, connected. Of no more use after a send was rejected. */
export type Sender = {
  send(batch: Batch, signal: AbortSignal): Promise<readonly RecordMetadata[]>;
  destroy(): void;
};

/** Tells, once for all producers of a log, that it cannot be written and that it can again. */
export class Outage {
  readonly #logger: Logger;
  #waiting = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get lasts(): boolean {
    return this.#waiting > 0;
  }

  begin(error: CausewayError): void {
    this.#waiting += 1;
    if (this.#waiting > 1) return;
    this.#logger.log('warn', 'the log cannot be written and is tried again: look at the brokers, `causeway status` tells how long', {
      code: error.code,
      error: error.message,
    });
  }

  end(): void {
    this.#waiting -= 1;
    if (this.#waiting === 0) this.#logger.log('info', 'the log can be written again');
  }
}

export type ProducerParts = {
  readonly topic: string;
  readonly open: (signal: AbortSignal) => Promise<Sender>;
  readonly outage: Outage;
  readonly runtime: Runtime;
  /** Where the partitions that this writes ended when it was made; 0 for those that are not named. */
  readonly ends?: ReadonlyMap<number, Offset>;
};

/**
 * Writes partitions that nothing else in this process writes, with one send of one partition on its way at a time: kafkajs's numbers
 * are right only then, and after a rejected send no more, so that each is followed by another producer with the same messages. What
 * stands in the log twice then is for readers to skip.
 */
export class KafkaProducer implements AsyncDisposable {
  readonly #parts: ProducerParts;
  /** The offset behind the last message that is known to stand in each partition. */
  readonly #ends: Map<number, number>;
  #sender: Sender | null = null;
  /** By partition, through the producer at hand. */
  #sent = new Map<number, number>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: ProducerParts) {
    this.#parts = parts;
    this.#ends = new Map(parts.ends);
  }

  /**
   * Resolves with the offset of the last message once all are durable, however long that takes. Calls wait for each other. Errors:
   * `log_unproved` for a reply that does not prove it, and whatever waiting does not mend.
   */
  send(batch: Batch, signal: AbortSignal): Promise<Offset> {
    const result = this.#last.then(() => this.#send(batch, signal));
    this.#last = result.catch(() => undefined);
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.#drop();
  }

  async #send(batch: Batch, signal: AbortSignal): Promise<Offset> {
    assert(batch.messages.length > 0, 'a batch is not empty');
    let waits = false;
    try {
      for (let attempt = 0; ; attempt += 1) {
        const failure = await this.#attempt(batch, signal);
        if (!(failure instanceof CausewayError)) return failure;
        if (failure.code !== 'log_unavailable' && !(failure.code === 'log_topic_missing' && attempt < MISSING_ATTEMPTS)) throw failure;
        if (!waits) this.#parts.outage.begin(failure);
        waits = true;
        const random = this.#parts.runtime.random();
        await this.#parts.runtime.sleep(backoffMs({ attempt, firstMs: RETRY_FIRST_MS, maxMs: RETRY_MAX_MS, random }), signal);
      }
    } finally {
      if (waits) this.#parts.outage.end();
    }
  }

  /** Returns what was refused, as an error, instead of throwing it. */
  async #attempt(batch: Batch, signal: AbortSignal): Promise<Offset | CausewayError> {
    try {
      const sender = await this.#senderFor(batch, signal);
      const replies = await sender.send(batch, signal);
      return this.#proved(batch, replies);
    } catch (error) {
      this.#drop();
      signal.throwIfAborted();
      return kafkaError(error);
    }
  }

  async #senderFor({ partition, messages }: Batch, signal: AbortSignal): Promise<Sender> {
    signal.throwIfAborted();
    if ((this.#sent.get(partition) ?? 0) + messages.length > MESSAGES_MAX) this.#drop();
    this.#sender ??= await this.#parts.open(signal);
    this.#sent.set(partition, (this.#sent.get(partition) ?? 0) + messages.length);
    return this.#sender;
  }

  /** kafkajs resolves for partitions that it never sent, and a broker answers without an error for what it takes for a repetition. */
  #proved({ partition, messages }: Batch, replies: readonly RecordMetadata[]): Offset {
    const { topic } = this.#parts;
    const reply = replies.find((one) => one.topicName === topic && one.partition === partition);
    if (reply?.errorCode !== 0) throw unproved(topic, partition, 'the reply does not name the partition');
    const base = WHOLE.test(reply.baseOffset ?? '') ? Number(reply.baseOffset) : Number.NaN;
    const end = this.#ends.get(partition) ?? 0;
    if (!(base >= end)) {
      throw unproved(topic, partition, `the reply names the offset ${base}, where at least ${end} was to come`);
    }
    const next = base + messages.length;
    this.#ends.set(partition, next);
    return offsetOf(next - 1);
  }

  #drop(): void {
    this.#sender?.destroy();
    this.#sender = null;
    this.#sent.clear();
  }
}

/** One kafkajs producer with a client, and so connections, of its own. */
export async function openSender(
  parts: ClientParts,
  { topic, compression }: { readonly topic: string; readonly compression: Compression },
  signal: AbortSignal,
): Promise<Sender> {
  const client = await openClient(parts, signal);
  let producer: Producer;
  try {
    producer = producerOf(client);
    await client.use(signal, () => producer.connect());
  } catch (error) {
    client.destroy();
    throw error;
  }
  return {
    destroy: () => client.destroy(),
    send: ({ messages, partition }, sending) =>
      client.use(sending, () =>
        producer.send({
          topic,
          acks: ALL_REPLICAS,
          timeout: parts.config.requestTimeout,
          compression: compressionTypes[bytesOf(messages) < PACKED_BYTES_MIN ? 'none' : compression],
          messages: ofOnePartition(
            messages.map((message) => ({ ...message, partition })),
            partition,
          ),
        }),
      ),
  };
}

function bytesOf(messages: readonly Message[]): number {
  return messages.reduce((sum, { key, value }) => sum + (key?.length ?? 0) + (value?.length ?? 0), 0);
}

function unproved(topic: string, partition: number, what: string): CausewayError {
  return new CausewayError('log_unproved', `a write to partition ${partition} of the topic ${topic} is not proved: ${what}`);
}
