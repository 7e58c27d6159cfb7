import { present } from '#core/assert.ts';
import { keyColumnText, rowKeyOf, type RowKey } from '#core/key.ts';
import { SEQUENCE_ZERO, type Sequence } from '#core/sequence.ts';
import type { KeyRange, SinkRow } from '#core/sink.ts';
import type { Row } from '#core/value.ts';

import { DELETED_COLUMN, SEQUENCE_COLUMN } from './names.ts';
import { storedSequence } from './progress.ts';
import type { Session, TextRow } from './session.ts';
import type { ColumnShape, Shape } from './shape.ts';
import { keyList } from './sweep.ts';

/** Keys that one statement reads. */
export const PAGE_ROWS = 1_000;

/**
 * A page of a scan: rows with their sequence, tombstones among them, in the database's key order. `after` is the key of the last
 * page's last row as the database printed it, null for the first page; `from` is inclusive and `to` exclusive.
 */
export async function readPage(
  session: Session,
  shape: Shape,
  range: KeyRange,
  after: readonly string[] | null,
): Promise<{ readonly rows: readonly SinkRow[]; readonly after: readonly string[] | null }> {
  const values: string[] = [];
  const bounds: string[] = [];
  const add = (operator: string, parts: readonly string[]): void => {
    const expressions = shape.key.map((column, place) => {
      values.push(present(parts[place], 'a column of a key'));
      return column.fromText(`$${values.length}`);
    });
    bounds.push(`(KEY) ${operator} (${expressions.join(', ')})`);
  };
  if (after !== null) add('>', after);
  else if (range.from !== null) add('>=', printed(shape, range.from));
  if (range.to !== null) add('<', printed(shape, range.to));
  const where = (alias: string): string => ['true', ...bounds].join(' AND ').replaceAll('KEY', keyList(shape, alias));
  const text = shape.register === 'sidecar' ? sidecarPage(shape, where) : inlinePage(shape, where);
  const found = await session.texts(text, values);
  const last = found.at(-1);
  const keyWidth = shape.key.length;
  return {
    rows: found.map((row) => parseRow(shape, row)),
    after: last === undefined || found.length < PAGE_ROWS ? null : last.slice(0, keyWidth).map((part) => present(part, 'a key column')),
  };
}

/** Canonical texts of a key as parameters that the database reads. */
function printed(shape: Shape, parts: readonly string[]): string[] {
  return shape.key.map((column, place) => column.toText(present(parts[place], 'a column of a key')));
}

/** Columns: the key as text, sequence, whether live, all columns. */
function sidecarPage(shape: Shape, where: (alias: string) => string): string {
  const order = shape.key.map((_, place) => `both_kinds.o${place}`).join(', ');
  const ordered = (alias: string): string => shape.key.map((column, place) => `${alias}.${column.name} AS o${place}`).join(', ');
  const same = shape.key.map((column) => `v.${column.name} = t.${column.name}`).join(' AND ');
  const raw = shape.columns.map((column) => `c${column.index}`);
  const live = `SELECT ${ordered('t')}, v.${SEQUENCE_COLUMN} AS s, true AS live, ${shape.columns.map((column) => `t.${column.name} AS c${column.index}`).join(', ')}
  FROM ${shape.table} AS t LEFT JOIN ${shape.versionTable} AS v ON ${same} WHERE ${where('t')} ORDER BY ${keyList(shape, 't')} LIMIT ${PAGE_ROWS}`;
  const dead = `SELECT ${ordered('v')}, v.${SEQUENCE_COLUMN} AS s, false AS live, ${shape.columns.map((column) => `t.${column.name} AS c${column.index}`).join(', ')}
  FROM ${shape.versionTable} AS v LEFT JOIN ${shape.table} AS t ON ${same} WHERE t.${keyName(shape)} IS NULL AND ${where('v')} ORDER BY ${keyList(shape, 'v')} LIMIT ${PAGE_ROWS}`;
  const keys = shape.key.map((_, place) => `o${place}`).join(', ');
  return `SELECT ${keys}, pg_catalog.encode(s, 'hex'), live::text, ${raw.join(', ')} FROM ((${live}) UNION ALL (${dead})) AS both_kinds
  ORDER BY ${order} LIMIT ${PAGE_ROWS}`;
}

function inlinePage(shape: Shape, where: (alias: string) => string): string {
  const columns = shape.columns.map((column) => `t.${column.name}`).join(', ');
  return `SELECT ${keyList(shape, 't')}, pg_catalog.encode(t.${SEQUENCE_COLUMN}, 'hex'), (NOT t.${DELETED_COLUMN})::text, ${columns}
  FROM ${shape.table} AS t WHERE ${where('t')} ORDER BY ${keyList(shape, 't')} LIMIT ${PAGE_ROWS}`;
}

function keyName(shape: Shape): string {
  return present(shape.key[0], 'a column of the key').name;
}

function parseRow(shape: Shape, found: TextRow): SinkRow {
  const width = shape.key.length;
  const stored = sequenceOf(found[width] ?? null);
  if (found[width + 1] === 'true') {
    const row = rowOf(shape, found.slice(width + 2));
    return { key: present(rowKeyOf(shape.schema, row), 'a stored row has a key'), sequence: stored, row };
  }
  const parts = shape.key.map((column, place) =>
    keyColumnText(column.type, present(decoded(column, found[place] ?? null), 'a key column')),
  );
  return { key: JSON.stringify([shape.schema.table, ...parts]) as RowKey, sequence: stored, row: null };
}

/** Of a version row, in hexadecimal: null where there is none, or where it only locks a row without a version. */
export function sequenceOf(stored: string | null): Sequence | null {
  return stored === null || stored === SEQUENCE_ZERO ? null : storedSequence(stored);
}

/** From the columns as the database printed them, in the shape's order. */
export function rowOf(shape: Shape, printed: TextRow): Row {
  return shape.columns.map((column, place) => decoded(column, printed[place] ?? null));
}

function decoded(column: ColumnShape, text: string | null): string | null {
  return text === null ? null : column.decode(text);
}
