import { controlKeys, type RequestRow, type SinkRow, type TableRow } from '#core/control-rows.ts';
import type { ControlKey, RowVersion } from '#core/control.ts';
import type { RowKey } from '#core/key.ts';
import type { TableSchema } from '#core/schema.ts';
import type { MemoryControlRows } from '../support/memory-control-store.ts';
import type { MemorySinkStore } from '../support/memory-sink.ts';
import { PIPELINE } from './daemon.ts';

/** The person who looks after the pipeline: approves schemas that wait, and replays what was parked. */
export class Operator {
  readonly #rows: MemoryControlRows;
  readonly #sinks: ReadonlyMap<string, MemorySinkStore>;
  #requests = 0;

  constructor(rows: MemoryControlRows, sinks: ReadonlyMap<string, MemorySinkStore>) {
    this.#rows = rows;
    this.#sinks = sinks;
  }

  /** Changes the sinks' tables for schemas that wait, and approves them. Returns how many there were. */
  approve(): number {
    let approved = 0;
    for (const [name, store] of this.#sinks) {
      const key = controlKeys.sink(PIPELINE, name);
      const row = this.#read(key) as SinkRow | null;
      if (row === null) continue;
      // Those that were approved too: a sink that went back may have lost what was done for them.
      for (const block of row.blocked) {
        const table = this.#read(controlKeys.table(PIPELINE, block.table)) as TableRow | null;
        const schema = table?.schemas.find(({ version }) => version === block.version);
        if (schema !== undefined) widen(store, schema);
      }
      const waiting = row.blocked.filter((block) => !block.approved).length;
      if (waiting === 0) continue;
      approved += waiting;
      this.#write(key, { ...row, blocked: row.blocked.map((block) => ({ ...block, approved: true })) });
    }
    return approved;
  }

  /** Null: all of them. */
  replay(sink: string, keys: readonly RowKey[] | null): void {
    this.#requests += 1;
    const request: RequestRow = { kind: 'dlq-replay', args: { sink, keys }, state: 'pending', result: null };
    this.#write(controlKeys.request(PIPELINE, `r${this.#requests}`), request);
  }

  get waiting(): boolean {
    for (const [key, { text }] of this.#rows.rows) {
      if (key.startsWith(controlKeys.requests(PIPELINE)) && (JSON.parse(text) as RequestRow).state === 'pending') return true;
    }
    return false;
  }

  #read(key: ControlKey): unknown {
    return readControl(this.#rows, key);
  }

  #write(key: ControlKey, value: unknown): void {
    writeControl(this.#rows, key, value);
  }
}

/** Null where there is no such row. */
export function readControl({ rows }: MemoryControlRows, key: ControlKey): unknown {
  const found = rows.get(key);
  return found === undefined ? null : JSON.parse(found.text);
}

/** In the same turn as it was read, so that nobody can come in between. */
export function writeControl(state: MemoryControlRows, key: ControlKey, value: unknown): void {
  state.versions += 1;
  state.rows.set(key, { text: JSON.stringify(value), version: String(state.versions) as RowVersion });
}

/** Adds the columns that are missing; those that the source dropped stay. */
function widen(store: MemorySinkStore, schema: TableSchema): void {
  const table = store.tables.get(schema.table);
  for (const column of schema.columns) if (table?.columns.has(column.name) === false) table.columns.set(column.name, column);
}
