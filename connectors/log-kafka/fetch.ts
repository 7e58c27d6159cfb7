import { CausewayError } from '#core/errors.ts';
import type { LogBatch, StoredRecord } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import { checkDense, checkWhole, continued, isOutside, offsetGone, type Place, STALE_MS } from './continuity.ts';
import { kafkaError } from './errors.ts';
import { errorOf, fetchFrom, type FetchedPartition } from './kafkajs-internals.ts';
import { BatchDamage, rawBatches, recordsOf, type RawBatch } from './record-batch.ts';
import { isMissing, passes, type TopicBrokers, waitMs } from './topic-brokers.ts';

/** Of one partition in one answer. A single batch may be larger, and comes whole. */
export const PARTITION_BYTES = 1024 * 1024;
export const ANSWER_BYTES = 8 * 1024 * 1024;
/** What is fetched ahead of a partition's reader, packed as it came. More is asked for once half of it was taken. */
const AHEAD_BYTES_MAX = 1024 * 1024;
const AHEAD_BATCHES_MAX = 4_096;
/** A partition that is followed anew waits for the answer that is on its way. */
const LONG_POLL_MS = 500;
/** After an answer without records: most of what an idle reader costs is its requests. While changes flow, watermarks come sooner. */
const IDLE_POLL_MS = 2_000;
/** While a partition waits for room it is not asked for, and must not wait for long once it has some. */
const SHORT_POLL_MS = 20;
/** A leader that was followed by another and has not heard of it goes on to answer that there is nothing more. */
const LOOK_AROUND_MS = 5_000;
/** What is unpacked and given at once. */
const PAGE_BYTES = 64 * 1024;
/** A topic that was just made, or a broker that just started, may not know it at first. */
const MISSING_MS = 10_000;

const OFFSET_OUT_OF_RANGE = 1;

/** One partition that is read from an offset on. */
type Followed = {
  readonly partition: number;
  readonly batches: RawBatch[];
  bytes: number;
  /** Where the next answer has to begin. */
  next: number;
  /** False from when it is full until half of it was taken. */
  hasRoom: boolean;
  /** Since when the log ends before `next`; null where it does not. */
  beyondSinceMs: number | null;
  failure: { readonly error: unknown } | null;
  wake: (() => void) | null;
};

/**
 * Follows any number of partitions of one topic: one request to each broker at a time, for all the partitions that it leads and that
 * have room. Whatever passes by itself is ridden out for as long as it lasts, from the same offset.
 */
export class Fetcher {
  readonly #brokers: TopicBrokers;
  readonly #topic: string;
  readonly #runtime: Runtime;
  readonly #logger: Logger;
  readonly #closed: AbortSignal;
  readonly #followed = new Set<Followed>();
  /** Brokers with a request on its way, or that are left alone for a moment; null for partitions without a leader. */
  readonly #busy = new Map<number | null, Promise<void>>();
  /** Brokers whose last answer had no records. */
  readonly #quiet = new Set<number | null>();
  #failures = 0;
  #missingSinceMs: number | null = null;
  #lookedAroundMs: number;
  #looking: Promise<void> = Promise.resolve();

  constructor(
    parts: { readonly brokers: TopicBrokers; readonly topic: string; readonly runtime: Runtime; readonly logger: Logger },
    closed: AbortSignal,
  ) {
    this.#brokers = parts.brokers;
    this.#topic = parts.topic;
    this.#runtime = parts.runtime;
    this.#logger = parts.logger;
    this.#closed = closed;
    this.#lookedAroundMs = parts.runtime.monotonicMs();
    closed.addEventListener('abort', () => this.#failAll(closed.reason), { once: true });
  }

  /** Pulls a partition's records from `from` on, waiting for new ones. Errors: `log_offset_gone`, `log_damaged`, and what does not pass. */
  async *follow(partition: number, from: Offset, signal: AbortSignal): AsyncIterable<LogBatch> {
    const place = { topic: this.#topic, partition };
    const followed: Followed = {
      partition,
      batches: [],
      bytes: 0,
      next: from,
      hasRoom: true,
      beyondSinceMs: null,
      failure: null,
      wake: null,
    };
    const wake = (): void => followed.wake?.();
    signal.addEventListener('abort', wake);
    this.#followed.add(followed);
    let next: number = from;
    try {
      this.#ask();
      while (true) {
        await arrival(followed, signal);
        const taken = takePage(followed);
        // More comes while this is worked on.
        this.#ask();
        const page = await unpacked(place, taken, next);
        next = page.next;
        if (page.records.length > 0) yield { partition, records: page.records };
        if (page.failure !== null) throw page.failure.error;
        signal.throwIfAborted();
      }
    } finally {
      this.#followed.delete(followed);
      signal.removeEventListener('abort', wake);
    }
  }

  /** Resolves when nothing is on its way any more, which it soon is once the signal has aborted. */
  async settled(): Promise<void> {
    await Promise.all([...this.#busy.values(), this.#looking]);
  }

  /** Sends what can be sent now. */
  #ask(): void {
    if (this.#closed.aborted) return;
    const partitions = [...new Set([...this.#followed].map(({ partition }) => partition))];
    for (const [leader, led] of this.#brokers.leaders(this.#topic, partitions)) {
      if (this.#busy.has(leader)) continue;
      // A partition can be followed twice; a request names it once.
      const all = [...this.#followed].filter(({ partition }) => led.includes(partition));
      const wanted = [...new Map(all.filter((one) => one.hasRoom && one.failure === null).map((one) => [one.partition, one])).values()];
      if (wanted.length === 0) continue;
      const longMs = this.#quiet.has(leader) ? IDLE_POLL_MS : LONG_POLL_MS;
      const pollMs = wanted.length === all.length ? longMs : SHORT_POLL_MS;
      const turn = this.#turn(leader, wanted, pollMs).finally(() => {
        this.#busy.delete(leader);
        this.#ask();
      });
      this.#busy.set(leader, turn);
    }
  }

  async #turn(leader: number | null, wanted: readonly Followed[], pollMs: number): Promise<void> {
    try {
      if (leader === null) throw new CausewayError('log_unavailable', `a partition of the topic ${this.#topic} has no leader`);
      const broker = await this.#brokers.cluster.findBroker({ nodeId: leader });
      const request = wanted.map(({ partition, next: from }) => {
        return { partition, epoch: this.#brokers.epoch(this.#topic, partition), from, bytesMax: PARTITION_BYTES };
      });
      let failed: Error | null = null;
      try {
        const { partitions: answers } = await fetchFrom(broker, {
          topic: this.#topic,
          partitions: request,
          waitMs: pollMs,
          bytesMax: ANSWER_BYTES,
        });
        if (answers.some(({ bytes }) => bytes.length > 0)) this.#quiet.delete(leader);
        else this.#quiet.add(leader);
        const byPartition = new Map(answers.map((answer) => [answer.partition, answer]));
        for (const followed of wanted) failed = (await this.#take(followed, byPartition.get(followed.partition))) ?? failed;
      } catch (error) {
        // Nothing else is sent on a connection whose answers may be late.
        await broker.disconnect();
        throw error;
      }
      if (failed !== null) throw failed;
      this.#succeeded();
      this.#lookAround();
    } catch (error) {
      if (this.#closed.aborted) return;
      await this.#failed(error, wanted);
    }
  }

  /** Returns what keeps the partition from being read now; what ends its reading stays with it. */
  async #take(followed: Followed, answer: FetchedPartition | undefined): Promise<Error | null> {
    if (answer === undefined)
      return new CausewayError('log_unavailable', `a broker left partition ${followed.partition} out of its answer`);
    if (answer.errorCode === OFFSET_OUT_OF_RANGE) return this.#outOfRange(followed);
    if (answer.errorCode !== 0) return errorOf(answer.errorCode);
    try {
      const { batches, next } = continued(rawBatches(answer.bytes), followed.next);
      followed.next = next;
      followed.beyondSinceMs = null;
      for (const batch of batches) {
        followed.batches.push(batch);
        followed.bytes += batch.bytes.length;
      }
    } catch (error) {
      if (!(error instanceof BatchDamage)) throw error;
      fail(followed, damaged({ topic: this.#topic, partition: followed.partition }, error));
    }
    followed.hasRoom = followed.bytes < AHEAD_BYTES_MAX && followed.batches.length < AHEAD_BATCHES_MAX;
    if (followed.batches.length > 0) followed.wake?.();
    return null;
  }

  /** A broker that no longer leads, or does not know yet how far the partition goes, says it too: the ends decide. */
  async #outOfRange(followed: Followed): Promise<Error | null> {
    const { partition, next } = followed;
    const ends = (await this.#brokers.ends(this.#topic, [partition])).get(partition);
    if (ends === undefined || !isOutside(next, ends)) return errorOf(OFFSET_OUT_OF_RANGE);
    followed.beyondSinceMs ??= this.#runtime.monotonicMs();
    const isStale = this.#runtime.monotonicMs() - followed.beyondSinceMs < STALE_MS;
    if (next > ends.end && isStale) return errorOf(OFFSET_OUT_OF_RANGE);
    fail(followed, offsetGone({ topic: this.#topic, partition }, next, ends));
    return null;
  }

  #succeeded(): void {
    this.#missingSinceMs = null;
    if (this.#failures === 0) return;
    this.#failures = 0;
    this.#logger.log('info', 'the log can be read again', { topic: this.#topic });
  }

  /** While nothing waits for it: its answers come behind the polls that are on their way. */
  #lookAround(): void {
    const nowMs = this.#runtime.monotonicMs();
    if (nowMs - this.#lookedAroundMs < LOOK_AROUND_MS) return;
    this.#lookedAroundMs = nowMs;
    const looking = this.#brokers.refresh(this.#topic).then(
      () => this.#ask(),
      // Whoever is known is asked on.
      () => undefined,
    );
    this.#looking = looking;
  }

  async #failed(error: unknown, wanted: readonly Followed[]): Promise<void> {
    const { code, message } = kafkaError(error);
    const nowMs = this.#runtime.monotonicMs();
    const missing = isMissing(error);
    if (missing) this.#missingSinceMs ??= nowMs;
    const isGone = this.#missingSinceMs !== null && nowMs - this.#missingSinceMs > MISSING_MS;
    const outOfRange = code === 'log_offset_gone';
    if ((!passes(error) && !missing && !outOfRange) || isGone) {
      for (const followed of wanted) fail(followed, kafkaError(error));
      return;
    }
    // Once is a leader that moved.
    if (this.#failures === 1) this.#logger.log('warn', 'the log cannot be read now: trying on', { topic: this.#topic, code, message });
    this.#failures += 1;
    try {
      await this.#runtime.sleep(waitMs(this.#runtime, this.#failures), this.#closed);
      await this.#brokers.refresh(this.#topic);
    } catch {
      // The next turn meets the same, or what came of it.
    }
  }

  #failAll(error: unknown): void {
    for (const followed of this.#followed) fail(followed, error);
  }
}

function fail(followed: Followed, error: unknown): void {
  followed.failure ??= { error };
  followed.wake?.();
}

/** Resolves when there is something to take. Throws what ends the reading once nothing is left before it. */
async function arrival(followed: Followed, signal: AbortSignal): Promise<void> {
  while (true) {
    signal.throwIfAborted();
    if (followed.batches.length > 0) return;
    if (followed.failure !== null) throw followed.failure.error;
    await new Promise<void>((resolve) => {
      followed.wake = resolve;
    });
    followed.wake = null;
  }
}

function takePage(followed: Followed): readonly RawBatch[] {
  const page: RawBatch[] = [];
  for (let bytes = 0; bytes < PAGE_BYTES;) {
    const batch = followed.batches.shift();
    if (batch === undefined) break;
    page.push(batch);
    bytes += batch.bytes.length;
    followed.bytes -= batch.bytes.length;
  }
  if (followed.bytes <= AHEAD_BYTES_MAX / 2 && followed.batches.length <= AHEAD_BATCHES_MAX / 2) followed.hasRoom = true;
  return page;
}

/** Also what stands before a failure. */
async function unpacked(
  place: Place,
  batches: readonly RawBatch[],
  from: number,
): Promise<{ readonly records: readonly StoredRecord[]; readonly next: number; readonly failure: { readonly error: unknown } | null }> {
  const records: StoredRecord[] = [];
  let next = from;
  try {
    for (const batch of batches) {
      for (const record of await logRecords(place, batch, next)) records.push(record);
      next = batch.lastOffset + 1;
    }
    return { records, next, failure: null };
  } catch (error) {
    return { records, next, failure: { error: error instanceof BatchDamage ? damaged(place, error) : error } };
  }
}

/** The records of a batch from `next` on. A marker of a foreign transaction has none. */
export async function logRecords(place: Place, batch: RawBatch, next: number): Promise<readonly StoredRecord[]> {
  checkDense(place, batch, next);
  if (batch.isControl) return [];
  const records = await recordsOf(batch);
  checkWhole(place, batch, records.length);
  return records.flatMap(({ offset, key, value }) =>
    offset < next ? [] : [{ offset: offset as Offset, key: key?.toString() ?? null, value: value ?? new Uint8Array() }],
  );
}

export function damaged({ topic, partition }: Place, cause: BatchDamage): CausewayError {
  return new CausewayError('log_damaged', `partition ${partition} of the topic ${topic} is damaged: ${cause.message}`, { cause });
}
