import type { ChunkOutcome } from '../chunk/barrier.ts';
import { controlKeys } from '#core/control-rows.ts';
import { isUnderWay, newLoad, type LoadRow, type LoadState } from '#core/load-row.ts';
import type { ControlKey } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { FencingToken } from '#core/position.ts';
import type { OpenLoad } from '#core/sink.ts';
import { changeRow, listRows, type ControlAccess } from './control-rows.ts';

/** What is to be stored once so many records of the generation are durable. */
type Step = { readonly id: LoadRow['id']; readonly records: number; readonly change: (row: LoadRow) => LoadRow };

export type LoadsInput = {
  readonly access: ControlAccess;
  readonly pipeline: string;
  readonly generation: FencingToken;
  readonly onChange: (rows: readonly LoadRow[]) => void;
};

/**
 * The loads' rows in the control store. A step of one is stored only once its records are durable in the log, and behind the checkpoint,
 * which tells whether this generation may still store anything: so a crash repeats chunks and leaves none out.
 */
export class Loads {
  readonly #input: LoadsInput;
  readonly #rows = new Map<ControlKey, LoadRow>();
  readonly #steps = new Map<ControlKey, Step[]>();
  #waiters: (() => void)[] = [];
  #durable = 0;

  constructor(input: LoadsInput) {
    this.#input = input;
  }

  get rows(): readonly LoadRow[] {
    return [...this.#rows.values()];
  }

  keyOf({ table, sink }: Pick<LoadRow, 'table' | 'sink'>): ControlKey {
    return controlKeys.load(this.#input.pipeline, table, sink);
  }

  row(key: ControlKey): LoadRow | null {
    return this.#rows.get(key) ?? null;
  }

  /** Reads what there is: commands add, pause and cancel loads. */
  async look(signal: AbortSignal): Promise<void> {
    const { access, pipeline, onChange } = this.#input;
    const found = await listRows(access, controlKeys.loads(pipeline), signal);
    for (const { key, value } of found) this.#rows.set(key, value as LoadRow);
    const there = new Set(found.map(({ key }) => key));
    for (const key of this.#rows.keys()) if (!there.has(key)) this.#rows.delete(key);
    onChange(this.rows);
  }

  /**
   * Loads that the log shows as open and of which nothing is known here any more: the control store came back as it was before they began. How far
   * they had come is lost with them, so each begins anew, and the sinks, which wait for its end, get one.
   */
  async restore(open: readonly OpenLoad[], signal: AbortSignal): Promise<void> {
    const { access, onChange } = this.#input;
    for (const { table, sink } of open) {
      const key = this.keyOf({ table, sink });
      const begun = newLoad({ table, sink, rowsExpected: null, wallMs: access.runtime.wallMs() });
      const change = (current: LoadRow | null): LoadRow | null => (current !== null && isUnderWay(current) ? null : begun);
      const row = await changeRow<LoadRow>(access, { key, change }, signal);
      if (row !== null) this.#rows.set(key, row);
    }
    onChange(this.rows);
  }

  /** To be stored once the first `records` records of this generation are durable. */
  step(key: ControlKey, step: Step): void {
    this.#steps.set(key, [...(this.#steps.get(key) ?? []), step]);
  }

  /** True while a step of the load is not stored. */
  isOwing(key: ControlKey): boolean {
    return this.#steps.has(key);
  }

  /** Resolves once every step of the load is stored. */
  async settled(key: ControlKey, signal: AbortSignal): Promise<void> {
    while (this.#steps.has(key)) {
      const { promise, resolve, reject } = Promise.withResolvers<null>();
      const abort = (): void => reject(signal.reason);
      signal.throwIfAborted();
      signal.addEventListener('abort', abort, { once: true });
      this.#waiters.push(() => resolve(null));
      await promise.finally(() => signal.removeEventListener('abort', abort));
    }
  }

  durable(records: number): void {
    this.#durable = records;
  }

  /** Stores the steps whose records are durable. To be called behind the checkpoint of this generation. */
  async store(signal: AbortSignal): Promise<void> {
    const { access, generation, onChange } = this.#input;
    for (const [key, steps] of [...this.#steps]) {
      const due = steps.filter(({ records }) => records <= this.#durable);
      if (due.length === 0) continue;
      const rest = steps.filter((step) => !due.includes(step));
      const row = await changeRow<LoadRow>(access, { key, change: (current) => moved(current, due, generation) }, signal);
      if (rest.length === 0) this.#steps.delete(key);
      else this.#steps.set(key, rest);
      if (row !== null) this.#rows.set(key, row);
    }
    const waiters = this.#waiters.splice(0);
    for (const wake of waiters) wake();
    onChange(this.rows);
  }
}

function moved(current: LoadRow | null, steps: readonly Step[], generation: FencingToken): LoadRow | null {
  // Removed by a command.
  if (current === null) return null;
  if (current.generation > generation) {
    throw new CausewayError(
      'fenced',
      `generation ${current.generation} carries the load of ${current.table} on, above our own ${generation}`,
    );
  }
  // Another load has begun in its place: what was done for the former one is none of its progress.
  const own = steps.filter(({ id }) => id === current.id);
  return own.length === 0 ? null : own.reduce((row, { change }) => change(row), { ...current, generation });
}

/** One that was cancelled meanwhile stays so. */
export function stateAfter({ state }: LoadRow, next: LoadState): LoadState {
  return state === 'cancel' && next !== 'cancelled' ? state : next;
}

/** The row behind a placed chunk. */
export function afterChunk(row: LoadRow, { chunk }: ChunkOutcome & { readonly tag: 'placed' }): LoadRow {
  const { read, cold, whole } = chunk;
  const last: RowKey | null = read.rows.at(-1)?.key ?? row.after;
  return {
    ...row,
    state: stateAfter(row, read.isWhole ? 'close' : 'reading'),
    after: last,
    rows: row.rows + cold.length + whole.length,
    bytes: row.bytes + read.bytes,
    chunks: row.chunks + 1,
  };
}
