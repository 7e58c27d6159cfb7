import { assert } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { EncodedRecord, LogWriter } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import { OWNER } from './owner.ts';
import type { Batch, KafkaProducer, Outage } from './producer.ts';

/** A single larger record is a batch of its own. Small enough to be read and compressed as a whole, large enough to cost little. */
const BATCH_BYTES_MAX = 1024 * 1024;
/** Lengths and differences of a record in a batch, each as large as it gets ("Apache Kafka documentation, 5.3.2 Record"). */
const RECORD_BYTES = 32;

export type BatchLimits = {
  readonly partitions: number;
  readonly recordBytesMax: number;
  /** Named by the first record of each batch. */
  readonly pipeline: string;
};

type Open = { readonly partition: number; readonly messages: Batch['messages'][number][]; bytes: number };

/** Splits each append by partition and hands it to the producer that the partition belongs to; these work side by side. */
export class KafkaLogWriter implements LogWriter {
  readonly #producers: readonly KafkaProducer[];
  readonly #outage: Outage;
  readonly #limits: BatchLimits;
  #last: Promise<unknown> = Promise.resolve();
  /** Once an append has failed, later ones would leave a gap behind it. */
  #failed = false;

  constructor(parts: {
    /** Partition p belongs to the one at p modulo their number. */
    readonly producers: readonly KafkaProducer[];
    readonly outage: Outage;
    readonly limits: BatchLimits;
  }) {
    assert(parts.producers.length > 0, 'a writer has a producer');
    this.#producers = parts.producers;
    this.#outage = parts.outage;
    this.#limits = parts.limits;
  }

  get stalled(): boolean {
    return this.#outage.lasts;
  }

  append(records: readonly EncodedRecord[], signal: AbortSignal): Promise<ReadonlyMap<number, Offset>> {
    const result = this.#last.then(() => this.#append(records, signal));
    this.#last = result.catch(() => {
      this.#failed = true;
    });
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.#failed = true;
    await Promise.all(this.#producers.map((producer) => producer[Symbol.asyncDispose]()));
  }

  async #append(records: readonly EncodedRecord[], signal: AbortSignal): Promise<ReadonlyMap<number, Offset>> {
    if (this.#failed) throw new CausewayError('log_unavailable', 'the writer of the log was closed, or an earlier append failed');
    signal.throwIfAborted();
    const offsets = new Map<number, Offset>();
    const batches = batchesOf(records, this.#limits);
    // One that failed for good must not wait for another that rides out an outage.
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const work = this.#producers.map(async (producer, index) => {
      try {
        for (const batch of batches.filter(({ partition }) => partition % this.#producers.length === index)) {
          offsets.set(batch.partition, await producer.send(batch, either));
        }
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    });
    await Promise.allSettled(work);
    signal.throwIfAborted();
    failed.signal.throwIfAborted();
    return offsets;
  }
}

/** In their order, each below the limit unless a single record is not. */
export function batchesOf(records: readonly EncodedRecord[], limits: BatchLimits): readonly Batch[] {
  const { partitions, recordBytesMax, pipeline } = limits;
  // What the topic takes is more than a record by what the batch around it needs.
  const batchBytesMax = Math.min(BATCH_BYTES_MAX, recordBytesMax);
  const batches: Open[] = [];
  const open = new Map<number, Open>();
  for (const { partition, key, value } of records) {
    const bytes = (key === null ? 0 : Buffer.byteLength(key)) + value.length;
    assert(bytes <= recordBytesMax, 'a record is not larger than recordBytesMax');
    assert(partition >= 0 && partition < partitions, 'a record belongs to a partition of the log');
    let batch = open.get(partition);
    if (batch === undefined || batch.bytes + bytes + RECORD_BYTES > batchBytesMax) {
      batch = { partition, messages: [], bytes: 0 };
      open.set(partition, batch);
      batches.push(batch);
    }
    const headers = batch.messages.length === 0 ? { headers: { [OWNER]: pipeline } } : {};
    batch.messages.push({ key, value: bufferOf(value), ...headers });
    batch.bytes += bytes + RECORD_BYTES;
  }
  return batches;
}

/** kafkajs writes anything but a Buffer as its text. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
