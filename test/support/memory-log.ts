import { CausewayError } from '#core/errors.ts';
import {
  compareProgress,
  type DeadLetters,
  type EncodedRecord,
  type Log,
  type LogBatch,
  type LogEnds,
  type LogProgress,
  type LogReader,
  type LogUsage,
  type LogWriter,
  type PartitionAssignment,
} from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import { memoryDeadLetters } from './memory-letters.ts';
import { mapIn, MemoryLogStore, page, sizeOf } from './memory-log-store.ts';

export { MemoryLogStore } from './memory-log-store.ts';

/** A Log without a disk. */
export class MemoryLog implements Log {
  readonly partitions: number;
  readonly recordBytesMax: number;
  readonly sharesPartitions: boolean;
  readonly #store: MemoryLogStore;

  constructor(store: MemoryLogStore = new MemoryLogStore()) {
    this.#store = store;
    this.partitions = store.partitions.length;
    this.recordBytesMax = store.recordBytesMax;
    this.sharesPartitions = store.sharesPartitions;
  }

  async provision(signal: AbortSignal): Promise<void> {
    await turn(signal);
  }

  async remove(consumer: string | null, signal: AbortSignal): Promise<readonly string[]> {
    await turn(signal);
    if (consumer === null) {
      this.#store.clear();
      return ['log'];
    }
    const had = [this.#store.progress.delete(consumer), this.#store.letters.delete(consumer)];
    this.#store.released.delete(consumer);
    this.#store.trim();
    return had.includes(true) ? [`progress and dead letters of ${consumer}`] : [];
  }

  async prepareConsumer(consumer: string, { known }: { readonly known: boolean }, signal: AbortSignal): Promise<void> {
    await turn(signal);
    this.#store.prepared.push({ consumer, known });
  }

  async writer(signal: AbortSignal): Promise<LogWriter> {
    await turn(signal);
    return new MemoryLogWriter(this.#store);
  }

  async reader(consumer: string, signal: AbortSignal): Promise<LogReader> {
    await turn(signal);
    return memoryReader(this.#store, consumer);
  }

  async *read(partition: number, from: Offset, signal: AbortSignal): AsyncIterable<LogBatch> {
    await turn(signal);
    const end = this.#store.endOf(partition);
    let at: number = from;
    do {
      const records = page(this.#store, partition, at, end);
      if (records.length > 0) yield { partition, records };
      at += records.length;
      await turn(signal);
    } while (at < end);
  }

  async ends(signal: AbortSignal): Promise<readonly LogEnds[]> {
    await turn(signal);
    return this.#store.partitions.map((partition, index) => ({
      start: partition.start as Offset,
      end: this.#store.endOf(index) as Offset,
    }));
  }

  deadLetters(consumer: string): DeadLetters {
    return memoryDeadLetters(this.#store, consumer);
  }

  async retain(consumers: readonly string[], signal: AbortSignal): Promise<void> {
    await turn(signal);
    this.#store.retained = [...consumers];
    this.#store.trim();
  }

  async usage(signal: AbortSignal): Promise<LogUsage> {
    await turn(signal);
    return { bytes: this.#store.bytes, bytesMax: this.#store.bytesMax, stalled: this.#store.stalled > 0 };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

class MemoryLogWriter implements LogWriter {
  readonly #store: MemoryLogStore;
  /** The append before this one, so that a later call never stands before an earlier one. */
  #last: Promise<unknown> = Promise.resolve();
  /** Once an append has failed, later ones would leave a gap behind it. */
  #failed = false;

  constructor(store: MemoryLogStore) {
    this.#store = store;
  }

  append(records: readonly EncodedRecord[], signal: AbortSignal): Promise<ReadonlyMap<number, Offset>> {
    const result = this.#last.then(() => this.#append(records, signal));
    this.#last = result.catch(() => {
      this.#failed = true;
    });
    return result;
  }

  async #append(records: readonly EncodedRecord[], signal: AbortSignal): Promise<ReadonlyMap<number, Offset>> {
    if (this.#failed) throw new CausewayError('log_unavailable', 'an earlier append failed');
    await turn(signal);
    await this.#store.onAppend?.('before', records);
    const total = records.reduce((sum, record) => sum + sizeOf(record), 0);
    const { bytesMax } = this.#store;
    const isPart = bytesMax !== null && total > bytesMax;
    if (!isPart) await this.#room(total, signal);
    const offsets = new Map<number, Offset>();
    for (const record of records) {
      if (isPart) await this.#room(sizeOf(record), signal);
      const offset = this.#store.endOf(record.partition) as Offset;
      this.#store.partition(record.partition).records.push({ offset, key: record.key, value: record.value.slice() });
      offsets.set(record.partition, offset);
      this.#store.bytes += sizeOf(record);
      if (isPart) this.#store.wakeAll();
    }
    this.#store.wakeAll();
    await this.#store.onAppend?.('after', records);
    return offsets;
  }

  async #room(bytes: number, signal: AbortSignal): Promise<void> {
    const store = this.#store;
    const fits = (): boolean => store.bytesMax === null || store.bytes + bytes <= store.bytesMax;
    if (fits()) return;
    store.trim(0);
    if (fits()) return;
    store.stalled += 1;
    store.onRoom?.('waits');
    try {
      while (!fits()) await store.changed(signal);
    } finally {
      store.stalled -= 1;
    }
    store.onRoom?.('found');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function memoryReader(store: MemoryLogStore, consumer: string): LogReader {
  const closing = new AbortController();
  return {
    async *assignments(signal) {
      for (const index of store.partitions.keys()) {
        await turn(signal);
        yield memoryAssignment(store, { consumer, partition: index, revoked: closing.signal });
      }
      await forever(signal);
    },
    [Symbol.asyncDispose]() {
      closing.abort(new CausewayError('log_unavailable', 'the reader was closed'));
      return Promise.resolve();
    },
  };
}

function memoryAssignment(
  store: MemoryLogStore,
  of: { readonly consumer: string; readonly partition: number; readonly revoked: AbortSignal },
): PartitionAssignment {
  const { consumer, partition, revoked } = of;
  return {
    partition,
    revoked,
    async committed(signal) {
      await turn(signal);
      return store.progress.get(consumer)?.get(partition) ?? null;
    },
    async *batches(from, signal) {
      const ended = AbortSignal.any([signal, revoked]);
      await turn(ended);
      let at: number = from;
      while (true) {
        const records = page(store, partition, at, store.endOf(partition));
        if (records.length === 0) {
          await store.changed(ended);
          continue;
        }
        yield { partition, records };
        at += records.length;
        await turn(ended);
      }
    },
    async commit(progress, signal) {
      await turn(signal);
      const stored = mapIn(store.progress, consumer, () => new Map<number, LogProgress>());
      const before = stored.get(partition);
      if (before === undefined || compareProgress(progress, before) > 0) stored.set(partition, progress);
      store.trim();
      return stored.get(partition) ?? progress;
    },
    async rewind(progress, signal) {
      await turn(signal);
      const before = store.progress.get(consumer)?.get(partition);
      if (before !== undefined && compareProgress(progress, before) < 0) store.progress.get(consumer)?.set(partition, progress);
    },
  };
}

/** One turn, so that nothing here is faster than a promise. */
async function turn(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await Promise.resolve();
  signal.throwIfAborted();
}

function forever(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.throwIfAborted();
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
