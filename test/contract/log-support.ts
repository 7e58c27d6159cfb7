import { afterEach, beforeEach } from 'vitest';
import { present } from '#core/assert.ts';
import { codeOf } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type {
  DeadLetter,
  EncodedRecord,
  HeldLetters,
  Log,
  LogBatch,
  LogProgress,
  LogReader,
  PartitionAssignment,
  StoredRecord,
} from '#core/log.ts';
import type { FencingToken, Offset } from '#core/position.ts';
import type { Sequence } from '#core/sequence.ts';

export type LogContext = AsyncDisposable & {
  /** A Log over the same storage each time: what one leaves behind, the next one finds. */
  open(): Log;
};

/** What frees records: the progress of the retained consumers, at once; or age and size alone, where a test cannot see it. */
export type LogFreedBy = 'progress' | 'retention';

export type LogContextInput = { readonly partitions: number; readonly bytesMax: number | null; readonly keepBytes?: number };

export const never = new AbortController().signal;
export const PARTITIONS = 3;

export function record(partition: number, text: string, key: string | null = `["t","${text}"]`): EncodedRecord {
  return { partition, key, value: Buffer.from(text) };
}

export function progressAt(offset: number, pair: readonly [generation: number, counter: number] | null): LogProgress {
  return { offset: offset as Offset, pair: pair === null ? null : { generation: pair[0] as FencingToken, counter: pair[1] } };
}

export function textsOf(batches: readonly LogBatch[]): readonly string[] {
  return batches.flatMap((batch) => batch.records.map((stored) => Buffer.from(stored.value).toString()));
}

export async function collect<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function readAll(log: Log, partition: number, from = 0): Promise<readonly StoredRecord[]> {
  return (await collect(log.read(partition, from as Offset, never))).flatMap((batch) => batch.records);
}

export async function assigned(reader: LogReader, count: number): Promise<readonly PartitionAssignment[]> {
  const assignments: PartitionAssignment[] = [];
  for await (const assignment of reader.assignments(never)) {
    assignments.push(assignment);
    if (assignments.length === count) break;
  }
  return assignments;
}

/** The assignment of one partition of a new reader, which has every partition of its consumer. */
export async function assignmentOf(log: Log, consumer: string, partition: number): Promise<PartitionAssignment> {
  return assignmentIn(await assigned(await log.reader(consumer, never), log.partitions), partition);
}

function assignmentIn(assignments: readonly PartitionAssignment[], partition: number): PartitionAssignment {
  const found = assignments.find((assignment) => assignment.partition === partition);
  if (found === undefined) throw new Error('the partition was not assigned');
  return found;
}

export async function codeRejected(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return codeOf(error);
  }
  return 'nothing was thrown';
}

export function heldLetters(log: Log, consumer = 'warm', partition = 0): Promise<HeldLetters> {
  return log.deadLetters(consumer).take(partition, never);
}

export function letter(key: string, over: Partial<DeadLetter> = {}): DeadLetter {
  return {
    key: key as RowKey,
    sequence: '0'.repeat(48) as Sequence,
    code: 'value_refused',
    reason: 'the target column is too short',
    record: Buffer.from(key),
    committedAtMicros: 1_790_000_000_000_000,
    ...over,
  };
}

/** Consumers that every test finds prepared. */
const CONSUMERS = ['warm', 'cold'];

/** A provisioned log for each test of the suite that calls this. */
export class LogAtHand {
  readonly #makeContext: (input: LogContextInput) => Promise<LogContext>;
  readonly #readers = new Map<string, { readonly reader: LogReader; readonly assignments: readonly PartitionAssignment[] }>();
  #context: LogContext | null = null;
  #log: Log | null = null;

  constructor(makeContext: (input: LogContextInput) => Promise<LogContext>) {
    this.#makeContext = makeContext;
    beforeEach(async () => {
      this.#context = await this.#makeContext({ partitions: PARTITIONS, bytesMax: null });
      await this.#open();
    });
    afterEach(async () => {
      await this.#close();
      await this.context[Symbol.asyncDispose]();
    });
  }

  get context(): LogContext {
    return present(this.#context, 'the context of the test');
  }

  get log(): Log {
    return present(this.#log, 'the log of the test');
  }

  async reopen(): Promise<void> {
    await this.#close();
    await this.#open();
  }

  async append(...records: readonly EncodedRecord[]): Promise<ReadonlyMap<number, Offset>> {
    await using writer = await this.log.writer(never);
    return await writer.append(records, never);
  }

  /** Of the one reader that the consumer has: with two, a log may share the partitions out. */
  async assignment(consumer: string, partition: number): Promise<PartitionAssignment> {
    let at = this.#readers.get(consumer);
    if (at === undefined) {
      await this.log.prepareConsumer(consumer, { known: false }, never);
      const reader = await this.log.reader(consumer, never);
      at = { reader, assignments: await assigned(reader, PARTITIONS) };
      this.#readers.set(consumer, at);
    }
    return assignmentIn(at.assignments, partition);
  }

  /** Closes the readers. */
  async leave(): Promise<void> {
    for (const { reader } of this.#readers.values()) await reader[Symbol.asyncDispose]();
    this.#readers.clear();
  }

  async prepare(): Promise<void> {
    for (const consumer of CONSUMERS) await this.log.prepareConsumer(consumer, { known: false }, never);
  }

  async #open(): Promise<void> {
    this.#log = this.context.open();
    await this.#log.provision(never);
    await this.prepare();
  }

  async #close(): Promise<void> {
    await this.leave();
    await this.log[Symbol.asyncDispose]();
  }
}
