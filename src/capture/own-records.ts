import { present } from '#core/assert.ts';
import type { Codec } from '#core/codec.ts';
import { CausewayError, codeOf } from '#core/errors.ts';
import type { Log, LogBatch, LogEnds } from '#core/log.ts';
import { offsetOf, type Offset } from '#core/position.ts';
import type { Envelope } from '#core/record.ts';
import type { CheckpointOwner } from './checkpoint.ts';

export type Appended = {
  /** Of each partition's last record in the append. */
  readonly offsets: ReadonlyMap<number, Offset>;
  /** The partitions' counters at the end of it. */
  readonly counters: readonly number[];
};

type Gap = { readonly partition: number; readonly from: number; readonly end: number };

const HOLDER_SHORT = 8;

/** The holder as its records name it. */
export function shortHolder(holder: string): string {
  return holder.slice(0, HOLDER_SHORT);
}

/**
 * Knows where the records of this generation stand in the log, and looks at what stands between them. The fence in the checkpoint
 * goes when the control store goes back: a superseded holder then finds itself as the holder again, and what it adds behind its
 * successor's opening counts for nothing (C6), though it could be acknowledged. The log does not go back with it. A generation's
 * first record in a partition is its opening, and one that stands in front of an own record leaves a gap between two own offsets.
 */
export class OwnRecords {
  readonly #log: Log;
  readonly #codec: Codec;
  readonly #owner: CheckpointOwner;
  /** Of each partition, the offset behind the last own record, or behind what was read before the first. */
  readonly #ends: number[];
  #counters: readonly number[];

  constructor(input: {
    readonly log: Log;
    readonly codec: Codec;
    readonly owner: CheckpointOwner;
    /** As they were when the tail was read, before the opening. */
    readonly ends: readonly LogEnds[];
  }) {
    this.#log = input.log;
    this.#codec = input.codec;
    this.#owner = input.owner;
    this.#ends = input.ends.map(({ end }) => end);
    this.#counters = input.ends.map(() => 0);
  }

  /**
   * Before an append counts as durable. Null where its records follow on the own ones before: nothing is read then, and no turn is
   * lost. Errors: `fenced` and `generation_behind` where somebody else opened a generation in front of them, `log_truncated` where
   * the log has become shorter.
   */
  appended({ offsets, counters }: Appended, signal: AbortSignal): Promise<void> | null {
    let gaps: Gap[] | null = null;
    for (const [partition, offset] of offsets) {
      const from = present(this.#ends[partition], 'end of the partition');
      const expected = from + (counters[partition] ?? 0) - (this.#counters[partition] ?? 0);
      const end = offset + 1;
      if (end < expected) throw truncated(partition, { end, expected });
      if (end > expected) (gaps ??= []).push({ partition, from, end });
      this.#ends[partition] = end;
    }
    this.#counters = counters;
    return gaps === null ? null : this.#look(gaps, signal);
  }

  /** Before the slot is taken again, which whoever took over has by then: also one that has nothing to append finds out. */
  async lookBehind(ends: readonly LogEnds[], signal: AbortSignal): Promise<void> {
    const gaps = ends.map(({ end }, partition) => ({ partition, from: present(this.#ends[partition], 'end of the partition'), end }));
    await this.#look(
      gaps.filter(({ from, end }) => end > from),
      signal,
    );
  }

  async #look(gaps: readonly Gap[], signal: AbortSignal): Promise<void> {
    for (const gap of gaps) {
      for await (const { records } of readGap(this.#log, gap, signal)) {
        for (const { key, value } of records) {
          // A change has a key. No generation begins with one, and it could not be decoded without its schema.
          if (key === null) this.#assertNotSuperseded(this.#codec.decode(value, NO_SCHEMAS), gap.partition);
        }
      }
    }
  }

  /** Records of older generations, and own ones that a log took twice, change nothing. */
  #assertNotSuperseded({ generation, holder }: Envelope, partition: number): void {
    const own = this.#owner;
    if (generation > own.generation) {
      throw new CausewayError(
        'fenced',
        `generation ${generation} stands in partition ${partition} of the log, above our own ${own.generation}`,
      );
    }
    if (generation === own.generation && holder !== shortHolder(own.holder)) {
      throw new CausewayError(
        'generation_behind',
        `generation ${generation} was given out twice: another holder's records stand in partition ${partition} of the log; ` +
          `run \`causeway lease raise --above ${generation}\``,
      );
    }
  }
}

const NO_SCHEMAS = new Map<never, never>();

/** What is freed before it was looked at proves nothing: the next generation reads the log anew. Errors: `log_unavailable`. */
async function* readGap(log: Log, { partition, from, end }: Gap, signal: AbortSignal): AsyncIterable<LogBatch> {
  let reached = from;
  try {
    for await (const batch of log.read(partition, offsetOf(from), signal)) {
      yield batch;
      reached = (batch.records.at(-1)?.offset ?? reached - 1) + 1;
      if (reached >= end) return;
    }
  } catch (error) {
    if (codeOf(error) !== 'log_offset_gone') throw error;
    throw unread(partition, { reached, end, cause: error });
  }
  throw unread(partition, { reached, end, cause: null });
}

function unread(partition: number, at: { readonly reached: number; readonly end: number; readonly cause: unknown }): CausewayError {
  const text = `partition ${partition} could not be read from offset ${at.reached} to ${at.end}, where records stand between our own`;
  return new CausewayError('log_unavailable', text, { cause: at.cause });
}

function truncated(partition: number, at: { readonly end: number; readonly expected: number }): CausewayError {
  return new CausewayError(
    'log_truncated',
    `partition ${partition} of the log ends at offset ${at.end} behind an append; the records before it and its own end at ${at.expected}`,
  );
}
