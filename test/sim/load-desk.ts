import { controlKeys, type SinkRow, type TableRow } from '#core/control-rows.ts';
import type { ControlKey } from '#core/control.ts';
import { isUnderWay, newLoad, type LoadRow } from '#core/load-row.ts';
import type { TableId } from '#core/schema.ts';
import type { MemoryControlRows } from '../support/memory-control-store.ts';
import type { MemoryLogStore } from '../support/memory-log-store.ts';
import type { MemorySinkStore } from '../support/memory-sink.ts';
import { PIPELINE } from './daemon.ts';
import { readControl, writeControl } from './operator.ts';
import type { LoadStep } from './plan.ts';
import { tableOf } from './workload.ts';

export type LoadDeskInput = {
  readonly controlRows: MemoryControlRows;
  readonly logStore: MemoryLogStore;
  readonly sinks: ReadonlyMap<string, MemorySinkStore>;
  readonly wallMs: () => number;
};

/** A table of which a cancelled load may have left a part out. */
type Half = {
  /** Where the log ended when a later load was found to be over: who has read that far has all of it. */
  wholeAt: readonly number[] | null;
};

/** The person who loads tables, by what `causeway snapshot` does in the control store. */
export class LoadDesk {
  readonly #input: LoadDeskInput;
  readonly #halves = new Map<TableId, Half>();

  constructor(input: LoadDeskInput) {
    this.#input = input;
  }

  /** False where the command would refuse, or find nothing to do. */
  take(step: LoadStep): boolean {
    const table = tableOf(step.table);
    switch (step.tag) {
      case 'load_asked':
        return this.#ask(table, step.sink);
      case 'load_paused':
        return this.#change(table, (row) => ({ ...row, paused: true }));
      case 'load_cancelled': {
        const isFound = this.#change(table, (row) => ({ ...row, state: 'cancel', paused: false }));
        if (isFound) this.#halves.set(table, { wholeAt: null });
        return isFound;
      }
    }
  }

  resume(table: TableId | null = null): void {
    this.#change(table, (row) => ({ ...row, paused: false }));
  }

  /** Asks again for what was cancelled, until all of it is loaded. */
  rest(): void {
    this.resume();
    this.#look();
    for (const [table, { wholeAt }] of this.#halves) if (wholeAt === null) this.#ask(table, null);
  }

  get isOver(): boolean {
    this.#look();
    const left = [...this.#halves.values()].some(({ wholeAt }) => wholeAt === null);
    return !left && !this.rows.some(isUnderWay);
  }

  get rows(): readonly LoadRow[] {
    const { rows } = this.#input.controlRows;
    return [...rows].flatMap(([key, { text }]) => (key.startsWith(controlKeys.loads(PIPELINE)) ? [JSON.parse(text) as LoadRow] : []));
  }

  isHalfLoaded(table: TableId, sink: string): boolean {
    const half = this.#halves.get(table);
    if (half === undefined) return false;
    this.#look();
    const { wholeAt } = half;
    const progress = this.#input.sinks.get(sink)?.progress;
    return wholeAt === null || wholeAt.some((end, partition) => (progress?.get(partition)?.offset ?? 0) < end);
  }

  #look(): void {
    for (const [table, half] of this.#halves) {
      if (half.wholeAt === null && this.#row(controlKeys.load(PIPELINE, table, null))?.state === 'done')
        half.wholeAt = this.#input.logStore.partitions.map((_, partition) => this.#input.logStore.endOf(partition));
    }
  }

  #ask(table: TableId, sink: string | null): boolean {
    const { controlRows, wallMs } = this.#input;
    const captured = readControl(controlRows, controlKeys.table(PIPELINE, table)) as TableRow | null;
    if (captured === null || captured.state === 'stopped') return false;
    if (sink !== null && (readControl(controlRows, controlKeys.sink(PIPELINE, sink)) as SinkRow | null)?.state !== 'known') return false;
    const key = controlKeys.load(PIPELINE, table, sink);
    const now = this.#row(key);
    if (now !== null && isUnderWay(now)) return false;
    const row = newLoad({ table, sink, rowsExpected: null, wallMs: wallMs() });
    writeControl(controlRows, key, { ...row, generation: now?.generation ?? row.generation });
    return true;
  }

  /** Null: of every table. */
  #change(table: TableId | null, change: (row: LoadRow) => LoadRow): boolean {
    const found = this.rows.filter((row) => (table === null || row.table === table) && isUnderWay(row) && row.state !== 'cancel');
    for (const row of found) writeControl(this.#input.controlRows, controlKeys.load(PIPELINE, row.table, row.sink), change(row));
    return found.length > 0;
  }

  #row(key: ControlKey): LoadRow | null {
    return readControl(this.#input.controlRows, key) as LoadRow | null;
  }
}
