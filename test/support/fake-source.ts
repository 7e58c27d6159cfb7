import { present } from '#core/assert.ts';
import type { LineageMark, SourceIdentity, TableFingerprint } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { SourceMessage } from '#core/event.ts';
import { digest } from '#core/hash.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import { epochMicrosOf, positionOf, type EpochMicros, type Position } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';
import { tableSchema, type Column, type TableId, type TableSchema } from '#core/schema.ts';
import {
  MESSAGE_PREFIX,
  type FingerprintVerdict,
  type Heartbeat,
  type RefusedTable,
  type Source,
  type SourceFacts,
  type SourceStream,
} from '#core/source.ts';
import { isPartial, mergePartial, type Row } from '#core/value.ts';
import { FakeRows } from './fake-rows.ts';

/** One statement of a transaction. Rows stand in the order of the table's columns; an undefined value is left out of the log. */
export type FakeStatement =
  | { readonly op: 'insert'; readonly table: TableId; readonly row: Row }
  | { readonly op: 'update'; readonly table: TableId; readonly id: string; readonly row: Row }
  | { readonly op: 'delete'; readonly table: TableId; readonly id: string }
  | { readonly op: 'unreadable'; readonly table: TableId; readonly id: string }
  | { readonly op: 'truncate'; readonly tables: readonly TableId[] };

export type FakeTransaction = {
  readonly commit: bigint;
  readonly end: bigint;
  readonly xid: number;
  readonly at: EpochMicros;
  readonly messages: readonly SourceMessage[];
};

type FakeTable = { schema: TableSchema; readonly rows: Map<RowKey, Row>; revision: number; verdict: FingerprintVerdict };

/** What a call of the port is called in `onCall`. */
export type FakeCall =
  | 'inspect'
  | 'provision'
  | 'provisioned'
  | 'follow'
  | 'open'
  | 'opened'
  | 'messages'
  | 'heartbeat'
  | 'mark'
  | 'row-mark'
  | 'row-marked'
  | 'look'
  | 'rows'
  | 'rows-read';

/** A database server: it outlives every Source and connection. The first column of each table is its key. */
export class FakeDatabase {
  readonly #runtime: Runtime;
  readonly #tables = new Map<TableId, FakeTable>();
  readonly #waiting = new Set<() => void>();
  /** Commits that stand in the log and that no read shows yet, by transaction id: the rows as they were before. They hold their locks. */
  readonly #hidden = new Map<string, ReadonlyMap<TableId, ReadonlyMap<RowKey, Row | null>>>();
  /** Rows whose values cannot be shown, to the stream or to reads. */
  readonly #unreadable = new WeakSet<Row>();
  #lsn = 1_000n;
  #xid = 700;
  #clockSkewMicros: number;
  identity: SourceIdentity = { system: '7001', timeline: 1 };
  /** Null: there is none. */
  slot: { position: bigint; unusable: string | null } | null = null;
  /** Every committed transaction, in commit order. */
  readonly transactions: FakeTransaction[] = [];
  /** Positions that a connection acknowledged, in order. */
  readonly acknowledged: bigint[] = [];
  refused: RefusedTable[] = [];
  /** What the server keeps of its log for the slot, and would at most; null where nothing limits that. */
  budget: { readonly headroomBytes: number; readonly retainedBytes: number } | null = null;
  /** Tables that a transaction from before still writes. */
  writtenBefore: ReadonlySet<TableId> = new Set();
  /** What captures leave here; a test that puts the server back to an earlier state puts them back too. */
  marks: readonly string[] = [];
  heartbeats = 0;
  /** While true no position is told outside of transactions. */
  holdKeepalives = false;
  available = true;
  /** Most messages in one array. */
  arrayMax = 50;
  connection: FakeStream | null = null;
  connections = 0;
  /** Called at each call of the port; what it throws is what the call throws. */
  onCall: ((call: FakeCall) => void | Promise<void>) | null = null;

  constructor(runtime: Runtime, options: { readonly clockSkewMs?: number } = {}) {
    this.#runtime = runtime;
    this.#clockSkewMicros = (options.clockSkewMs ?? 0) * 1000;
  }

  get head(): bigint {
    return this.#lsn;
  }

  get random(): () => number {
    return () => this.#runtime.random();
  }

  now(): EpochMicros {
    return epochMicrosOf(Math.round(this.#runtime.wallMs() * 1000 + this.#clockSkewMicros));
  }

  get tables(): readonly FakeTable[] {
    return [...this.#tables.values()];
  }

  table(id: TableId): FakeTable {
    return present(this.#tables.get(id), `table ${id}`);
  }

  createTable(name: string, columns: readonly string[] = ['id', 'value']): TableId {
    const id = name as TableId;
    this.#tables.set(id, { schema: schemaOf(id, columns), rows: new Map(), revision: 0, verdict: { tag: 'same' } });
    return id;
  }

  dropTable(id: TableId): void {
    this.#tables.delete(id);
  }

  /** Changes the catalogue without a word in the log, as ALTER does. */
  alterTable(id: TableId, change: { readonly columns?: readonly string[]; readonly verdict: FingerprintVerdict }): void {
    const table = this.table(id);
    if (change.columns !== undefined) table.schema = schemaOf(id, change.columns);
    table.revision += 1;
    table.verdict = change.verdict;
  }

  /**
   * Commits one transaction. `rowLsnShared`: all rows of it stand in one record, as after COPY. `hidden`: the stream shows it, and
   * reads do not until `show`, as while the server waits for a standby; no other transaction can change its rows so long.
   */
  commit(
    statements: readonly FakeStatement[],
    options: { readonly rowLsnShared?: boolean; readonly hidden?: boolean } = {},
  ): FakeTransaction {
    const rows: SourceMessage[] = [];
    const before = options.hidden === true ? this.#imagesBefore(statements) : null;
    for (const [index, statement] of statements.entries()) {
      if (options.rowLsnShared !== true || index === 0) this.#lsn += 8n;
      rows.push(this.#execute(statement, this.#lsn));
    }
    const transaction = this.#append(rows);
    if (before !== null) this.#hidden.set(String(transaction.xid), before);
    return transaction;
  }

  /** True where a hidden transaction holds the row's lock. */
  isLocked(table: TableId, id: string): boolean {
    const key = keyOf(this.table(table).schema, id);
    return [...this.#hidden.values()].some((tables) => tables.get(table)?.has(key) === true);
  }

  /** The oldest hidden commits become visible, or all of them. */
  show(count = this.#hidden.size): void {
    for (const id of [...this.#hidden.keys()].slice(0, count)) this.#hidden.delete(id);
  }

  hiddenIds(): ReadonlySet<string> {
    return new Set(this.#hidden.keys());
  }

  get newestXid(): number {
    return this.#xid;
  }

  /** As a read of now sees them. */
  rowsSeen(id: TableId): ReadonlyMap<RowKey, Row> {
    const rows = new Map(this.table(id).rows);
    for (const tables of this.#hidden.values()) {
      for (const [key, row] of tables.get(id) ?? []) {
        if (row === null) rows.delete(key);
        else rows.set(key, row);
      }
    }
    return rows;
  }

  /** Gives every row of the table other columns, without a word in the log. */
  reshapeRows(id: TableId, shape: (row: Row) => Row): void {
    const { rows } = this.table(id);
    for (const [key, row] of rows) {
      const shaped = shape(row);
      if (this.#unreadable.has(row)) this.#unreadable.add(shaped);
      rows.set(key, shaped);
    }
  }

  isUnreadable(row: Row): boolean {
    return this.#unreadable.has(row);
  }

  /** A message of our prefix, in a transaction of its own. */
  say(content: string): FakeTransaction {
    return this.#append([{ tag: 'message', prefix: MESSAGE_PREFIX, content, transactional: true }]);
  }

  #imagesBefore(statements: readonly FakeStatement[]): ReadonlyMap<TableId, ReadonlyMap<RowKey, Row | null>> {
    const images = new Map<TableId, Map<RowKey, Row | null>>();
    const keep = (table: TableId, key: RowKey): void => {
      const of = images.get(table) ?? new Map<RowKey, Row | null>();
      images.set(table, of);
      if (!of.has(key)) of.set(key, this.table(table).rows.get(key) ?? null);
    };
    for (const statement of statements) {
      if (statement.op === 'truncate') throw new Error('a truncate locks the table, so nobody reads it while it is hidden');
      const { schema } = this.table(statement.table);
      if (statement.op !== 'insert') keep(statement.table, keyOf(schema, statement.id));
      if (statement.op === 'insert') keep(statement.table, present(rowKeyOf(schema, statement.row), 'key'));
      if (statement.op === 'update' && typeof statement.row[0] === 'string') keep(statement.table, keyOf(schema, statement.row[0]));
    }
    return images;
  }

  /** A transaction in which the stream finds that it cannot follow the table any more. */
  stopTable(table: TableId, reason: string): FakeTransaction {
    return this.#append([{ tag: 'stopped', table, reason }]);
  }

  beat(): Heartbeat {
    this.heartbeats += 1;
    const { at } = this.say('heartbeat');
    return { at, counter: this.heartbeats };
  }

  mark(): LineageMark {
    const id = `mark ${this.heartbeats}/${this.marks.length}/${this.#lsn}`;
    this.marks = [...this.marks, id];
    this.grow(8n);
    return { id, position: positionOf(String(this.#lsn)) };
  }

  /** Work in other tables: the log grows and nothing of it is shown. */
  grow(bytes = 64n): void {
    this.#lsn += bytes;
    this.wakeAll();
  }

  /** Ends the connection that holds the slot, as a killed walsender does. */
  disconnect(error = new CausewayError('source_unavailable', 'the connection was ended')): void {
    this.connection?.fail(error);
    this.connection = null;
  }

  /** A restart. The slot may come back at an earlier position, since the server does not write each one down. */
  restart(slotBackTo: bigint | null = null): void {
    this.disconnect();
    if (this.slot !== null && slotBackTo !== null && slotBackTo < this.slot.position) this.slot.position = slotBackTo;
  }

  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const aborted = (): void => {
        this.#waiting.delete(wake);
        reject(signal.reason as Error);
      };
      const wake = (): void => {
        signal.removeEventListener('abort', aborted);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', aborted, { once: true });
    });
  }

  wakeAll(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  async enter(call: FakeCall, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await Promise.resolve();
    await this.onCall?.(call);
    signal.throwIfAborted();
    if (!this.available) throw new CausewayError('source_unavailable', 'the source refuses connections');
  }

  #append(rows: readonly SourceMessage[]): FakeTransaction {
    this.#lsn += 8n;
    const commit = this.#lsn;
    this.#lsn += 1n;
    const end = this.#lsn;
    this.#xid += 1;
    const at = this.now();
    const transactionId = String(this.#xid);
    const messages: readonly SourceMessage[] = [
      { tag: 'begin', commit, transactionId, committedAt: at, origin: null },
      ...rows,
      { tag: 'commit', position: positionOf(String(end)) },
    ];
    const transaction = { commit, end, xid: this.#xid, at, messages };
    this.transactions.push(transaction);
    this.wakeAll();
    return transaction;
  }

  #execute(statement: FakeStatement, change: bigint): SourceMessage {
    if (statement.op === 'truncate') {
      for (const id of statement.tables) this.table(id).rows.clear();
      return { tag: 'truncate', tables: statement.tables.map((id) => this.table(id).schema), change };
    }
    const { schema, rows } = this.table(statement.table);
    switch (statement.op) {
      case 'insert': {
        const key = present(rowKeyOf(schema, statement.row), 'key');
        rows.set(key, statement.row);
        return { tag: 'change', schema, change, op: 'insert', key, row: statement.row };
      }
      case 'update': {
        const was = keyOf(schema, statement.id);
        const base = present(rows.get(was), 'row to update');
        const row = mergePartial(base, statement.row);
        // What it leaves as it was is not known either.
        if (isPartial(statement.row) && this.#unreadable.has(base)) this.#unreadable.add(row);
        const key = present(rowKeyOf(schema, row), 'key');
        rows.delete(was);
        rows.set(key, row);
        return { tag: 'change', schema, change, op: 'update', key, row: statement.row, oldKey: key === was ? null : was };
      }
      case 'delete': {
        const key = keyOf(schema, statement.id);
        rows.delete(key);
        return { tag: 'change', schema, change, op: 'delete', key };
      }
      case 'unreadable': {
        const key = keyOf(schema, statement.id);
        const row = [...present(rows.get(key), 'row to change')];
        this.#unreadable.add(row);
        rows.set(key, row);
        return { tag: 'change', schema, change, op: 'unreadable', key, reason: 'not valid in the encoding' };
      }
    }
  }
}

/** A Source over a FakeDatabase. Several may stand before one database, as several processes do. */
export class FakeSource implements Source {
  readonly kind = 'fake';
  readonly #database: FakeDatabase;

  constructor(database: FakeDatabase) {
    this.#database = database;
  }

  check(): Promise<readonly []> {
    return Promise.resolve([]);
  }

  async inspect(signal: AbortSignal): Promise<SourceFacts> {
    const database = this.#database;
    await database.enter('inspect', signal);
    const { slot } = database;
    return {
      identity: database.identity,
      slot:
        slot === null
          ? null
          : {
              position: positionOf(String(slot.position)),
              active: database.connection !== null,
              unusable: slot.unusable,
              retainedBytes: database.budget?.retainedBytes ?? Number(database.head - slot.position),
              backlogBytes: Number(database.head - slot.position),
              headroomBytes: database.budget?.headroomBytes ?? null,
              plugin: 'fake',
              failover: false,
              spilledBytes: null,
              openTransactionSeconds: null,
              walStatus: 'reserved',
              name: 'causeway_fake',
            },
      tables: database.tables.map((table) => ({ schema: table.schema, fingerprint: fingerprintOf(table), holdsRows: table.rows.size > 0 })),
      refused: database.refused,
      head: positionOf(String(database.head)),
      lineage: { marks: database.marks, heartbeats: database.heartbeats },
      now: database.now(),
    };
  }

  async provision(slot: 'keep' | 'create' | 'recreate', signal: AbortSignal): Promise<Position | null> {
    const database = this.#database;
    await database.enter('provision', signal);
    const made = slot === 'recreate' || (slot === 'create' && database.slot === null);
    if (made) {
      database.disconnect();
      database.slot = { position: database.head, unusable: null };
    }
    await database.enter('provisioned', signal);
    return made ? positionOf(String(present(database.slot, 'slot').position)) : null;
  }

  async follow(tables: readonly TableId[], signal: AbortSignal): Promise<readonly TableId[]> {
    const database = this.#database;
    await database.enter('follow', signal);
    return tables.filter((table) => database.tables.some(({ schema }) => schema.table === table) && !database.writtenBefore.has(table));
  }

  async deprovision(signal: AbortSignal): Promise<readonly string[]> {
    await this.#database.enter('provision', signal);
    this.#database.slot = null;
    this.#database.marks = [];
    this.#database.heartbeats = 0;
    return ['slot'];
  }

  async open(signal: AbortSignal): Promise<FakeStream> {
    const database = this.#database;
    await database.enter('open', signal);
    const { slot } = database;
    if (slot === null) throw new CausewayError('source_slot_lost', 'there is no slot');
    if (slot.unusable !== null) throw new CausewayError('source_slot_lost', slot.unusable);
    database.disconnect(new CausewayError('source_unavailable', 'another connection took the slot'));
    const stream = new FakeStream(database, slot.position);
    database.connection = stream;
    database.connections += 1;
    await database.enter('opened', signal);
    return stream;
  }

  rows(): FakeRows {
    return new FakeRows(this.#database);
  }

  comparePositions(a: Position, b: Position): number {
    const difference = BigInt(a) - BigInt(b);
    return difference < 0n ? -1 : Number(difference > 0n);
  }

  compareFingerprints(stored: TableFingerprint, current: TableFingerprint, truncatedBy: string | null = null): FingerprintVerdict {
    if (stored.hash === current.hash) return { tag: 'same' };
    const verdict = current.facts as FingerprintVerdict;
    const isExplained = (truncatedBy ?? '') !== '' && verdict.tag === 'reconcile' && verdict.onlyFiles === true;
    return isExplained ? { tag: 'harmless', text: 'truncated' } : verdict;
  }

  async heartbeat(signal: AbortSignal): Promise<Heartbeat> {
    await this.#database.enter('heartbeat', signal);
    return this.#database.beat();
  }

  async addMark(signal: AbortSignal): Promise<LineageMark> {
    await this.#database.enter('mark', signal);
    return this.#database.mark();
  }

  async dropMarks(ids: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#database.enter('mark', signal);
    this.#database.marks = this.#database.marks.filter((id) => !ids.includes(id));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

export class FakeStream implements SourceStream {
  readonly #database: FakeDatabase;
  readonly #from: bigint;
  readonly #ended = new AbortController();

  constructor(database: FakeDatabase, from: bigint) {
    this.#database = database;
    this.#from = from;
  }

  fail(error: CausewayError): void {
    this.#ended.abort(error);
  }

  async *messages(signal: AbortSignal): AsyncIterable<readonly SourceMessage[]> {
    const database = this.#database;
    const ended = AbortSignal.any([signal, this.#ended.signal]);
    // As with a real one, the signal ends the connection, not the reading alone.
    signal.addEventListener('abort', () => this.fail(new CausewayError('source_unavailable', 'the connection was closed')));
    const shown = new Set<string>();
    let next = database.transactions.findIndex(({ commit }) => commit >= this.#from);
    if (next < 0) next = database.transactions.length;
    let told = this.#from;
    while (true) {
      await database.enter('messages', ended);
      ended.throwIfAborted();
      const transaction = database.transactions[next];
      if (transaction !== undefined) {
        const messages = withSchemas(transaction.messages, shown);
        for (let at = 0; at < messages.length;) {
          const size = 1 + Math.floor(database.random() * database.arrayMax);
          yield messages.slice(at, at + size);
          ended.throwIfAborted();
          at += size;
        }
        next += 1;
        told = transaction.end;
      } else if (!database.holdKeepalives && database.head > told) {
        told = database.head;
        yield [{ tag: 'keepalive', position: positionOf(String(told)) }];
      } else {
        await database.changed(ended);
      }
    }
  }

  acknowledge(position: Position): void {
    const database = this.#database;
    // A connection that was ended reaches nobody.
    if (this.#ended.signal.aborted || database.slot === null) return;
    database.acknowledged.push(BigInt(position));
    if (BigInt(position) > database.slot.position) database.slot.position = BigInt(position);
  }

  [Symbol.asyncDispose](): Promise<void> {
    if (this.#database.connection === this) this.#database.connection = null;
    this.#ended.abort(new CausewayError('source_unavailable', 'the stream was closed'));
    return Promise.resolve();
  }
}

function withSchemas(messages: readonly SourceMessage[], shown: Set<string>): readonly SourceMessage[] {
  return messages.flatMap((message): readonly SourceMessage[] => {
    const schemas = message.tag === 'change' ? [message.schema] : message.tag === 'truncate' ? message.tables : [];
    const fresh = schemas.filter(({ version }) => !shown.has(version));
    for (const { version } of fresh) shown.add(version);
    return [...fresh.map((schema) => ({ tag: 'schema', schema }) as const), message];
  });
}

function schemaOf(table: TableId, names: readonly string[]): TableSchema {
  const columns = names.map((name, index): Column => ({
    name,
    type: { tag: 'text' },
    sourceType: 'text',
    nullable: index > 0,
    constantDefault: null,
  }));
  return tableSchema({ table, columns, key: [0] });
}

function keyOf(schema: TableSchema, id: string): RowKey {
  return present(rowKeyOf(schema, [id]), 'key');
}

function fingerprintOf(table: FakeTable): TableFingerprint {
  return { hash: digest(`${table.schema.version}/${table.revision}`), facts: table.verdict };
}
