import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import { type DeadLetter, type EncodedRecord, type LogProgress, type ReleasedSince, type StoredRecord } from '#core/log.ts';

/** A letter that was released, with where, and with the number of the replay that did; 0 where none did. */
export type Released = { readonly letter: DeadLetter; readonly at: number; readonly replay: number };

type Partition = { start: number; readonly records: StoredRecord[] };

/** What survives when a log is closed and opened again, and what a writer and readers of several Log objects share. */
export class MemoryLogStore {
  readonly partitions: readonly Partition[];
  /** May be changed at any time, followed by `wakeAll`. */
  bytesMax: number | null;
  /** Kept behind the slowest retained consumer, shared evenly by the partitions. */
  readonly keepBytes: number;
  readonly recordBytesMax: number;
  readonly sharesPartitions: boolean;
  /** What consumers were prepared with, in order. */
  readonly prepared: { readonly consumer: string; readonly known: boolean }[] = [];
  readonly progress = new Map<string, Map<number, LogProgress>>();
  readonly letters = new Map<string, Map<number, Map<RowKey, DeadLetter>>>();
  readonly released = new Map<string, Map<number, Map<RowKey, Released>>>();
  /** Who wrote to a partition's letters last, and the number of its last call. */
  readonly letterHolders = new Map<string, Map<number, { readonly token: number; readonly call: number }>>();
  retained: readonly string[] | null = null;
  bytes = 0;
  stalled = 0;
  /**
   * Called before an append takes effect and after it, before its promise resolves. What it throws at `before` is a refused
   * append, at `after` a lost reply; a promise that it returns delays the append.
   */
  onAppend: ((stage: 'before' | 'after', records: readonly EncodedRecord[]) => void | Promise<void>) | null = null;
  /** Called when an append finds no room, and when it has it. */
  onRoom: ((stage: 'waits' | 'found') => void) | null = null;
  readonly #waiting = new Set<() => void>();

  constructor(
    input: {
      readonly partitions?: number;
      readonly bytesMax?: number | null;
      readonly keepBytes?: number;
      readonly recordBytesMax?: number;
      readonly sharesPartitions?: boolean;
    } = {},
  ) {
    this.partitions = Array.from({ length: input.partitions ?? 4 }, () => ({ start: 0, records: [] }));
    this.bytesMax = input.bytesMax ?? null;
    this.keepBytes = input.keepBytes ?? 0;
    this.recordBytesMax = input.recordBytesMax ?? 16 * 1024 * 1024;
    this.sharesPartitions = input.sharesPartitions ?? false;
  }

  partition(index: number): Partition {
    return present(this.partitions[index], 'partition of the log');
  }

  endOf(index: number): number {
    const partition = this.partition(index);
    return partition.start + partition.records.length;
  }

  /** Resolves at the next change of the log. */
  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const aborted = (): void => {
        this.#waiting.delete(wake);
        reject(signal.reason as Error);
      };
      const wake = (): void => {
        signal.removeEventListener('abort', aborted);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', aborted, { once: true });
    });
  }

  wakeAll(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  trim(keepBytes = this.keepBytes / this.partitions.length): void {
    const consumers = this.retained;
    if (consumers === null || consumers.length === 0) return;
    for (const [index, partition] of this.partitions.entries()) {
      const needed = Math.min(...consumers.map((consumer) => this.progress.get(consumer)?.get(index)?.offset ?? 0));
      let taken = needed - partition.start;
      for (let kept = 0; taken > 0 && kept < keepBytes; taken -= 1) kept += sizeOf(present(partition.records[taken - 1], 'record'));
      // The newest record stays: who opens the log looks at it.
      const drop = Math.min(taken, partition.records.length - 1);
      if (drop <= 0) continue;
      for (const record of partition.records.splice(0, drop)) this.bytes -= sizeOf(record);
      partition.start += drop;
      for (const released of this.released.values())
        for (const [key, { at, replay }] of released.get(index) ?? [])
          if (at < partition.start && replay === 0) released.get(index)?.delete(key);
    }
    this.wakeAll();
  }

  clear(): void {
    for (const partition of this.partitions) {
      partition.start = 0;
      partition.records.length = 0;
    }
    this.bytes = 0;
    this.progress.clear();
    this.letters.clear();
    this.released.clear();
    this.letterHolders.clear();
  }
}

const PAGE_RECORDS_MAX = 500;

export function page(store: MemoryLogStore, partition: number, from: number, to: number): readonly StoredRecord[] {
  const { start, records } = store.partition(partition);
  if (from < start || from > start + records.length) {
    throw new CausewayError('log_offset_gone', `offset ${from} of partition ${partition} is not in the log`);
  }
  return records.slice(from - start, Math.min(to, from + PAGE_RECORDS_MAX) - start);
}

export function isReleasedSince({ at, replay }: Released, since: ReleasedSince): boolean {
  return at >= since.offset || replay > since.replays;
}

export function sizeOf(record: { readonly key: string | null; readonly value: Uint8Array }): number {
  return (record.key?.length ?? 0) + record.value.length;
}

export function mapIn<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key) ?? make();
  map.set(key, found);
  return found;
}
