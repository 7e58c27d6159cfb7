import type { Epoch, EpochMicros, MonoMs, Position } from '#core/position.ts';
import type { WatermarkRecord } from '#core/record.ts';
import { decodeSequence, watermarkSequence, type Sequence } from '#core/sequence.ts';
import type { Mark } from './encoded-batch.ts';

/** Whoever asks at regular times asks a little early or late. */
const EARLY_MS = 50;

/**
 * Knows what stands whole in front of the next record, and when a watermark is due. A watermark tells of it in every
 * partition: everything at or below its sequence stands before it.
 */
export class Watermarks {
  readonly #epoch: Epoch;
  readonly #intervalMs: number;
  readonly #idleIntervalMs: number;
  #commit: bigint;
  #position: Position;
  #sourceTime: EpochMicros | null = null;
  #flowed = false;
  #large = false;
  #awaited = false;
  #emittedAt: MonoMs | null = null;

  constructor(input: {
    readonly epoch: Epoch;
    /** What stands whole in the log before this generation. */
    readonly sequence: Sequence | null;
    readonly position: Position;
    readonly intervalMs: number;
    readonly idleIntervalMs: number;
  }) {
    this.#epoch = input.epoch;
    this.#commit = input.sequence === null ? 0n : decodeSequence(input.sequence).commit;
    this.#position = input.position;
    this.#intervalMs = input.intervalMs;
    this.#idleIntervalMs = input.idleIntervalMs;
  }

  get sourceTime(): EpochMicros | null {
    return this.#sourceTime;
  }

  /** A transaction was handed to the log whole. One that is sent again, because it was not acknowledged, moves nothing back. */
  committed(mark: Mark & { readonly tag: 'commit' }): void {
    if (mark.commit >= this.#commit) {
      this.#commit = mark.commit;
      this.#position = mark.position;
    }
    if (this.#sourceTime === null || mark.committedAt > this.#sourceTime) this.#sourceTime = mark.committedAt;
  }

  changesFlowed(largeTransaction: boolean): void {
    this.#flowed = true;
    if (largeTransaction) this.#large = true;
  }

  /** Somebody waits for the next one. */
  awaited(): void {
    this.#awaited = true;
  }

  /** Null while nothing is due, and before the first transaction of this generation has told the source's time. */
  due(now: MonoMs): WatermarkRecord | null {
    if (this.#sourceTime === null) return null;
    const sinceMs = this.#emittedAt === null ? Number.POSITIVE_INFINITY : now - this.#emittedAt;
    const intervalMs = this.#flowed ? this.#intervalMs : this.#idleIntervalMs;
    if (!this.#large && !this.#awaited && sinceMs < intervalMs - EARLY_MS) return null;
    this.#emittedAt = now;
    this.#flowed = false;
    this.#large = false;
    this.#awaited = false;
    return {
      tag: 'watermark',
      sequence: watermarkSequence(this.#epoch, this.#commit),
      position: this.#position,
      sourceTime: this.#sourceTime,
      requestId: null,
    };
  }
}
