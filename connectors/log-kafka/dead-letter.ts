import { CausewayError } from '#core/errors.ts';
import type {
  DeadLetter,
  DeadLetters,
  HeldLetters,
  LetterRelease,
  LetterToPark,
  LogEnds,
  ReleasedLetter,
  ReleasedSince,
} from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';
import { type FoldedLetter, LetterFold, type Mark, markText, parseMark } from './dead-letter-fold.ts';
import { damaged } from './fetch.ts';
import type { Config } from './config.ts';
import { FencedPartition } from './fenced-partition.ts';
import type { ProducedMessage } from './kafkajs-internals.ts';
import type { Outage } from './producer.ts';
import { batchesUpTo, endsOf } from './read.ts';
import { BatchDamage, type BatchRecord, headersOf, type RawBatch, recordsOf } from './record-batch.ts';
import type { KeptBrokers } from './topic-brokers.ts';

export type DeadLetterParts = {
  readonly topic: string;
  readonly brokers: KeptBrokers;
  readonly config: Pick<Config, 'requestTimeout' | 'compression'>;
  readonly outage: Outage;
  readonly runtime: Runtime;
  /** Of the log itself. */
  readonly logStart: (partition: number, signal: AbortSignal) => Promise<Offset>;
};

/** Messages that belong together stand in one batch, which a broker takes whole or not at all. */
const BATCH_BYTES_MAX = 512 * 1024;
const FORMAT = '1';

/** A partition as far as it was read. */
type Folded = { fold: LetterFold; next: number; last: Promise<unknown> };

/** The compacted topic of one sink, with the partitions of the log. */
export class KafkaDeadLetters implements DeadLetters {
  readonly #parts: DeadLetterParts;
  readonly #partitions = new Map<number, Folded>();

  constructor(parts: DeadLetterParts) {
    this.#parts = parts;
  }

  async take(partition: number, signal: AbortSignal): Promise<HeldLetters> {
    const { brokers, topic, config, outage, runtime } = this.#parts;
    const place = { topic, partition };
    const held = await FencedPartition.take({ brokers, place, config, outage, runtime }, signal);
    const send = async (groups: readonly (readonly ProducedMessage[])[], sending: AbortSignal): Promise<void> => {
      for (const messages of batched(groups)) await held.send(messages, sending);
      // Who has nothing to write has to know as well that another one took the partition.
      if (groups.length === 0) await held.prove(sending);
    };
    // What was read before may have been of a topic that was made again since.
    this.#partitions.delete(partition);
    return {
      park: (letters, parking) =>
        this.#alone(partition, parking, (fold) =>
          send(
            letters.flatMap((letter) => parked(fold, letter)),
            parking,
          ),
        ),
      release: (releases, releasing) =>
        this.#alone(partition, releasing, (fold) =>
          send(
            releases.flatMap((release) => released(fold, release)),
            releasing,
          ),
        ),
      forget: (replays, forgetting) =>
        this.#alone(partition, forgetting, async (fold) => {
          const start = await this.#parts.logStart(partition, forgetting);
          const forgotten = [...fold.forgotten({ start, replays })].map((marks) => marks.map(removal));
          await send(forgotten, forgetting);
        }),
    };
  }

  read(partition: number, signal: AbortSignal): AsyncIterable<DeadLetter> {
    const isWanted = ({ released }: FoldedLetter): boolean => released === null;
    return this.#letters(partition, { isWanted, letterOf }, signal);
  }

  readReleased(partition: number, { offset, replays }: ReleasedSince, signal: AbortSignal): AsyncIterable<ReleasedLetter> {
    const isWanted = ({ released }: FoldedLetter): boolean => released !== null && (released.at >= offset || released.replay > replays);
    const releasedLetterOf = (letter: FoldedLetter, record: BatchRecord): ReleasedLetter => ({
      ...letterOf(letter, record),
      replay: letter.released?.replay ?? 0,
    });
    return this.#letters(partition, { isWanted, letterOf: releasedLetterOf }, signal);
  }

  /** In the order of the topic. What compaction or another worker took away in between is looked for again. */
  async *#letters<Letter extends DeadLetter>(
    partition: number,
    of: {
      readonly isWanted: (letter: FoldedLetter) => boolean;
      readonly letterOf: (letter: FoldedLetter, record: BatchRecord) => Letter;
    },
    signal: AbortSignal,
  ): AsyncIterable<Letter> {
    const given = new Set<string>();
    while (true) {
      const wanted = await this.#alone(partition, signal, (fold) =>
        Promise.resolve(
          new Map(
            [...fold.all()].filter((letter) => of.isWanted(letter) && !given.has(letter.key)).map((letter) => [letter.offset, letter]),
          ),
        ),
      );
      if (wanted.size === 0) return;
      const offsets = [...wanted.keys()].sort((a, b) => a - b);
      const [first = 0, last = 0] = [offsets[0], offsets.at(-1)];
      const hasWanted = ({ firstOffset, lastOffset }: RawBatch): boolean =>
        offsets.some((offset) => offset >= firstOffset && offset <= lastOffset);
      for await (const record of this.#records(partition, { from: first, end: last + 1 }, hasWanted, signal)) {
        const letter = wanted.get(record.offset);
        if (letter === undefined || record.value === null) continue;
        given.add(letter.key);
        yield of.letterOf(letter, record);
      }
    }
  }

  /** Runs `work` with the partition folded to its end. One call after the other, so that a change sees the ones before it. */
  #alone<T>(partition: number, signal: AbortSignal, work: (fold: LetterFold) => Promise<T>): Promise<T> {
    const folded = this.#partitions.get(partition) ?? { fold: new LetterFold(), next: 0, last: Promise.resolve() };
    this.#partitions.set(partition, folded);
    const result = folded.last.then(async () => {
      signal.throwIfAborted();
      await this.#catchUp(partition, folded, signal);
      return await work(folded.fold);
    });
    folded.last = result.catch(() => undefined);
    return result;
  }

  async #catchUp(partition: number, folded: Folded, signal: AbortSignal): Promise<void> {
    const { start, end } = await this.#ends(partition, signal);
    // The topic was made again: nothing of what was read is there.
    if (folded.next > end) Object.assign(folded, { fold: new LetterFold(), next: 0 });
    for await (const record of this.#records(partition, { from: Math.max(folded.next, start), end }, () => true, signal)) {
      const { offset, key, value } = record;
      if (value !== null) this.#assertReadable(partition, record);
      const mark = key === null ? null : parseMark(key.toString());
      if (mark !== null) folded.fold.add(mark, { offset, isRemoved: value === null });
      folded.next = offset + 1;
    }
    folded.next = end;
  }

  /** Releases of keys have no format: they are marks alone. */
  #assertReadable(partition: number, record: BatchRecord): void {
    const format = headersOf(record).get('format')?.toString() ?? FORMAT;
    if (format === FORMAT) return;
    const which = /^\d{1,9}$/.test(format) ? `the format ${format}` : 'a format that is no number';
    throw new CausewayError(
      'log_format_unknown',
      `a dead letter in partition ${partition} of the topic ${this.#parts.topic} has ${which}; this release reads ${FORMAT}`,
    );
  }

  async *#records(
    partition: number,
    range: { readonly from: number; readonly end: number },
    isWanted: (batch: RawBatch) => boolean,
    signal: AbortSignal,
  ): AsyncIterable<BatchRecord> {
    const place = { topic: this.#parts.topic, partition };
    for await (const batches of batchesUpTo(this.#parts.brokers, { ...place, ...range }, signal)) {
      for (const batch of batches) {
        if (batch.isControl || !isWanted(batch)) continue;
        const records = await recordsOf(batch).catch((error: unknown) => {
          throw error instanceof BatchDamage ? damaged(place, error) : error;
        });
        for (const record of records) if (record.offset >= range.from && record.offset < range.end) yield record;
      }
      signal.throwIfAborted();
    }
  }

  #ends(partition: number, signal: AbortSignal): Promise<LogEnds> {
    return endsOf(this.#parts.brokers, { topic: this.#parts.topic, partition }, signal);
  }
}

/** Groups stay whole. A group that is larger is a batch of its own: it has one letter, and the topic takes any letter. */
function* batched(groups: readonly (readonly ProducedMessage[])[]): Generator<readonly ProducedMessage[]> {
  let batch: ProducedMessage[] = [];
  let bytes = 0;
  for (const group of groups) {
    const size = group.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0);
    if (batch.length > 0 && bytes + size > BATCH_BYTES_MAX) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(...group);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

/** What one letter adds: at most one group. */
function parked(fold: LetterFold, letter: LetterToPark): readonly (readonly ProducedMessage[])[] {
  const removed = fold.toPark(letter);
  return removed === null ? [] : [[letterMessage(letter), ...removed.map(removal)]];
}

function released(fold: LetterFold, release: LetterRelease): readonly (readonly ProducedMessage[])[] {
  const change = fold.toRelease(release);
  if (change === null) return [];
  return [[...(change.written === null ? [] : [releaseMessage(change.written)]), ...change.removed.map(removal)]];
}

function removal(mark: Mark): ProducedMessage {
  return { key: Buffer.from(markText(mark)), value: null };
}

function releaseMessage(mark: Mark): ProducedMessage {
  return { key: Buffer.from(markText(mark)), value: Buffer.from('released') };
}

function letterMessage({ key, sequence, code, reason, record, committedAtMicros }: LetterToPark): ProducedMessage {
  return {
    key: Buffer.from(markText({ kind: 'p', key, sequence })),
    // Without a value Kafka would take it for a removal.
    value: record === null ? Buffer.alloc(0) : Buffer.from(record.buffer, record.byteOffset, record.byteLength),
    headers: { format: FORMAT, code, reason, committedAt: `${committedAtMicros}`, ...(record === null ? { marked: '1' } : {}) },
  };
}

function letterOf({ key, sequence }: FoldedLetter, record: BatchRecord): DeadLetter {
  const headers = headersOf(record);
  const text = (name: string): string => headers.get(name)?.toString() ?? '';
  return {
    key,
    sequence,
    code: text('code'),
    reason: text('reason'),
    record: headers.has('marked') ? null : record.value,
    committedAtMicros: Number(text('committedAt')),
  };
}
