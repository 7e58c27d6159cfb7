import { SEQUENCE_ZERO } from '#core/sequence.ts';

import { DELETED_COLUMN, SEQUENCE_COLUMN } from './names.ts';
import type { ColumnShape, Shape } from './shape.ts';

/*
 * The statements of the register. A batch comes as one array for each column, so that a statement takes any number of rows.
 * Rows are told apart by their ordinal in the arrays and matched by the database's own equality, never by comparing texts here.
 */

/** `unnest` of one parameter for each column, and of those in `extra`, as a relation `u` with typed columns and `ord`. */
function given(columns: readonly ColumnShape[], extra: readonly { readonly name: string; readonly type: string }[]): string {
  const parameters = [...columns.map((column) => column.parameterType), ...extra.map(({ type }) => type)];
  const arrays = parameters.map((type, index) => `$${index + 1}::${type}`);
  const raw = [...columns.map((column) => `c${column.index}`), ...extra.map(({ name }) => name)];
  const typed = [
    ...columns.map((column) => `r.c${column.index}${column.cast} AS c${column.index}`),
    ...extra.map(({ name }) => `r.${name}`),
  ];
  return `(SELECT ${typed.join(', ')}, r.ord FROM unnest(${arrays.join(', ')}) WITH ORDINALITY AS r(${raw.join(', ')}, ord))`;
}

const SEQ = { name: 'seq', type: 'pg_catalog.bytea[]' } as const;
const DEL = { name: 'del', type: 'pg_catalog.bool[]' } as const;

const names = (columns: readonly ColumnShape[], prefix = ''): string => columns.map((column) => prefix + column.name).join(', ');
const values = (columns: readonly ColumnShape[]): string => columns.map((column) => `u.c${column.index}`).join(', ');
const sameKey = (shape: Shape, left: string, right: 'u'): string =>
  shape.key.map((column) => `${left}.${column.name} = ${right}.c${column.index}`).join(' AND ');
const assignments = (columns: readonly ColumnShape[], from: (column: ColumnShape) => string): string[] =>
  columns.filter((column) => !column.isKey || column.respelled).map((column) => `${column.name} = ${from(column)}`);

/**
 * Sidecar: advances the version rows that are older. Parameters: key columns, sequences, deleted flags. Answers the ordinals
 * of the rows that won. The version rows stay locked until the end of the transaction.
 */
export function advanceStatement(shape: Shape): string {
  return `WITH u AS MATERIALIZED ${given(shape.key, [SEQ, DEL])}, advanced AS (
  ${advance(shape, 'u')} RETURNING ${names(shape.key, 'v.')}
) SELECT u.ord FROM u JOIN advanced ON ${sameKey(shape, 'advanced', 'u')}`;
}

/** The same, which tells by its count alone how many won: that takes the server about an eighth less time for a batch. */
export function advanceCountStatement(shape: Shape): string {
  return advance(shape, given(shape.key, [SEQ, DEL]));
}

function advance(shape: Shape, from: string): string {
  const key = names(shape.key);
  return `INSERT INTO ${shape.versionTable} AS v (${key}, ${SEQUENCE_COLUMN}, ${DELETED_COLUMN})
  SELECT ${values(shape.key)}, u.seq, u.del FROM ${from} AS u
  ON CONFLICT (${key}) DO UPDATE SET ${SEQUENCE_COLUMN} = EXCLUDED.${SEQUENCE_COLUMN}, ${DELETED_COLUMN} = EXCLUDED.${DELETED_COLUMN}
  WHERE v.${SEQUENCE_COLUMN} < EXCLUDED.${SEQUENCE_COLUMN}`;
}

/** Sidecar: writes whole rows, whose version rows were advanced by this transaction. Parameters: all columns. */
export function upsertStatement(shape: Shape): string {
  const set = assignments(shape.columns, (column) => `EXCLUDED.${column.name}`);
  return `INSERT INTO ${shape.table} AS t (${names(shape.columns)}) SELECT ${values(shape.columns)} FROM ${given(shape.columns, [])} AS u
  ON CONFLICT (${names(shape.key)}) DO ${set.length === 0 ? 'NOTHING' : `UPDATE SET ${set.join(', ')}`}`;
}

/** Sidecar: deletes rows, whose version rows were advanced by this transaction. Parameters: key columns. */
export function deleteStatement(shape: Shape): string {
  return `DELETE FROM ${shape.table} AS t USING ${given(shape.key, [])} AS u WHERE ${sameKey(shape, 't', 'u')}`;
}

/**
 * Inline: writes rows that are newer, tombstones (all columns null but the key) among them. Parameters: all columns, sequences,
 * deleted flags. Answers the ordinals of the rows that won.
 */
export function inlineStatement(shape: Shape): string {
  return `WITH u AS MATERIALIZED ${given(shape.columns, [SEQ, DEL])}, advanced AS (
  ${replace(shape, 'u')} RETURNING ${names(shape.key, 't.')}
) SELECT u.ord FROM u JOIN advanced ON ${sameKey(shape, 'advanced', 'u')}`;
}

/** The same, which tells by its count alone how many won. */
export function inlineCountStatement(shape: Shape): string {
  return replace(shape, given(shape.columns, [SEQ, DEL]));
}

function replace(shape: Shape, from: string): string {
  const set = assignments(shape.columns, (column) => `EXCLUDED.${column.name}`);
  const own = [SEQUENCE_COLUMN, DELETED_COLUMN].map((name) => `${name} = EXCLUDED.${name}`);
  return `INSERT INTO ${shape.table} AS t (${names(shape.columns)}, ${SEQUENCE_COLUMN}, ${DELETED_COLUMN})
  SELECT ${values(shape.columns)}, u.seq, u.del FROM ${from} AS u
  ON CONFLICT (${names(shape.key)}) DO UPDATE SET ${[...set, ...own].join(', ')}
  WHERE t.${SEQUENCE_COLUMN} IS NULL OR t.${SEQUENCE_COLUMN} < EXCLUDED.${SEQUENCE_COLUMN}`;
}

/**
 * Locks the registers of some keys and tells, for each that has one, its ordinal, whether the given sequence is newer, and
 * whether it is a tombstone. Parameters: key columns, sequences.
 */
export function lookStatement(shape: Shape): string {
  const held = shape.register === 'sidecar' ? shape.versionTable : shape.table;
  const newer = `(h.${SEQUENCE_COLUMN} IS NULL OR h.${SEQUENCE_COLUMN} < u.seq)`;
  return `SELECT u.ord, ${newer}::text, coalesce(h.${DELETED_COLUMN}, false)::text FROM ${given(shape.key, [SEQ])} AS u
  JOIN ${held} AS h ON ${sameKey(shape, 'h', 'u')} ORDER BY u.ord FOR UPDATE OF h`;
}

/** Sidecar: gives rows without a version the lowest one, so that it can be locked. Parameters: key columns. */
export function adoptStatement(shape: Shape): string {
  return `INSERT INTO ${shape.versionTable} (${names(shape.key)}, ${SEQUENCE_COLUMN}, ${DELETED_COLUMN})
  SELECT ${names(shape.key, 't.')}, '\\x${SEQUENCE_ZERO}'::pg_catalog.bytea, false FROM ${given(shape.key, [])} AS u
  JOIN ${shape.table} AS t ON ${sameKey(shape, 't', 'u')} ORDER BY u.ord ON CONFLICT DO NOTHING`;
}

/**
 * Writes the columns that a partial image has; the registers are locked. Parameters: `columns` (key among them), sequences.
 * Answers the ordinals of the rows that were there.
 */
export function patchStatement(shape: Shape, columns: readonly ColumnShape[]): string {
  const set = assignments(columns, (column) => `u.c${column.index}`);
  if (shape.register === 'inline') set.push(`${SEQUENCE_COLUMN} = u.seq`, `${DELETED_COLUMN} = false`);
  const first = shape.key[0]?.name ?? '';
  if (set.length === 0) set.push(`${first} = t.${first}`);
  return `UPDATE ${shape.table} AS t SET ${set.join(', ')} FROM ${given(columns, [SEQ])} AS u WHERE ${sameKey(shape, 't', 'u')} RETURNING u.ord`;
}

/** Sidecar: advances version rows that are locked. Parameters: key columns, sequences. */
export function patchVersionStatement(shape: Shape): string {
  return `UPDATE ${shape.versionTable} AS v SET ${SEQUENCE_COLUMN} = u.seq FROM ${given(shape.key, [SEQ])} AS u WHERE ${sameKey(shape, 'v', 'u')}`;
}

/**
 * Rows and tombstones of some keys, by their ordinals, with the sequence in hexadecimal and whether the row is live: as a scan tells them
 * apart, by the replicated table. Parameters: key columns.
 */
export function readStatement(shape: Shape): string {
  const asked = given(shape.key, []);
  const columns = names(shape.columns, 't.');
  if (shape.register === 'inline') {
    return `SELECT u.ord, pg_catalog.encode(t.${SEQUENCE_COLUMN}, 'hex'), (NOT t.${DELETED_COLUMN})::text, ${columns} FROM ${asked} AS u
  JOIN ${shape.table} AS t ON ${sameKey(shape, 't', 'u')}`;
  }
  const first = shape.key[0]?.name ?? '';
  return `SELECT u.ord, pg_catalog.encode(v.${SEQUENCE_COLUMN}, 'hex'), (t.${first} IS NOT NULL)::text, ${columns} FROM ${asked} AS u
  LEFT JOIN ${shape.table} AS t ON ${sameKey(shape, 't', 'u')} LEFT JOIN ${shape.versionTable} AS v ON ${sameKey(shape, 'v', 'u')}
  WHERE t.${first} IS NOT NULL OR v.${first} IS NOT NULL`;
}
