import { assert, present } from '#core/assert.ts';
import { digest } from '#core/hash.ts';
import type { RowChange, RowOutcome } from '#core/sink.ts';
import type { SchemaVersion, TableSchema } from '#core/schema.ts';
import type { Row } from '#core/value.ts';

import type { Bytes, Statement } from '../lib/postgres/flight.ts';
import { encodeFlags, encodeSequences } from './encode.ts';
import type { Session, TextRow } from './session.ts';
import { checkComplete, type ColumnShape, type Shape } from './shape.ts';
import {
  adoptStatement,
  advanceCountStatement,
  advanceStatement,
  deleteStatement,
  inlineCountStatement,
  inlineStatement,
  lookStatement,
  patchStatement,
  patchVersionStatement,
  upsertStatement,
} from './statements.ts';

const APPLIED: RowOutcome = { tag: 'applied' };
const STALE: RowOutcome = { tag: 'stale' };
const WITHOUT_BASE: RowOutcome = {
  tag: 'rejected',
  code: 'partial_without_base',
  reason: 'an update without all columns, and the sink has no row of the key',
};

/** A change with the values of its key in place, and its place in the batch. */
export type Placed = { readonly at: number; readonly change: RowChange; readonly row: Row };

/** Statements of a shape, built once. */
type Writer = {
  readonly shape: Shape;
  readonly statement: (kind: keyof typeof builders) => { readonly text: string; readonly name: string };
};

const builders = {
  advance: advanceStatement,
  advanceCount: advanceCountStatement,
  upsert: upsertStatement,
  delete: deleteStatement,
  inline: inlineStatement,
  inlineCount: inlineCountStatement,
  look: lookStatement,
  adopt: adoptStatement,
  patchVersion: patchVersionStatement,
};

export function writerOf(shape: Shape): Writer {
  const built = new Map<keyof typeof builders, { readonly text: string; readonly name: string }>();
  const statement: Writer['statement'] = (kind) => {
    let known = built.get(kind);
    if (known === undefined) {
      const text = builders[kind](shape);
      // A name is prepared once for a connection, and a shape that is read again has the same statements.
      known = { text, name: `causeway-${kind}-${digest(text)}` };
      built.set(kind, known);
    }
    return known;
  };
  return { shape, statement };
}

export type { Writer };

/** Applies changes of distinct keys inside the transaction that `session` has open. */
export async function writeRows(
  session: Session,
  changes: readonly RowChange[],
  writers: (schema: TableSchema) => Promise<Writer>,
): Promise<RowOutcome[]> {
  const outcomes = new Array<RowOutcome | undefined>(changes.length);
  for (const { schema, placed } of groupsOf(changes)) {
    const writer = await writers(schema);
    const partial = placed.filter(({ change }) => change.tag === 'partial');
    const whole = partial.length === 0 ? placed : placed.filter(({ change }) => change.tag !== 'partial');
    const writable = writer.shape.missing.length === 0 ? whole : await withoutStale(session, writer, whole, outcomes);
    if (writable.length > 0) await writeWhole(session, writer, writable, outcomes);
    if (partial.length > 0) await writePartial(session, writer, partial, outcomes);
  }
  return outcomes.map((outcome) => present(outcome, 'an outcome of each row'));
}

/** One order for all workers, so that two of them which write the same keys wait for each other instead of locking crosswise. */
export function groupsOf(changes: readonly RowChange[]): { readonly schema: TableSchema; readonly placed: Placed[] }[] {
  const groups = new Map<SchemaVersion, { readonly schema: TableSchema; readonly placed: Placed[] }>();
  for (const [at, change] of changes.entries()) {
    let group = groups.get(change.schema.version);
    if (group === undefined) {
      group = { schema: change.schema, placed: [] };
      groups.set(change.schema.version, group);
    }
    group.placed.push({ at, change, row: change.tag === 'delete' ? keyRow(change) : change.row });
  }
  for (const { placed } of groups.values()) placed.sort((a, b) => compareTexts(a.change.key, b.change.key));
  return [...groups.values()].sort((a, b) => compareTexts(a.schema.table + a.schema.version, b.schema.table + b.schema.version));
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The key's own texts: a delete has no others. */
function keyRow(change: RowChange): Row {
  const row = new Array<string | null>(change.schema.columns.length).fill(null);
  const parts = JSON.parse(change.key) as readonly string[];
  for (const [place, index] of change.schema.key.entries()) row[index] = present(parts[place + 1], 'a column of a key');
  return row;
}

/**
 * For a table that lacks columns: after a column was dropped, here too, rows of the older schema can be sent again. Those that
 * the register knows are stale whatever columns they have, and a delete needs none. Throws for a row that would be written.
 */
async function withoutStale(
  session: Session,
  writer: Writer,
  placed: readonly Placed[],
  outcomes: (RowOutcome | undefined)[],
): Promise<Placed[]> {
  const { shape } = writer;
  const rows = placed.filter(({ change }) => change.tag !== 'delete');
  const { text, name } = writer.statement('look');
  const looked = rows.length === 0 ? [] : await session.texts(text, [...encoded(shape.key, rows), sequences(rows)], name);
  if (looked.length < rows.length || looked.some(([, newer]) => newer === 'true')) checkComplete(shape);
  for (const { at } of rows) outcomes[at] = STALE;
  return placed.filter(({ change }) => change.tag === 'delete');
}

async function writeWhole(
  session: Session,
  writer: Writer,
  placed: readonly Placed[],
  outcomes: (RowOutcome | undefined)[],
): Promise<void> {
  const { shape } = writer;
  const { text, name } = writer.statement(shape.register === 'inline' ? 'inline' : 'advance');
  const winners = ordinals(await session.texts(text, parametersOf(shape, placed), name));
  for (const [index, { at }] of placed.entries()) outcomes[at] = winners.has(index + 1) ? APPLIED : STALE;
  if (shape.register === 'inline') return;
  const won = winners.size === placed.length ? placed : placed.filter((_, index) => winners.has(index + 1));
  const deleted = won.filter(({ change }) => change.tag === 'delete');
  const written = deleted.length === 0 ? won : won.filter(({ change }) => change.tag !== 'delete');
  // Statements of their own, each with a newer snapshot than the one that took the locks: what another worker committed before
  // it let go of a version row is seen here.
  if (written.length > 0) await session.run(replacementOf(writer, written));
  if (deleted.length > 0) await session.run(removalOf(writer, deleted));
}

/** Of the statements that advance a register: what the rows are, their sequences, which of them are tombstones. */
export function parametersOf(shape: Shape, placed: readonly Placed[]): Bytes[] {
  const isDelete = (index: number): boolean => placed[index]?.change.tag === 'delete';
  const columns = shape.register === 'inline' ? shape.columns : shape.key;
  return [...encoded(columns, placed), sequences(placed), encodeFlags(placed.length, isDelete)];
}

export function replacementOf(writer: Writer, written: readonly Placed[]): Statement {
  return { ...writer.statement('upsert'), values: encoded(writer.shape.columns, written) };
}

/** Without a name, so that it is planned for the table as large as it is now: it joins, and a plan that is kept may be one for an empty table. */
export function removalOf(writer: Writer, deleted: readonly Placed[]): Statement {
  return { text: writer.statement('delete').text, values: encoded(writer.shape.key, deleted) };
}

async function writePartial(
  session: Session,
  writer: Writer,
  placed: readonly Placed[],
  outcomes: (RowOutcome | undefined)[],
): Promise<void> {
  const { shape } = writer;
  const live: Placed[] = [];
  const look = async (some: readonly Placed[]): Promise<Placed[]> => {
    const { text, name } = writer.statement('look');
    const rows = await session.texts(text, [...encoded(shape.key, some), sequences(some)], name);
    const found = new Set<number>();
    for (const [ordinal, newer, deleted] of rows) {
      const index = Number(ordinal) - 1;
      const one = present(some[index], 'a row that was asked for');
      found.add(index);
      if (newer !== 'true') outcomes[one.at] = STALE;
      else if (deleted === 'true') outcomes[one.at] = WITHOUT_BASE;
      else live.push(one);
    }
    return some.filter((_, index) => !found.has(index));
  };
  let unknown = await look(placed);
  if (unknown.length > 0 && shape.register === 'sidecar') {
    const { text, name } = writer.statement('adopt');
    await session.texts(text, encoded(shape.key, unknown), name);
    unknown = await look(unknown);
  }
  for (const { at } of unknown) outcomes[at] = WITHOUT_BASE;
  if (live.length > 0) checkComplete(shape);
  for (const same of byColumns(live)) await patch(session, writer, same, outcomes);
}

/** Rows that have the same columns, together. */
function byColumns(placed: readonly Placed[]): Placed[][] {
  const groups = new Map<string, Placed[]>();
  for (const one of placed) {
    const mask = one.row.map((value) => (value === undefined ? '0' : '1')).join('');
    const group = groups.get(mask);
    if (group === undefined) groups.set(mask, [one]);
    else group.push(one);
  }
  return [...groups.values()];
}

async function patch(session: Session, writer: Writer, placed: readonly Placed[], outcomes: (RowOutcome | undefined)[]): Promise<void> {
  const { shape } = writer;
  const first = present(placed[0], 'a group has a row').row;
  const columns = shape.columns.filter((column) => first[column.index] !== undefined);
  assert(
    shape.key.every((column) => first[column.index] !== undefined),
    'a partial image has its key',
  );
  // Not prepared: there are as many of these statements as there are sets of columns.
  const there = ordinals(await session.texts(patchStatement(shape, columns), [...encoded(columns, placed), sequences(placed)]));
  const patched = placed.filter((_, index) => there.has(index + 1));
  for (const [index, { at }] of placed.entries()) outcomes[at] = there.has(index + 1) ? APPLIED : WITHOUT_BASE;
  if (shape.register === 'inline' || patched.length === 0) return;
  const { text, name } = writer.statement('patchVersion');
  await session.texts(text, [...encoded(shape.key, patched), sequences(patched)], name);
}

function encoded(columns: readonly ColumnShape[], placed: readonly Placed[]): Bytes[] {
  return columns.map((column) => column.encode(placed.length, (index) => placed[index]?.row[column.index]));
}

function sequences(placed: readonly Placed[]): Bytes {
  return encodeSequences(placed.length, (index) => present(placed[index], 'a row').change.sequence);
}

function ordinals(rows: readonly TextRow[]): Set<number> {
  return new Set(rows.map(([ordinal]) => Number(ordinal)));
}
