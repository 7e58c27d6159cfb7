import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { parseRowKey } from '#core/key.ts';
import type { RowKey } from '#core/key.ts';
import type { DeadLetter, DeadLetters, HeldLetters, LetterRelease, ReleasedSince } from '#core/log.ts';
import { OFFSET_FIRST, type EpochMicros } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { ParkedStatus } from './observer.ts';

/** What is kept in memory of a parked key; its record stays in the queue. */
type ParkedKey = {
  /** Newest change of the key that did not take effect: only a whole one at or above it releases the key. */
  readonly sequence: Sequence;
  readonly letter: Omit<DeadLetter, 'record'>;
  /** The queue already says that a partial image came behind the letter, so that later ones need not be written. */
  readonly marked: boolean;
};

/** Counts the parked keys of a sink over its partitions. */
export class ParkingLimit {
  readonly keysMax: number;
  keys = 0;

  constructor(keysMax: number) {
    this.keysMax = keysMax;
  }
}

/** The parked keys of one partition: what stands in the sink's dead-letter queue, and what of it a worker has to know. */
export class ParkedKeys {
  readonly #partition: number;
  readonly #queue: DeadLetters;
  #held: HeldLetters | null = null;
  readonly #limit: ParkingLimit;
  readonly #keys = new Map<RowKey, ParkedKey>();
  /** Marks that are not in the queue yet. */
  readonly #unwritten = new Map<RowKey, DeadLetter>();
  /**
   * Released, by what the sink that is gone on from may have lost. The queue has them as released.
   * They do not count: more of them can have been parked one after the other than ever were at once.
   */
  readonly #restored = new Set<RowKey>();
  #counted = 0;
  #replays = 0;
  #since: ReleasedSince = { offset: OFFSET_FIRST, replays: 0 };

  constructor(input: { readonly partition: number; readonly queue: DeadLetters; readonly limit: ParkingLimit }) {
    this.#partition = input.partition;
    this.#queue = input.queue;
    this.#limit = input.limit;
  }

  get size(): number {
    return this.#keys.size;
  }

  /** Keys whose partial image found no row, with their newest sequence that did not take effect: only a repair releases them by itself. */
  awaitingBase(): ReadonlyMap<RowKey, Sequence> {
    const found = new Map<RowKey, Sequence>();
    for (const [key, { sequence, letter }] of this.#keys) {
      if (letter.code === 'partial_without_base' && !this.#restored.has(key)) found.set(key, sequence);
    }
    return found;
  }

  get hasUnwritten(): boolean {
    return this.#unwritten.size > 0;
  }

  /** The greatest number of a replay whose letters were met as released, at the start; 0 where none was. */
  get replays(): number {
    return this.#replays;
  }

  /** The newest sequence of the key that did not take effect; undefined for a key that is not parked. */
  sequenceOf(key: RowKey): Sequence | undefined {
    return this.#keys.size === 0 ? undefined : this.#keys.get(key)?.sequence;
  }

  /** Called once, after the partition was taken and before its first batch, with the progress that the sink goes on from. */
  async load(since: ReleasedSince, signal: AbortSignal): Promise<void> {
    this.forget();
    this.#since = since;
    // First: a letter that an earlier worker sent and that came after they were read would stay for ever.
    const held = await this.#queue.take(this.#partition, signal);
    this.#held = held;
    await held.forget(since.replays, signal);
    for await (const letter of this.#queue.read(this.#partition, signal)) this.#set(letter, letter.record === null);
    for await (const letter of this.#queue.readReleased(this.#partition, since, signal)) {
      this.#replays = Math.max(this.#replays, letter.replay);
      if (this.#keys.has(letter.key)) continue;
      this.#restored.add(letter.key);
      this.#set(letter, letter.record === null);
    }
    this.#count();
  }

  /** The letters of keys that the queue has as released, as they stand there. */
  async restored(signal: AbortSignal): Promise<readonly DeadLetter[]> {
    const found: DeadLetter[] = [];
    if (this.#restored.size === 0) return found;
    for await (const letter of this.#queue.readReleased(this.#partition, this.#since, signal)) {
      if (this.#restored.has(letter.key)) found.push(letter);
    }
    return found;
  }

  /** Leaves the limit's count without the keys of this partition; the queue keeps them. */
  forget(): void {
    this.#keys.clear();
    this.#restored.clear();
    this.#unwritten.clear();
    this.#replays = 0;
    this.#count();
  }

  /** A partial image came for a parked key: it cannot be applied by itself any more, not even by a replay. */
  mark(change: { readonly key: RowKey; readonly sequence: Sequence }): void {
    const parked = this.#keys.get(change.key);
    if (parked === undefined || change.sequence <= parked.sequence) return;
    const sequence = detached(change.sequence);
    const letter: DeadLetter = { ...parked.letter, sequence, record: null };
    this.#keys.set(change.key, { ...parked, sequence, marked: true });
    if (!parked.marked) this.#unwritten.set(change.key, letter);
  }

  /** Durable when it resolves. Errors: `partition_fenced`; `parked_keys_max`, with nothing parked. May be called again after an error. */
  async park(letters: readonly DeadLetter[], signal: AbortSignal): Promise<void> {
    const newer = letters.filter((letter) => (this.sequenceOf(letter.key) ?? '') <= letter.sequence);
    const added = newer.filter(({ key }) => !this.#keys.has(key) || this.#restored.has(key)).length;
    if (this.#limit.keys + added > this.#limit.keysMax) {
      throw new CausewayError(
        'parked_keys_max',
        `${this.#limit.keys} keys are parked and ${added} more would be: more than deadLetter.parkedKeysMax (${this.#limit.keysMax})`,
      );
    }
    const given = newer.map((letter) => (this.#restored.has(letter.key) ? { ...letter, again: true } : letter));
    if (given.length > 0) await this.#mine.park(given, signal);
    for (const letter of newer) {
      this.#unwritten.delete(letter.key);
      this.#restored.delete(letter.key);
      this.#set(letter, letter.record === null);
    }
    this.#count();
  }

  /** Writes the marks that are not durable yet. */
  async writeMarks(signal: AbortSignal): Promise<void> {
    if (this.#unwritten.size === 0) return;
    await this.#mine.park([...this.#unwritten.values()], signal);
    for (const key of this.#unwritten.keys()) this.#restored.delete(key);
    this.#unwritten.clear();
    this.#count();
  }

  /** Durable when it resolves. What another worker parked of a key since, this one knows nothing of: that stays in the queue. */
  async release(keys: readonly RowKey[], how: Pick<LetterRelease, 'at' | 'replay'>, signal: AbortSignal): Promise<void> {
    const releases = keys.flatMap((key) => {
      const sequence = this.sequenceOf(key);
      return sequence === undefined ? [] : [{ key, sequence, ...how }];
    });
    if (releases.length === 0) return;
    await this.#mine.release(releases, signal);
    for (const key of keys) {
      this.#keys.delete(key);
      this.#restored.delete(key);
      this.#unwritten.delete(key);
    }
    this.#count();
  }

  /** Keys whose changes are all at or below their table's floor. */
  below(isBelowFloor: (table: TableId, sequence: Sequence) => boolean): RowKey[] {
    const found: RowKey[] = [];
    for (const [key, parked] of this.#keys) if (isBelowFloor(parseRowKey(key).table, parked.sequence)) found.push(key);
    return found;
  }

  /** The letters as they stand in the queue, of these keys or of all. A key that was released in between is not there. */
  async letters(keys: readonly RowKey[] | null, signal: AbortSignal): Promise<readonly DeadLetter[]> {
    const wanted = keys === null ? null : new Set(keys);
    const found: DeadLetter[] = [];
    for await (const letter of this.#queue.read(this.#partition, signal)) {
      if (!this.#keys.has(letter.key) || (wanted !== null && !wanted.has(letter.key))) continue;
      found.push(letter);
    }
    return found;
  }

  status(): ParkedStatus {
    let oldest: ParkedKey['letter'] | null = null;
    for (const { letter } of this.#keys.values()) if (oldest === null || letter.sequence < oldest.sequence) oldest = letter;
    return {
      keys: this.#keys.size,
      awaitingRepair: this.awaitingBase().size,
      oldestSequence: oldest?.sequence ?? null,
      oldestCommittedAt: oldest === null ? null : (oldest.committedAtMicros as EpochMicros),
    };
  }

  get #mine(): HeldLetters {
    return present(this.#held, 'dead letters that were taken');
  }

  #set(letter: DeadLetter, marked: boolean): void {
    const { record: _, ...rest } = letter;
    const kept = { ...rest, key: detached(letter.key), sequence: detached(letter.sequence) };
    this.#keys.set(kept.key, { sequence: kept.sequence, letter: kept, marked });
  }

  #count(): void {
    const counted = this.#keys.size - this.#restored.size;
    this.#limit.keys += counted - this.#counted;
    this.#counted = counted;
  }
}

/** A copy of a text that may be a piece of a record's, which stays in memory as a whole for as long as the piece does. */
function detached<T extends string>(text: T): T {
  return JSON.parse(JSON.stringify(text)) as T;
}
