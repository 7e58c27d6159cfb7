import type { Barrier, ChunkOutcome } from '../chunk/barrier.ts';
import { ChunkSize } from '../chunk/size.ts';
import { isUnderWay, type LoadRow } from '#core/load-row.ts';
import type { ControlKey } from '#core/control.ts';
import type { MonoMs } from '#core/position.ts';
import type { ControlRecord } from '#core/record.ts';
import type { TableId } from '#core/schema.ts';
import type { RowReader } from '#core/row-reader.ts';
import type { CaptureDeps } from './deps.ts';
import { rideOut } from './heartbeats.ts';
import { afterChunk, stateAfter, type Loads } from './loads.ts';

export type LoaderInput = {
  readonly deps: CaptureDeps;
  readonly loads: Loads;
  readonly barrier: Barrier;
  /** Hands a record to every partition. Returns how many records of the generation there are then. */
  readonly broadcast: (record: ControlRecord) => number;
  /** False for a table that is stopped or not captured: nothing of it is read. */
  readonly captures: (table: TableId) => boolean;
  /** True while no rows are to be read. */
  readonly isHeld: () => boolean;
  /** How many records of the generation there are. */
  readonly recordsNow: () => number;
};

/** Carries loads on, some at once, each with a connection of its own. The stream places what is read. */
export class Loader {
  readonly #input: LoaderInput;
  readonly #running = new Map<ControlKey, Promise<void>>();
  /** When the source refused a load the last time. */
  readonly #refusedMs = new Map<ControlKey, MonoMs>();
  /** Ends the wait for the next look. */
  #waiting: AbortController | null = null;

  constructor(input: LoaderInput) {
    this.#input = input;
  }

  /**
   * Opens the loads that wait for it, of tables that are captured. Before the generation's first watermark: from then on no sink takes a
   * table that is being loaded for whole. And before the first change of a table that is captured from here on.
   */
  open(): void {
    const { loads, captures } = this.#input;
    const waiting = loads.rows.filter((row) => row.state === 'open' && captures(row.table) && !loads.isOwing(loads.keyOf(row)));
    for (const row of waiting) this.#begin(loads.keyOf(row), row);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { deps, loads } = this.#input;
    const failure = new AbortController();
    const inner = AbortSignal.any([signal, failure.signal]);
    try {
      while (true) {
        await loads.look(inner);
        for (const row of this.#inTurn()) {
          const key = loads.keyOf(row);
          if (this.#running.size >= deps.options.loadsAtOnce) break;
          if (!isDue(row) || !this.#goesThrough(row) || loads.isOwing(key) || this.#running.has(key)) continue;
          const work = this.#load(key, inner)
            .catch((error: unknown) => failure.abort(error))
            .finally(() => this.#ended(key));
          this.#running.set(key, work);
        }
        await this.#pause(inner);
      }
    } finally {
      failure.abort(new Error('the loader ended'));
      await Promise.all(this.#running.values());
    }
  }

  /** Those that the source refused lately come last: however many of them there are, they keep no other from its turn. */
  #inTurn(): readonly LoadRow[] {
    const { loads } = this.#input;
    const refusedMs = (row: LoadRow): number => this.#refusedMs.get(loads.keyOf(row)) ?? -1;
    return loads.rows.toSorted((a, b) => refusedMs(a) - refusedMs(b));
  }

  /** Of a table that is not captured nothing is read; a load of it can be ended all the same. So can one that is held. */
  #goesThrough({ table, state }: LoadRow): boolean {
    const { captures, isHeld } = this.#input;
    return state === 'cancel' || (captures(table) && !(state === 'reading' && isHeld()));
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const { runtime, options } = this.#input.deps;
    const waiting = new AbortController();
    this.#waiting = waiting;
    await runtime.sleep(options.loadPollMs, AbortSignal.any([signal, waiting.signal])).catch(() => signal.throwIfAborted());
  }

  /** One that is over makes room for the next. */
  #ended(key: ControlKey): void {
    const row = this.#input.loads.row(key);
    this.#running.delete(key);
    if (row !== null && isUnderWay(row)) return;
    this.#refusedMs.delete(key);
    this.#waiting?.abort(new Error('a load is over'));
  }

  /** Ends when there is nothing more to do now, and everything that was done is stored: who begins again begins from there. */
  async #load(key: ControlKey, signal: AbortSignal): Promise<void> {
    const { deps, loads } = this.#input;
    const size = new ChunkSize(deps.options.chunk);
    try {
      const isServed = await rideOut({ deps, during: 'loading a table' }, signal, async () => {
        await using rows = deps.source.rows();
        // Ahead of what is stored: records that are on their way need not arrive before the next chunk is read.
        let row = loads.row(key);
        while (row !== null && this.#goesThrough(row) && goesOn(row, loads.row(key))) {
          switch (row.state) {
            case 'open':
              row = this.#begin(key, row);
              break;
            case 'close':
              row = this.#end(key, row, 'done');
              break;
            case 'cancel':
              row = this.#end(key, row, 'cancelled');
              break;
            default:
              row = await this.#chunk(key, { row, rows, size }, signal);
          }
        }
      });
      if (!isServed) this.#refusedMs.set(key, deps.runtime.monotonicMs());
    } finally {
      if (!signal.aborted) await loads.settled(key, signal);
    }
  }

  #begin(key: ControlKey, row: LoadRow): LoadRow {
    return this.#announce(key, row, { tag: 'load-open', then: (now) => ({ ...now, state: stateAfter(now, 'reading') }) });
  }

  #end(key: ControlKey, row: LoadRow, state: 'done' | 'cancelled'): LoadRow {
    const endedAtWallMs = this.#input.deps.runtime.wallMs();
    return this.#announce(key, row, { tag: 'load-close', then: (now) => ({ ...now, state: stateAfter(now, state), endedAtWallMs }) });
  }

  #announce(
    key: ControlKey,
    row: LoadRow,
    of: { readonly tag: 'load-open' | 'load-close'; readonly then: (row: LoadRow) => LoadRow },
  ): LoadRow {
    const { loads, broadcast } = this.#input;
    const { table, sink } = row;
    const records = broadcast({ tag: of.tag, table, sink });
    loads.step(key, { id: row.id, records, change: of.then });
    return of.then(row);
  }

  /** The row behind the chunk; null where the connection to the source is to be made anew. */
  async #chunk(
    key: ControlKey,
    of: { readonly row: LoadRow; readonly rows: RowReader; readonly size: ChunkSize },
    signal: AbortSignal,
  ): Promise<LoadRow | null> {
    const { deps, loads, barrier } = this.#input;
    const { row, size } = of;
    const startedMs = deps.runtime.monotonicMs();
    const { rowsMax, bytesMax, hotMax, holdsStream } = size.next();
    const range = { tag: 'between', after: row.after, upTo: null } as const;
    const outcome: ChunkOutcome = await barrier.chunk(
      { table: row.table, range, rowsMax, bytesMax, hotMax, holdsStream, purpose: { tag: 'load', sink: row.sink } },
      of.rows,
      signal,
    );
    if (outcome.tag === 'discarded') {
      if (outcome.reason === 'hot') size.tooHot();
      return outcome.reason === 'connection' ? null : row;
    }
    size.took(outcome.chunk.read, deps.runtime.monotonicMs() - startedMs);
    const records = this.#input.recordsNow();
    const change = (current: LoadRow): LoadRow => afterChunk(current, outcome);
    loads.step(key, { id: row.id, records, change });
    return change(row);
  }
}

/** `stored`: a command may have paused or ended it since. */
function goesOn(row: LoadRow, stored: LoadRow | null): boolean {
  if (stored === null || stored.id !== row.id || !isDue(row) || !isDue(stored)) return false;
  return (stored.state === 'cancel') === (row.state === 'cancel');
}

function isDue(row: LoadRow): boolean {
  return !row.paused && isUnderWay(row);
}
