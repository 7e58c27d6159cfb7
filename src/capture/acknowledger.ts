import { assert } from '#core/assert.ts';
import type { Position } from '#core/position.ts';

/**
 * Decides what the source may be told to forget: the end of the longest prefix, in commit order, of transactions whose
 * records are durable in the log. Knows nothing of the log or the source; records are counted in the order in which they
 * are handed to the log.
 */
export class Acknowledger {
  readonly #compare: (a: Position, b: Position) => number;
  /** Whole transactions that wait for records of theirs, in commit order; those before `#head` are done. */
  readonly #waiting: { readonly position: Position; readonly commit: bigint; readonly records: number }[] = [];
  #head = 0;
  #durable = 0;
  #position: Position | null = null;
  #commit: bigint | null = null;

  constructor(comparePositions: (a: Position, b: Position) => number) {
    this.#compare = comparePositions;
  }

  /** What may be stored and then acknowledged; null before anything is. Never falls. */
  get position(): Position | null {
    return this.#position;
  }

  /** Commit part of the last whole transaction at or below `position`; null before the first. */
  get commit(): bigint | null {
    return this.#commit;
  }

  /** A transaction ended; `records` were handed to the log up to and including its own, since the generation began. */
  committed(transaction: { readonly position: Position; readonly commit: bigint; readonly records: number }): void {
    const last = this.#waiting.at(-1);
    assert(last === undefined || last.records <= transaction.records, 'records are counted in the order of the log');
    this.#waiting.push(transaction);
    this.#advance();
  }

  /**
   * The source's log was read up to here, outside of any transaction. Counts only where nothing received waits; otherwise it
   * is forgotten, and a later one counts.
   */
  keepalive(position: Position): void {
    if (this.#head === this.#waiting.length) this.#raise(position);
  }

  /** The first `records` records that were handed to the log since the generation began are durable. */
  durable(records: number): void {
    assert(records >= this.#durable, 'what is durable stays so');
    this.#durable = records;
    this.#advance();
  }

  #advance(): void {
    const waiting = this.#waiting;
    while (this.#head < waiting.length) {
      const next = waiting[this.#head];
      if (next === undefined || next.records > this.#durable) break;
      this.#raise(next.position);
      if (this.#commit === null || next.commit > this.#commit) this.#commit = next.commit;
      this.#head += 1;
    }
    // Removed in one piece now and then: shifting one by one costs time that grows with the queue.
    if (this.#head === waiting.length || this.#head > 4_096) {
      waiting.splice(0, this.#head);
      this.#head = 0;
    }
  }

  #raise(position: Position): void {
    if (this.#position === null || this.#compare(position, this.#position) > 0) this.#position = position;
  }
}
