import { codeOf, policyFor } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { DeadLetter } from '#core/log.ts';
import type { ChangeRecord, Envelope } from '#core/record.ts';
import type { RowChange, RowOutcome } from '#core/sink.ts';
import type { FoldedChange } from './coalesce.ts';
import type { SinkContext } from './context.ts';
import type { ParkedKeys } from './dead-letter.ts';
import { replayOf } from './replay.ts';
import type { DeadLetterAnswer, DeadLetterTask } from './requests.ts';
import type { Ride } from './ride-out.ts';
import type { Standing } from './standing.ts';

type ParkingInput = {
  readonly context: SinkContext;
  readonly parked: ParkedKeys;
  readonly standing: Standing;
  readonly kill: AbortSignal;
  readonly ride: Ride;
  /** Writes rows of distinct keys to the sink, between batches. */
  readonly write: (rows: readonly RowChange[]) => Promise<readonly RowOutcome[]>;
};

/** How a change that was published without its values begins to say why. */
const WITHHELD_CODES = ['value_unreadable', 'partial_without_base', 'record_too_large'] as const;

/** Parks and releases keys of one partition, durably before its progress passes what caused it. */
export class Parking {
  readonly #input: ParkingInput;

  constructor(input: ParkingInput) {
    this.#input = input;
  }

  async park(letters: readonly DeadLetter[]): Promise<void> {
    if (letters.length === 0) return;
    const { context, parked, kill, ride } = this.#input;
    await ride(() => parked.park(letters, kill));
    for (const [code, ofCode] of Map.groupBy(letters, (letter) => letter.code)) {
      context.deps.observer.parked({ code, keys: ofCode.length });
      context.deps.logger.log('warn', 'parked keys whose values the sink refuses: see `causeway dlq list`', {
        code,
        keys: ofCode.length,
        sequence: ofCode[0]?.sequence,
      });
    }
  }

  /** A change that capture had to publish without its values. */
  async parkWithheld(record: Envelope & ChangeRecord, bytes: Uint8Array): Promise<void> {
    const { key, sequence } = record;
    const reason = record.withheld ?? '';
    const code = WITHHELD_CODES.find((known) => reason.startsWith(known)) ?? 'record_too_large';
    await this.park([{ key, sequence, code, reason, record: bytes, committedAtMicros: record.committedAt }]);
  }

  letterOf(each: FoldedChange, outcome: RowOutcome & { readonly tag: 'rejected' }): DeadLetter {
    const { record, change } = each;
    // A merged image stands in no record of the log; written anew it is what the sink refused, and can be replayed.
    const row = change.tag === 'delete' ? null : change.row;
    const bytes = each.bytes ?? this.#input.context.deps.codec.encode({ ...record, row }, change.schema);
    const { key, sequence } = change;
    return { key, sequence, code: outcome.code, reason: outcome.reason, record: bytes, committedAtMicros: each.committedAt };
  }

  async release(keys: readonly RowKey[], how: 'applied' | 'floor' | 'replayed' | 'discarded'): Promise<void> {
    if (keys.length === 0) return;
    const { context, parked, kill, ride } = this.#input;
    await ride(() => parked.release(keys, kill));
    context.deps.observer.released({ how, keys: keys.length });
  }

  async releaseBelowFloors(): Promise<void> {
    const { parked, standing } = this.#input;
    const below = parked.below((table, sequence) => standing.isBelowFloor(table, sequence));
    await this.release(below, 'floor');
  }

  /** Answers a request for this partition. Only between batches: a replay is a write of its key like any other. */
  async handle(task: DeadLetterTask): Promise<DeadLetterAnswer> {
    const { context, parked, standing, kill, ride } = this.#input;
    const kept = new Map<string, number>();
    const keep = (code: string): void => void kept.set(code, (kept.get(code) ?? 0) + 1);
    const released: RowKey[] = [];
    const rows: RowChange[] = [];
    for (const letter of await ride(() => parked.letters(task.keys, kill))) {
      const replay = task.kind === 'dlq-discard' ? ({ tag: 'release' } as const) : replayOf(letter, context, standing);
      if (replay.tag === 'apply') rows.push(replay.change);
      else if (replay.tag === 'release') released.push(letter.key);
      else keep(replay.code);
    }
    const { batchRowsMax } = context.deps.sink.limits;
    for (let from = 0; from < rows.length; from += batchRowsMax) {
      const batch = rows.slice(from, from + batchRowsMax);
      for (const [index, refusal] of (await this.#replay(batch)).entries()) {
        const key = batch[index]?.key;
        if (refusal !== null) keep(refusal);
        else if (key !== undefined) released.push(key);
      }
    }
    await this.release(released, task.kind === 'dlq-discard' ? 'discarded' : 'replayed');
    return { released: released.length, kept: Object.fromEntries(kept) };
  }

  /**
   * The code of each row's refusal, or null. A table that does not take the rows of an older version any more refuses them too: were
   * that to stop the sink, the request would meet it at every start.
   */
  async #replay(rows: readonly RowChange[]): Promise<readonly (string | null)[]> {
    try {
      const outcomes = await this.#input.write(rows);
      return outcomes.map((outcome) => (outcome.tag === 'rejected' ? outcome.code : null));
    } catch (error) {
      const code = codeOf(error);
      if (policyFor(code).retry !== 'manual') throw error;
      if (rows.length === 1) return [code];
      const refusals: (string | null)[] = [];
      for (const row of rows) refusals.push(...(await this.#replay([row])));
      return refusals;
    }
  }
}
