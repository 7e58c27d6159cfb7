import { assert, present, unreachable } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { SourceMessage } from '#core/event.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { Value } from '#core/value.ts';
import { compareLsn, positionOfLsn, type Lsn } from './lsn.ts';
import type { PgoutputMessage } from './pgoutput/decode.ts';
import type { Delete, Insert, OldTuple, Update } from './pgoutput/row.ts';
import type { Begin, Commit } from './pgoutput/transaction.ts';
import type { Truncate } from './pgoutput/truncate.ts';
import type { Tuple } from './pgoutput/tuple.ts';
import type { Relation, RelationResolver } from './relation.ts';
import { canonicalise, conversionsOf, convertColumns, unreadableColumn, type Conversion, type RowForm } from './row-values.ts';

/** A table whose changes are shown. */
type Followed = RowForm & {
  readonly tag: 'followed';
  readonly relation: Relation;
  readonly keyConversions: readonly Conversion[];
};

type Known = Followed | { readonly tag: 'dropped' };

const DROPPED: Known = { tag: 'dropped' };

/**
 * Turns decoded messages into what the core reads: rows with canonical texts, keys, key changes. It holds what one connection
 * has described, so every connection gets a new one, and the first change of each table is preceded by its schema again.
 */
export class Assembler {
  readonly #resolver: RelationResolver;
  readonly #relations = new Map<number, Known>();
  /** As last shown, to say a schema again only when something about it is new. */
  readonly #shown = new Map<TableId, TableSchema>();
  readonly #stopped = new Set<TableId>();
  #transaction: Begin | null = null;
  /** The origin stands behind the Begin, so that is held back until the message after it. */
  #unshown: Begin | null = null;

  constructor(resolver: RelationResolver) {
    this.#resolver = resolver;
  }

  /** Describes a table. Everything behind the Relation message waits until this resolves. */
  async describe(relation: Relation, out: SourceMessage[], signal: AbortSignal): Promise<void> {
    const resolution = await this.#resolver.resolve(relation, signal);
    switch (resolution.tag) {
      case 'captured':
        this.#follow(relation, resolution.schema, out);
        return;
      case 'partition':
        this.#relations.set(relation.oid, DROPPED);
        if (!coversKey(relation, resolution.rootKey)) {
          this.#stop(
            resolution.root,
            `the replica identity of its partition ${relation.schema}.${relation.name} does not cover the primary key`,
            out,
          );
        }
        return;
      case 'ignored':
        this.#relations.set(relation.oid, DROPPED);
        return;
      case 'stopped':
        this.#relations.set(relation.oid, DROPPED);
        this.#stop(resolution.table, resolution.reason, out);
        return;
      default:
        unreachable(resolution);
    }
  }

  /** Appends what the message shows to `out`. `lsn` is the place of the message, `XLogData` start. */
  add(message: PgoutputMessage, lsn: Lsn, out: SourceMessage[]): void {
    switch (message.tag) {
      case 'begin':
        if (this.#transaction !== null) throw streamInvalid('began a transaction inside another one');
        this.#transaction = message;
        this.#unshown = message;
        return;
      case 'origin':
        if (this.#unshown === null) throw streamInvalid('named an origin that does not follow the begin of a transaction');
        this.#showBegin(message.name, out);
        return;
      case 'commit':
        this.#commit(message, out);
        return;
      case 'insert':
        this.#enterChange(out);
        this.#insert(message, lsn, out);
        return;
      case 'update':
        this.#enterChange(out);
        this.#update(message, lsn, out);
        return;
      case 'delete':
        this.#enterChange(out);
        this.#delete(message, lsn, out);
        return;
      case 'truncate':
        this.#enterChange(out);
        this.#truncate(message, lsn, out);
        return;
      case 'message':
        if (message.transactional) this.#enterChange(out);
        out.push({
          tag: 'message',
          prefix: message.prefix,
          content: message.content.toString('utf8'),
          transactional: message.transactional,
        });
        return;
      // The catalogue tells all that is needed about types.
      case 'type':
        return;
      case 'relation':
        throw streamInvalid('described a table where its description is not awaited');
      default:
        unreachable(message);
    }
  }

  #showBegin(origin: string | null, out: SourceMessage[]): void {
    const begin = this.#unshown;
    if (begin === null) return;
    this.#unshown = null;
    out.push({
      tag: 'begin',
      commit: begin.commitLsn,
      transactionId: String(begin.xid),
      committedAt: begin.committedAt,
      origin,
    });
  }

  #enterChange(out: SourceMessage[]): void {
    if (this.#transaction === null) throw streamInvalid('sent a change outside of a transaction');
    this.#showBegin(null, out);
  }

  #commit(commit: Commit, out: SourceMessage[]): void {
    const begin = this.#transaction;
    if (begin === null || compareLsn(begin.commitLsn, commit.commitLsn) !== 0)
      throw streamInvalid('committed a transaction that was not begun');
    this.#showBegin(null, out);
    this.#transaction = null;
    out.push({ tag: 'commit', position: positionOfLsn(commit.endLsn) });
  }

  #follow(relation: Relation, schema: TableSchema, out: SourceMessage[]): void {
    assert(schema.columns.length === relation.columns.length, 'a resolved schema has the columns of its relation');
    const key = schema.key.map((index) => present(schema.columns[index], 'a column of the key').name);
    if (this.#stopped.has(schema.table)) {
      this.#relations.set(relation.oid, DROPPED);
      return;
    }
    if (!coversKey(relation, key)) {
      this.#relations.set(relation.oid, DROPPED);
      this.#stop(schema.table, 'its replica identity does not cover the primary key', out);
      return;
    }
    const conversions = conversionsOf(schema);
    const keyConversions = conversions.filter(({ column }) => schema.key.includes(column));
    this.#relations.set(relation.oid, { tag: 'followed', relation, schema, conversions, keyConversions });
    const shown = this.#shown.get(schema.table);
    if (shown !== undefined && JSON.stringify(shown) === JSON.stringify(schema)) return;
    this.#shown.set(schema.table, schema);
    if (this.#transaction !== null) this.#showBegin(null, out);
    out.push({ tag: 'schema', schema });
  }

  /** From here on the table's changes are dropped; only a new load brings it back. */
  #stop(table: TableId, reason: string, out: SourceMessage[]): void {
    this.#stopped.add(table);
    for (const [oid, known] of this.#relations) {
      if (known.tag === 'followed' && known.schema.table === table) this.#relations.set(oid, DROPPED);
    }
    this.#resolver.stopped(table, reason);
    out.push({ tag: 'stopped', table, reason });
  }

  #known(oid: number): Known {
    const known = this.#relations.get(oid);
    if (known === undefined) throw streamInvalid('sent a change of a table that it has not described');
    return known;
  }

  /** Null where the row's columns are not the described ones, or the change is not to be shown. */
  #followed(oid: number, tuple: Tuple): Followed | null {
    const known = this.#known(oid);
    if (known.tag === 'dropped') return null;
    if (tuple.values.length !== known.schema.columns.length) throw streamInvalid('sent a row with other columns than it has described');
    return known;
  }

  #insert(message: Insert, lsn: Lsn, out: SourceMessage[]): void {
    const table = this.#followed(message.relation, message.row);
    if (table === null) return;
    const reason = canonicalise(table, message.row);
    const { schema } = table;
    const row = message.row.values;
    const key = rowKeyOf(schema, row);
    if (key === null) {
      this.#stop(schema.table, UNREADABLE_KEY, out);
    } else if (reason !== null) {
      out.push({ tag: 'change', schema, change: lsn, op: 'unreadable', key, reason });
    } else {
      out.push({ tag: 'change', schema, change: lsn, op: 'insert', key, row });
    }
  }

  #update(message: Update, lsn: Lsn, out: SourceMessage[]): void {
    const table = this.#followed(message.relation, message.row);
    if (table === null) return;
    const { schema } = table;
    const { old } = message;
    const filledUnreadable = old === null ? null : fillUnchanged(table, message.row.values, old);
    const reason = canonicalise(table, message.row) ?? filledUnreadable;
    const row = message.row.values;
    const key = rowKeyOf(schema, row);
    const previous = old === null ? key : oldKeyOf(table, old);
    if (key === null || previous === null) {
      this.#stop(schema.table, UNREADABLE_KEY, out);
      return;
    }
    const oldKey = previous === key ? null : previous;
    if (reason === null) {
      out.push({ tag: 'change', schema, change: lsn, op: 'update', key, row, oldKey });
      return;
    }
    if (oldKey !== null) out.push({ tag: 'change', schema, change: lsn, op: 'delete', key: oldKey });
    out.push({ tag: 'change', schema, change: lsn, op: 'unreadable', key, reason });
  }

  #delete(message: Delete, lsn: Lsn, out: SourceMessage[]): void {
    const table = this.#followed(message.relation, message.old.tuple);
    if (table === null) return;
    const { schema } = table;
    const key = oldKeyOf(table, message.old);
    if (key === null) this.#stop(schema.table, UNREADABLE_KEY, out);
    else out.push({ tag: 'change', schema, change: lsn, op: 'delete', key });
  }

  #truncate(message: Truncate, lsn: Lsn, out: SourceMessage[]): void {
    const tables = message.relations
      .map((oid) => this.#known(oid))
      .filter((known) => known.tag === 'followed')
      .map((known) => known.schema);
    if (tables.length > 0) out.push({ tag: 'truncate', tables, change: lsn });
  }
}

const UNREADABLE_KEY = 'the primary key of a changed row is not in the stream, or is not text that can be read';

function streamInvalid(what: string): CausewayError {
  return new CausewayError('source_stream_invalid', `the source ${what}`);
}

/** Without this an update of the key arrives without the old key, and a delete without any. */
function coversKey(relation: Relation, key: readonly string[]): boolean {
  return key.every((name) => relation.columns.some((column) => column.name === name && column.inIdentity));
}

/**
 * A column that the update left out because it is large and unchanged stands in the old row, where that was logged: under
 * replica identity full every column, otherwise the identity's. Returns why, where what stands there cannot be read.
 */
function fillUnchanged(table: Followed, values: Value[], old: OldTuple): string | null {
  const before = old.tuple.values;
  if (before.length !== values.length) throw streamInvalid('sent an old row with other columns than it has described');
  let reason: string | null = null;
  for (let column = values.indexOf(undefined); column !== -1; column = values.indexOf(undefined, column + 1)) {
    if (old.kind === 'key' && table.relation.columns[column]?.inIdentity !== true) continue;
    if (old.tuple.unreadable.includes(column)) reason = unreadableColumn(table, column);
    values[column] = before[column];
  }
  return reason;
}

function oldKeyOf(table: Followed, old: OldTuple): RowKey | null {
  convertColumns(table, old.tuple.values, table.keyConversions);
  return rowKeyOf(table.schema, old.tuple.values);
}
