import { present } from '#core/assert.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { Row } from '#core/value.ts';
import type { FakeDatabase, FakeStatement } from '../support/fake-source.ts';
import { RECORD_BYTES_MAX, TABLES, type PlannedOp, type PlannedTransaction } from './plan.ts';

/** A value that holds this is refused by sinks for as long as they refuse anything. */
export const REFUSED_MARK = '☠';

/** `id`, `a`, `big`: the large one is what partial updates leave out. */
const COLUMNS = ['id', 'a', 'big'];
const COLUMNS_MAX = 6;

export const tableNames = Array.from({ length: TABLES }, (_, index) => `public.t${index}` as TableId);

/** What the clients of the source do. Operations are made to fit the rows as they stand, so any of them can be left out of a plan. */
export class Workload {
  readonly #database: FakeDatabase;

  constructor(database: FakeDatabase) {
    this.#database = database;
    for (const name of tableNames) database.createTable(name, COLUMNS);
  }

  /** `serial` makes the values of this transaction different from all others. Returns whether reads do not show it yet. */
  commit(planned: PlannedTransaction, serial: number): boolean {
    // What locks a whole table waits for those that hold locks in it.
    if (planned.ops.some(({ op }) => op === 'truncate' || op === 'add_column' || op === 'drop_column')) this.#database.show();
    for (const op of planned.ops) if (op.op === 'add_column' || op.op === 'drop_column') this.#alter(op, serial);
    const draft = this.#draft(planned.ops, { serial, shared: planned.shared });
    if (draft.statements.length > 0) {
      const hidden = planned.hiddenMs !== undefined && !draft.statements.some(({ op }) => op === 'truncate');
      this.#database.commit(draft.statements, { rowLsnShared: planned.shared, hidden });
      return hidden;
    }
    // Each one changes something, whatever the rows are like.
    if (planned.ops.length > 0) {
      let key = 0;
      while (this.#database.isLocked(tableOf(0), String(key))) key += 1;
      this.#database.commit(this.#draft([{ op: 'put', table: 0, key, refused: false }], { serial, shared: false }).statements);
    }
    return false;
  }

  #draft(ops: readonly PlannedOp[], of: { readonly serial: number; readonly shared: boolean }): Draft {
    const draft = new Draft(this.#database, of.serial, of.shared);
    for (const op of ops) draft.add(op);
    return draft;
  }

  #alter(op: { readonly op: 'add_column' | 'drop_column'; readonly table: number }, serial: number): void {
    const id = present(tableNames[op.table], 'table');
    const table = this.#database.table(id);
    const names = table.schema.columns.map(({ name }) => name);
    const adds = op.op === 'add_column' ? names.length < COLUMNS_MAX : names.length <= COLUMNS.length;
    const name = names.includes(`c${serial}`) ? `c${serial}_${names.length}` : `c${serial}`;
    const columns = adds ? [...names, name] : names.slice(0, -1);
    this.#database.reshapeRows(id, (row) => (adds ? [...row, null] : row.slice(0, -1)));
    this.#database.alterTable(id, { columns, verdict: { tag: 'harmless', text: 'its columns changed' } });
  }
}

/** The statements of one transaction while it is put together. */
class Draft {
  readonly statements: FakeStatement[] = [];
  readonly #database: FakeDatabase;
  readonly #serial: number;
  readonly #shared: boolean;
  /** Rows that the transaction made or removed, over those that are there. */
  readonly #live = new Map<RowKey, boolean>();
  readonly #emptied = new Set<TableId>();

  constructor(database: FakeDatabase, serial: number, shared: boolean) {
    this.#database = database;
    this.#serial = serial;
    this.#shared = shared;
  }

  add(op: PlannedOp): void {
    switch (op.op) {
      case 'put':
      case 'partial':
        this.#put(op);
        return;
      case 'oversized':
        this.#put({ ...op, refused: false });
        return;
      case 'delete':
      case 'unreadable': {
        const table = tableOf(op.table);
        const id = String(op.key);
        if (this.#shared || !this.#isLive(table, id) || this.#database.isLocked(table, id)) return;
        this.statements.push({ op: op.op, table, id });
        if (op.op === 'delete') this.#set(table, id, false);
        return;
      }
      case 'rekey': {
        const table = tableOf(op.table);
        const [from, to] = [String(op.key), String(op.to)];
        if (this.#shared || from === to || !this.#isLive(table, from) || this.#isLive(table, to)) return;
        if (this.#database.isLocked(table, from) || this.#database.isLocked(table, to)) return;
        this.statements.push({
          op: 'update',
          table,
          id: from,
          row: this.#row(table, { id: to, partial: op.partial, refused: false, oversized: false }),
        });
        this.#set(table, from, false);
        this.#set(table, to, true);
        return;
      }
      case 'truncate': {
        if (this.#shared) return;
        const tables = op.tables.map(tableOf);
        this.statements.push({ op: 'truncate', tables });
        for (const table of tables) {
          this.#emptied.add(table);
          for (const key of this.#live.keys()) if ((JSON.parse(key) as string[])[0] === table) this.#live.set(key, false);
        }
        return;
      }
      case 'add_column':
      case 'drop_column':
        return;
    }
  }

  #put(op: {
    readonly op: 'put' | 'partial' | 'oversized';
    readonly table: number;
    readonly key: number;
    readonly refused: boolean;
  }): void {
    const table = tableOf(op.table);
    const id = String(op.key);
    const { refused } = op;
    const oversized = op.op === 'oversized';
    // It would wait; what it writes instead comes later.
    if (this.#database.isLocked(table, id)) return;
    if (!this.#isLive(table, id)) {
      this.statements.push({ op: 'insert', table, row: this.#row(table, { id, partial: false, refused, oversized }) });
      this.#set(table, id, true);
      return;
    }
    // What COPY writes are new rows.
    if (this.#shared) return;
    this.statements.push({ op: 'update', table, id, row: this.#row(table, { id, partial: op.op === 'partial', refused, oversized }) });
  }

  #row(
    table: TableId,
    of: { readonly id: string; readonly partial: boolean; readonly refused: boolean; readonly oversized: boolean },
  ): Row {
    const mark = `${this.#serial}.${this.statements.length}`;
    const { columns } = this.#schema(table);
    return columns.map(({ name }) => {
      if (name === 'id') return of.id;
      if (name === 'a') return `a${mark}${of.refused ? REFUSED_MARK : ''}`;
      if (name === 'big') return of.partial ? undefined : `b${mark}`.padEnd(of.oversized ? RECORD_BYTES_MAX + 1 : 0, '.');
      return `${name}-${mark}`;
    });
  }

  #schema(table: TableId): TableSchema {
    return this.#database.table(table).schema;
  }

  #isLive(table: TableId, id: string): boolean {
    const key = this.#key(table, id);
    return this.#live.get(key) ?? (!this.#emptied.has(table) && this.#database.table(table).rows.has(key));
  }

  #set(table: TableId, id: string, live: boolean): void {
    this.#live.set(this.#key(table, id), live);
  }

  #key(table: TableId, id: string): RowKey {
    return present(rowKeyOf(this.#schema(table), [id]), 'key');
  }
}

export function tableOf(index: number): TableId {
  return present(tableNames[index], 'table');
}
