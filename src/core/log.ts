import type { Finding } from './finding.ts';
import type { RowKey } from './key.ts';
import type { Offset } from './position.ts';
import { comparePairs, type CounterPair } from './record.ts';
import type { Sequence } from './sequence.ts';

/** A record as the log holds it. */
export type EncodedRecord = {
  readonly partition: number;
  /** The row key of a change, null for a control record. */
  readonly key: string | null;
  readonly value: Uint8Array;
};

export type StoredRecord = { readonly offset: Offset; readonly key: string | null; readonly value: Uint8Array };

export type LogBatch = { readonly partition: number; readonly records: readonly StoredRecord[] };

/** Where a reader of the log stands in a partition: everything before `offset` took effect. */
export type LogProgress = {
  readonly offset: Offset;
  /** The pair of the last record before `offset`; null where that is not known (a new sink). */
  readonly pair: CounterPair | null;
};

/** Which of two is further on: by the pair where both have one, otherwise by the offset. */
export function compareProgress(a: LogProgress, b: LogProgress): number {
  const byPair = a.pair !== null && b.pair !== null ? comparePairs(a.pair, b.pair) : 0;
  if (byPair !== 0) return byPair;
  return a.offset === b.offset ? Number(a.pair !== null) - Number(b.pair !== null) : a.offset - b.offset;
}

/**
 * The log of one pipeline: ordered partitions of opaque records, durable and replicated as the implementation says. Only the
 * capture holder appends. Every implementation passes test/contract/log.ts.
 */
export interface Log extends AsyncDisposable {
  readonly partitions: number;
  /** The largest encoded record (key and value together) that `append` takes, in bytes. */
  readonly recordBytesMax: number;
  /** True where the partitions of one consumer are shared out among its readers, also among those of other processes. */
  readonly sharesPartitions: boolean;
  /** Makes what is missing, checks the rest. Idempotent. Errors: `log_partitions_changed`, `log_foreign`, `log_damaged`. */
  provision(signal: AbortSignal): Promise<void>;
  /** Frees everything that the pipeline, or with `consumer` one sink, has in the log. Returns what was removed, for people. */
  remove(consumer: string | null, signal: AbortSignal): Promise<readonly string[]>;
  /**
   * Makes what one consumer needs, before its first `reader` and `deadLetters`. Idempotent. A consumer that is known had it all: what
   * is missing then was lost with what stood in it, which is `log_offset_gone` and never made anew.
   */
  prepareConsumer(consumer: string, options: { readonly known: boolean }, signal: AbortSignal): Promise<void>;
  writer(signal: AbortSignal): Promise<LogWriter>;
  reader(consumer: string, signal: AbortSignal): Promise<LogReader>;
  /** Reads without a consumer's identity, from `from` to the end as it stood at the call. Errors: `log_offset_gone`. */
  read(partition: number, from: Offset, signal: AbortSignal): AsyncIterable<LogBatch>;
  /** First offset that is still there, and the one after the last, of each partition. */
  ends(signal: AbortSignal): Promise<readonly LogEnds[]>;
  /** The queue of records that a sink could not apply. */
  deadLetters(consumer: string): DeadLetters;
  /** Names the consumers whose progress holds records back, so that what no sink needs can be freed. No more than a hint. */
  retain(consumers: readonly string[], signal: AbortSignal): Promise<void>;
  usage(signal: AbortSignal): Promise<LogUsage>;
  /** For `causeway check`: looks at what the pipeline needs of the log, and changes nothing. Absent where there is nothing to look at. */
  check?(expected: LogExpectation, signal: AbortSignal): Promise<readonly Finding[]>;
}

/** What was made before and has to be there. */
export type LogExpectation = {
  /** Null where that is not known, because the control store cannot be used. */
  readonly started: boolean | null;
  /** `known` as for `prepareConsumer`. */
  readonly consumers: readonly { readonly name: string; readonly known: boolean }[];
};

/** For status and metrics. */
export type LogUsage = {
  /** Null where the log does not tell. */
  readonly bytes: number | null;
  /** Null where there is no limit. */
  readonly bytesMax: number | null;
  /** True while an append of this process waits for room. */
  readonly stalled: boolean;
};

export type LogEnds = { readonly start: Offset; readonly end: Offset };

export interface LogWriter extends AsyncDisposable {
  /**
   * Resolves once every record is durable, with the offset that each partition's last record got. Records of one partition
   * keep their order. Nothing of a later call stands before an earlier one. Waits while the log is full (`usage` says `stalled`).
   * Errors: `log_full`, `log_damaged`, `log_unavailable` (nothing is known about the records: the caller ends its generation).
   * After any error, an abort too, this writer takes nothing more: what came later would stand behind a gap.
   */
  append(records: readonly EncodedRecord[], signal: AbortSignal): Promise<ReadonlyMap<number, Offset>>;
}

export interface LogReader extends AsyncDisposable {
  /** The partitions that this reader has, then each as it is given. The iteration ends only with the signal. */
  assignments(signal: AbortSignal): AsyncIterable<PartitionAssignment>;
}

export interface PartitionAssignment {
  readonly partition: number;
  /** Aborts when the partition is taken away. */
  readonly revoked: AbortSignal;
  /** What `commit` stored last for this consumer and partition; null where nothing was. */
  committed(signal: AbortSignal): Promise<LogProgress | null>;
  /** Pulls records from `from` on, waiting for new ones. Errors: `log_offset_gone`: never skipped, never reset. */
  batches(from: Offset, signal: AbortSignal): AsyncIterable<LogBatch>;
  /** Stores progress. Never falls, compared by pair; returns what is stored. */
  commit(progress: LogProgress, signal: AbortSignal): Promise<LogProgress>;
  /**
   * Lowers what is stored, for a sink that went back. Lower progress stays, and so does none. A log that frees what every consumer
   * has passed keeps everything from there on.
   */
  rewind(progress: LogProgress, signal: AbortSignal): Promise<void>;
}

/** A change that a sink refused for ever, with all that a replay needs. */
export type DeadLetter = {
  readonly key: RowKey;
  readonly sequence: Sequence;
  /** Code of the refusal, such as `value_refused` or `partial_without_base`. */
  readonly code: string;
  /** For people; never holds a value. */
  readonly reason: string;
  /** The log record, as it stood there. Null once a partial event has only marked the key. */
  readonly record: Uint8Array | null;
  readonly committedAtMicros: number;
};

/** `again`: taken although the queue has it as released, because the sink may have lost what released it. */
export type LetterToPark = DeadLetter & { readonly again?: boolean };

/** A key whose letter goes, unless a newer one than `sequence` was parked meanwhile. */
export type LetterRelease = {
  readonly key: RowKey;
  readonly sequence: Sequence;
  /**
   * The progress when what released the key took effect: a sink that goes back to it, or below, may have lost that. Null where
   * nothing took effect and the letter is given up.
   */
  readonly at: Offset | null;
  /** What the sink's count of replays was with the one that released the key; 0 where a record of the log did. */
  readonly replay: number;
};

export type ReleasedLetter = DeadLetter & Pick<LetterRelease, 'replay'>;

/** Of a sink's progress. */
export type ReleasedSince = { readonly offset: Offset; readonly replays: number };

/**
 * One letter a key, that of the greatest sequence. Anybody may read; whoever writes has to take the partition.
 */
export interface DeadLetters {
  /**
   * From then on nothing that an earlier holder of the partition sent, or sends, has an effect. Whoever reads the letters
   * afterwards knows all of them.
   */
  take(partition: number, signal: AbortSignal): Promise<HeldLetters>;
  /**
   * Letters that were released at `offset` or later, or by a replay that `replays` does not count, and not parked since: a sink that
   * goes on from there may have lost what released them. A released letter is kept for as long as the log still holds the offset `at`,
   * and one that a replay released until its partition's holder forgets it.
   */
  readReleased(partition: number, since: ReleasedSince, signal: AbortSignal): AsyncIterable<ReleasedLetter>;
  read(partition: number, signal: AbortSignal): AsyncIterable<DeadLetter>;
}

/**
 * What its holder writes to a partition's dead letters, one call after the other. A call takes effect before any later call of the
 * same holder or never, though it may have been answered with an error. Errors: `partition_fenced` (another one took the partition).
 */
export interface HeldLetters {
  /** Durable when it resolves. A letter that is older than the one of its key is passed over, and so is one that was released. */
  park(letters: readonly LetterToPark[], signal: AbortSignal): Promise<void>;
  /**
   * Durable when it resolves. A key without a letter is passed over, and so is one with a newer letter. Of one that was released
   * before, the greater `at` and `replay` stay.
   */
  release(releases: readonly LetterRelease[], signal: AbortSignal): Promise<void>;
  /** Removes what was released before the start of the log, if by a replay, by one of the first `replays`: the sink has those. */
  forget(replays: number, signal: AbortSignal): Promise<void>;
}
