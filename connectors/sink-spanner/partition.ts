import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { FencingToken } from '#core/position.ts';
import type { RowChange, RowOutcome, SinkPartition, SinkProgress } from '#core/sink.ts';
import { advanced, checkHeld } from '../lib/sink/held.ts';
import { OneAtATime } from '../lib/sink/one-at-a-time.ts';
import { blamingTables, CommitRefused } from './errors.ts';
import type { Place } from './names.ts';
import { writePartition, type Held } from './own-rows.ts';
import { heldPartition } from './own-tables.ts';
import type { Shape } from './shape.ts';
import { transact, type Store } from './transaction.ts';
import { written } from './write.ts';

/**
 * "Mutations per commit: 80,000", columns and index entries counted in each row, and "100 MiB" (https://cloud.google.com/spanner/quotas).
 * How many indexes a table has is not looked at: half is left to them.
 */
const MUTATIONS_MAX = 40_000;
/** Of UTF-16, each of up to three bytes on the wire. */
const CHARACTERS_MAX = 16 * 1024 * 1024;
/** "Request size other than for commits: 10 MiB": the keys of a part are read in one request. */
const KEY_BYTES_MAX = 4 * 1024 * 1024;
/** What a value of a key takes beside itself. */
const KEY_VALUE_BYTES = 16;

export type PartitionInput = {
  readonly store: Store;
  readonly place: Place;
  readonly held: Held;
  readonly shapeFor: (change: RowChange) => Shape;
  /** Names what is wrong with the table of a row that was refused; empty where it is the row. */
  readonly differences: (shape: Shape, signal: AbortSignal) => Promise<readonly string[]>;
  /** The same of the tables that the sink keeps for itself. */
  readonly ownDifferences: (signal: AbortSignal) => Promise<readonly string[]>;
};

type Step = { readonly progress: SinkProgress | null; readonly counts: boolean };

/** A partition under its fence token. Each transaction looks at its row first, and writes it with the rows. */
export class SpannerPartition implements SinkPartition {
  readonly partition: number;
  readonly token: FencingToken;
  readonly start: SinkProgress | null;
  readonly #input: PartitionInput;
  readonly #calls = new OneAtATime();
  /** The furthest progress that this holder has seen committed. */
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
      const outcomes: RowOutcome[] = [];
      // What was true before the batch is true before each of its parts.
      for (const part of partsOf(rows, this.#input.shapeFor)) outcomes.push(...(await this.#applyPart(part, progress, signal)));
      return outcomes;
    });
  }

  async save(progress: SinkProgress, signal: AbortSignal): Promise<SinkProgress> {
    return await this.#calls.run(async () => {
      await this.#commitOwn({ progress, counts: false }, signal);
      return present(this.#seen, 'progress that was stored');
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  /** Halves rows that are refused until the refused ones stand alone: the service names neither key nor value. */
  async #applyPart(rows: readonly RowChange[], progress: SinkProgress | null, signal: AbortSignal): Promise<readonly RowOutcome[]> {
    if (rows.length === 0) return await this.#commitOwn({ progress, counts: false }, signal);
    try {
      return await this.#commit(rows, { progress, counts: true }, signal);
    } catch (error) {
      if (!(error instanceof CommitRefused)) throw error;
      if (rows.length === 1) return [await this.#refused(present(rows[0], 'the row'), error, signal)];
      const middle = Math.ceil(rows.length / 2);
      return [
        ...(await this.#applyPart(rows.slice(0, middle), progress, signal)),
        ...(await this.#applyPart(rows.slice(middle), progress, signal)),
      ];
    }
  }

  /** The row is refused for ever only if its table is as it has to be, and a commit without the row succeeds. */
  async #refused(change: RowChange, refusal: CommitRefused, signal: AbortSignal): Promise<RowOutcome> {
    const shape = this.#input.shapeFor(change);
    const differences = await this.#input.differences(shape, signal);
    if (differences.length > 0) throw new CausewayError('sink_misconfigured', differences.join('; '));
    await this.#commitOwn({ progress: null, counts: true }, signal);
    return { tag: 'rejected', code: 'value_refused', reason: `a value of the table ${shape.table}: ${refusal.message}` };
  }

  /** Without a row of the source. */
  async #commitOwn(step: Step, signal: AbortSignal): Promise<readonly RowOutcome[]> {
    return await blamingTables(
      () => this.#commit([], step, signal),
      () => this.#input.ownDifferences(signal),
    );
  }

  async #commit(rows: readonly RowChange[], step: Step, signal: AbortSignal): Promise<readonly RowOutcome[]> {
    const { store, place, held, shapeFor } = this.#input;
    const what = `the database ${store.client.database}`;
    const { outcomes, after } = await transact(store, what, signal, async (reader) => {
      const now = await heldPartition(reader, place, this.partition);
      const mine = now?.owner === held.owner ? now : null;
      const before = checkHeld(mine, { token: this.token, seen: this.#seen, writes: this.#writes });
      const stepped: Held = {
        ...before,
        progress: advanced(before.progress, step.progress),
        writes: before.writes + (step.counts ? 1 : 0),
      };
      const rowsWritten = await written(reader, rows, shapeFor);
      const isSame = stepped.progress === before.progress && stepped.writes === before.writes;
      return {
        result: { outcomes: rowsWritten.outcomes, after: stepped },
        mutations: [...rowsWritten.mutations, ...(isSame ? [] : [writePartition(place, stepped)])],
      };
    });
    this.#seen = after.progress;
    this.#writes = after.writes;
    return outcomes;
  }
}

type Size = { readonly mutations: number; readonly characters: number; readonly keyBytes: number };

const NOTHING: Size = { mutations: 0, characters: 0, keyBytes: 0 };

/** One part where there is nothing to write: its progress counts. */
export function partsOf(rows: readonly RowChange[], shapeFor: (change: RowChange) => Shape): readonly (readonly RowChange[])[] {
  const parts: RowChange[][] = [[]];
  let size = NOTHING;
  for (const change of rows) {
    const own = sizeOf(change, shapeFor(change));
    let sum = added(size, own);
    const isFull = sum.mutations > MUTATIONS_MAX || sum.characters > CHARACTERS_MAX || sum.keyBytes > KEY_BYTES_MAX;
    if (isFull && size.mutations > 0) {
      parts.push([]);
      sum = own;
    }
    parts.at(-1)?.push(change);
    size = sum;
  }
  return parts;
}

function sizeOf(change: RowChange, { columns, key }: Shape): Size {
  const characters = change.tag === 'delete' ? 0 : change.row.reduce((sum, one) => sum + (one?.length ?? 0), 0);
  return {
    mutations: columns.length + key.length + 4,
    characters: change.key.length + characters,
    keyBytes: Buffer.byteLength(change.key) + KEY_VALUE_BYTES * key.length,
  };
}

function added(one: Size, other: Size): Size {
  return {
    mutations: one.mutations + other.mutations,
    characters: one.characters + other.characters,
    keyBytes: one.keyBytes + other.keyBytes,
  };
}
