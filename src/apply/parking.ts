import { brokenInvariantIn, present } from '#core/assert.ts';
import { codeOf, policyFor } from '#core/errors.ts';
import { parseRowKey, type RowKey } from '#core/key.ts';
import type { DeadLetter } from '#core/log.ts';
import { OFFSET_FIRST, offsetOf, type Offset } from '#core/position.ts';
import type { ChangeRecord, Envelope } from '#core/record.ts';
import type { TableId } from '#core/schema.ts';
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
  /** Everything before it took effect. */
  readonly done: () => Offset;
  readonly kill: AbortSignal;
  readonly ride: Ride;
  /** Brings the standing to the sink, between batches, which says whether the partition is still held. Errors: `partition_fenced`, `sink_went_back`. */
  readonly confirm: () => Promise<void>;
  /** Writes rows of distinct keys to the sink, between batches. */
  readonly write: (rows: readonly RowChange[]) => Promise<readonly RowOutcome[]>;
};

/** How a change that was published without its values begins to say why. */
const WITHHELD_CODES = ['value_unreadable', 'partial_without_base', 'record_too_large'] as const;

/** No replay ever released such a letter. */
const RELEASED_BY_THE_LOG: ReadonlySet<string> = new Set(WITHHELD_CODES);

type How = 'applied' | 'floor' | 'replayed' | 'discarded';

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

  async release(keys: readonly RowKey[], how: How, of: { readonly upTo?: Offset; readonly replay?: number } = {}): Promise<void> {
    if (keys.length === 0) return;
    const { context, parked, kill, ride } = this.#input;
    const at = how === 'discarded' ? null : this.#reached(of.upTo ?? OFFSET_FIRST);
    await ride(() => parked.release(keys, { at, replay: of.replay ?? 0 }, kill));
    context.deps.observer.released({ how, keys: keys.length });
  }

  /**
   * The last record that the release can be owed to, and not merely what took effect before it. Where the sink goes back to before this
   * worker took the partition, the one before it, if it has only slept, is the holder again and stores how far it had come by itself:
   * whoever starts from there meets the key here, unless that was as far as this worker has read.
   */
  #reached(upTo: Offset): Offset {
    const { done, standing } = this.#input;
    return Math.max(done(), standing.offset - 1, upTo) as Offset;
  }

  /**
   * A truncate ends what was parked. The sink may hold nothing of such a key, and then its sweep finds nothing either: without a tombstone
   * a write of an earlier holder that arrives late, at a sink without fences, would bring back what the truncate removed.
   */
  async releaseBelowFloors(): Promise<void> {
    const { parked, standing } = this.#input;
    const below = parked.below((table, sequence) => standing.isBelowFloor(table, sequence));
    for (const [table, keys] of Map.groupBy(below, (key) => parseRowKey(key).table)) {
      if (await this.#bury(table, keys)) await this.release(keys, 'floor');
    }
  }

  /** False while nobody shows the table's columns: its truncate stays owed so long, and so do these keys. */
  async #bury(table: TableId, keys: readonly RowKey[]): Promise<boolean> {
    const { context, standing, kill, ride, write } = this.#input;
    // The newest version may stand further on in the log, and the table not have its columns yet.
    const schema = await ride(() => context.gate.fitting(table, kill));
    if (schema === null) return false;
    const sequence = present(standing.floorOf(table), 'the floor that keys are below');
    const { batchRowsMax } = context.deps.sink.limits;
    for (let from = 0; from < keys.length; from += batchRowsMax) {
      // A key that the sink can never hold is refused here too, and nothing of it can arrive late.
      await write(keys.slice(from, from + batchRowsMax).map((key): RowChange => ({ tag: 'delete', schema, key, sequence })));
    }
    return true;
  }

  /**
   * Keys that were released by what the sink that is gone on from may have lost. What released them by way of the log is read again,
   * and releases them again. An operator's replay is not: so each whole image is written once more, where a sink that lost nothing
   * finds its own sequence. What it does not take now is parked anew, before the progress moves on. The others need not be: as long as
   * the log was not read to where they went, every worker meets them here.
   */
  async replayRestored(): Promise<void> {
    const { context, parked, standing, kill, ride } = this.#input;
    const letters = await ride(() => parked.restored(kill));
    const replay = Math.max(standing.replays, parked.replays);
    if (letters.length === 0 && replay === standing.replays) return;
    // A worker that slept before it took the letters has them from its successor, which released them for good.
    await this.#input.confirm();
    const { released, kept } = await this.#rewrite(letters);
    const refused = kept.filter(({ code }) => !RELEASED_BY_THE_LOG.has(code));
    await this.park(refused.map(({ letter }) => letter));
    await this.release(released, 'replayed', { replay });
    await this.#counted(replay);
    context.deps.logger.log('info', 'keys were released by what the sink may have lost: they were replayed', {
      partition: standing.partition,
      keys: letters.length,
      released: released.length,
      parked: refused.length,
    });
  }

  /** Answers a request for this partition. Only between batches: a replay is a write of its key like any other. */
  async handle(task: DeadLetterTask): Promise<DeadLetterAnswer> {
    const { context, parked, standing, kill, ride } = this.#input;
    const letters = await ride(() => parked.letters(task.keys, kill));
    if (task.kind === 'dlq-discard') {
      await this.release(
        letters.map(({ key }) => key),
        'discarded',
      );
      return { released: letters.length, kept: {} };
    }
    const { released, kept } = await this.#rewrite(letters);
    // No record of the log releases these, and an earlier holder can have read all of it.
    const { end } = present((await ride(() => context.deps.log.ends(kill)))[standing.partition], 'ends of the partition');
    const replay = standing.replays + 1;
    await this.release(released, 'replayed', { upTo: offsetOf(Math.max(0, end - 1)), replay });
    if (released.length > 0) await this.#counted(replay);
    const counts = new Map<string, number>();
    for (const { code } of kept) counts.set(code, (counts.get(code) ?? 0) + 1);
    return { released: released.length, kept: Object.fromEntries(counts) };
  }

  /**
   * The sink holds these replays, and shows by the number where it has lost one of them. Only after their release: whoever takes the
   * partition before meets all of them once more, and a worker that has lost the letters meanwhile counts nothing for its successor.
   */
  async #counted(replays: number): Promise<void> {
    this.#input.standing.replays = replays;
    await this.#input.confirm();
  }

  /** Writes what can be put right by that. Tells which keys may be released, and why the others may not. */
  async #rewrite(
    letters: readonly DeadLetter[],
  ): Promise<{ readonly released: readonly RowKey[]; readonly kept: readonly { readonly letter: DeadLetter; readonly code: string }[] }> {
    const { context, standing } = this.#input;
    const released: RowKey[] = [];
    const kept: { readonly letter: DeadLetter; readonly code: string }[] = [];
    const writes: { readonly letter: DeadLetter; readonly change: RowChange }[] = [];
    for (const letter of letters) {
      const replay = replayOf(letter, context, standing);
      if (replay.tag === 'apply') writes.push({ letter, change: replay.change });
      else if (replay.tag === 'release') released.push(letter.key);
      else kept.push({ letter, code: replay.code });
    }
    const { batchRowsMax } = context.deps.sink.limits;
    for (let from = 0; from < writes.length; from += batchRowsMax) {
      const batch = writes.slice(from, from + batchRowsMax);
      const refusals = await this.#replay(batch.map(({ change }) => change));
      for (const [index, { letter }] of batch.entries()) {
        const code = refusals[index] ?? null;
        if (code === null) released.push(letter.key);
        else kept.push({ letter, code });
      }
    }
    return { released, kept };
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
      // What nobody knows is no refusal of a row, and a broken invariant is none of anything.
      if (policyFor(code).retry !== 'manual' || code === 'sink_failed' || brokenInvariantIn(error) !== null) throw error;
      if (rows.length === 1) return [code];
      const refusals: (string | null)[] = [];
      for (const row of rows) refusals.push(...(await this.#replay([row])));
      return refusals;
    }
  }
}
