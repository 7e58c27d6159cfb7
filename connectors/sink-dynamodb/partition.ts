import { present } from '#core/assert.ts';
import type { FencingToken } from '#core/position.ts';
import type { RowChange, RowOutcome, SinkPartition, SinkProgress } from '#core/sink.ts';
import { advanced, checkHeld } from '../lib/sink/held.ts';
import { OneAtATime } from '../lib/sink/one-at-a-time.ts';
import type { Held } from './own-rows.ts';
import type { OwnTable } from './own-table.ts';

export type PartitionInput = {
  readonly held: Held;
  readonly own: Pick<OwnTable, 'held' | 'replace'>;
  /** Whether the tables are still those that the progress belongs to. */
  readonly verify: (signal: AbortSignal) => Promise<void>;
  /** Writes rows of distinct keys, in any order. The outcomes stand in the rows' order. */
  readonly write: (rows: readonly RowChange[], signal: AbortSignal) => Promise<readonly RowOutcome[]>;
};

/**
 * A partition under its fence token. The service has no cheap transaction over a batch, and none is needed: rows are registers, so that
 * what an older holder still writes is stale or right. Its progress is not: that is looked at before the rows and stored behind them.
 */
export class DynamoPartition implements SinkPartition {
  readonly partition: number;
  readonly token: FencingToken;
  readonly start: SinkProgress | null;
  readonly #input: PartitionInput;
  readonly #calls = new OneAtATime();
  #seen: SinkProgress | null;
  #writes: number;

  constructor(input: PartitionInput) {
    const { partition, token, progress, writes } = input.held;
    this.partition = partition;
    this.token = token;
    this.start = progress;
    this.#input = input;
    this.#seen = progress;
    this.#writes = writes;
  }

  async apply(
    { rows, progress }: { readonly rows: readonly RowChange[]; readonly progress: SinkProgress | null },
    signal: AbortSignal,
  ): Promise<readonly RowOutcome[]> {
    return await this.#calls.run(async () => {
      const before = await this.#look(signal);
      const outcomes = await this.#input.write(rows, signal);
      await this.#step(before, { progress, rows: rows.length }, signal);
      return outcomes;
    });
  }

  async save(progress: SinkProgress, signal: AbortSignal): Promise<SinkProgress> {
    return await this.#calls.run(async () => {
      await this.#step(await this.#look(signal), { progress, rows: 0 }, signal);
      return present(this.#seen, 'progress that was stored');
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  async #look(signal: AbortSignal): Promise<Held> {
    const { own, held, verify } = this.#input;
    await verify(signal);
    const now = await own.held(this.partition, signal);
    const mine = now?.owner === held.owner ? now : null;
    return checkHeld(mine, { token: this.token, seen: this.#seen, writes: this.#writes });
  }

  async #step(before: Held, by: { readonly progress: SinkProgress | null; readonly rows: number }, signal: AbortSignal): Promise<void> {
    let from = before;
    while (true) {
      const after: Held = {
        ...from,
        progress: advanced(from.progress, by.progress),
        writes: from.writes + (by.rows > 0 ? 1 : 0),
      };
      const isSame = after.writes === from.writes && after.progress === from.progress;
      if (isSame || (await this.#input.own.replace(from, after, signal))) {
        this.#seen = after.progress;
        this.#writes = after.writes;
        return;
      }
      // Somebody else has it now, or an attempt whose reply was lost took effect.
      from = await this.#look(signal);
    }
  }
}
