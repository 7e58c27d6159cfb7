import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { Sequence } from '#core/sequence.ts';
import { hasPassed } from '#core/sink.ts';

import { encodeTexts } from './encode.ts';
import { DELETED_COLUMN, SEQUENCE_COLUMN } from './names.ts';
import { HELD_COLUMNS, ownerCondition, parseHeld, storedSequence, type ProgressOwner } from './progress.ts';
import { commit, type Session, type TextRow } from './session.ts';
import type { Shape } from './shape.ts';

/** Keys that one transaction looks at. */
const PAGE_KEYS = 5_000;

/**
 * `versions`: version rows below the floor become tombstones at it and their replicated rows go. `rows`: so do replicated rows
 * without a version. An inline register needs the first alone.
 */
type Phase = 'versions' | 'rows';

/** Where a sweep stands: after the key whose columns these are, as the database prints them. */
type Place = { readonly phase: Phase; readonly after: readonly string[] | null };

export type Sweep = { readonly shape: Shape; readonly floor: Sequence; readonly owner: ProgressOwner; readonly partitions: number };

/**
 * One transaction, which goes on from where the sink says: it may have gone back since the last. `done` once the sweep is complete,
 * `rows` counts the live rows that went.
 */
export async function sweepPage(session: Session, sweep: Sweep): Promise<{ readonly done: boolean; readonly rows: number }> {
  return await session.transaction([], async () => {
    const stands = await currentPlace(session, sweep);
    if (stands === null) return commit({ done: true, rows: 0 });
    const { place, floor } = stands;
    const now = { ...sweep, floor };
    await assertPassed(session, now);
    const page = place.phase === 'versions' ? await sweepVersions(session, now, place) : await sweepRows(session, now, place);
    const next = page.last === null ? nextPhase(sweep.shape, place.phase) : { phase: place.phase, after: page.last };
    await remember(session, now, next);
    return commit({ done: next === null, rows: page.rows });
  });
}

/** A sink that lost a partition's floor gets that partition's older rows again: behind a sweep that counts as done, they would stay. */
async function assertPassed(session: Session, { shape, floor, owner, partitions }: Sweep): Promise<void> {
  const rows = await session.texts(`SELECT ${HELD_COLUMNS} FROM ${owner.own.progress} WHERE ${ownerCondition(owner)}`);
  const held = new Map(rows.map(parseHeld).map(({ partition, progress }) => [partition, progress]));
  for (let partition = 0; partition < partitions; partition += 1) {
    const progress = held.get(partition) ?? null;
    if (progress !== null && hasPassed(progress, { table: shape.schema.table, sequence: floor })) continue;
    throw new CausewayError('sink_went_back', `the sink lost that partition ${partition} had passed a truncate of ${shape.schema.table}`);
  }
}

/**
 * Null where the sweep is complete. A lower floor, or none, under way: begins at the own one. A higher one is another worker's, and does for
 * both: it is gone on with, because two that began anew over each other would never end. Locks the row: one page at a time.
 */
async function currentPlace(
  session: Session,
  { shape, floor, owner }: Sweep,
): Promise<{ readonly place: Place; readonly floor: Sequence } | null> {
  const where = `${ownerCondition(owner)} AND source_table = $1 FOR UPDATE`;
  const [row] = await session.texts(
    `SELECT pg_catalog.encode(swept, 'hex'), pg_catalog.encode(sweeping, 'hex'), sweep_phase, sweep_after::text FROM ${owner.own.tables} WHERE ${where}`,
    [shape.schema.table],
  );
  if (row === undefined) throw new CausewayError('sink_misconfigured', `the sink was not provisioned for the table ${shape.schema.table}`);
  const [swept, sweeping, phase, after] = row;
  if (swept !== null && swept !== undefined && storedSequence(swept) >= floor) return null;
  const under = sweeping === null || sweeping === undefined ? null : storedSequence(sweeping);
  if (under === null || under < floor) return { place: { phase: 'versions', after: null }, floor };
  return { place: { phase: phase as Phase, after: JSON.parse(after ?? 'null') as string[] | null }, floor: under };
}

function nextPhase(shape: Shape, phase: Phase): Place | null {
  return phase === 'versions' && shape.register === 'sidecar' ? { phase: 'rows', after: null } : null;
}

async function remember(session: Session, { shape, floor, owner }: Sweep, next: Place | null): Promise<void> {
  const where = `${ownerCondition(owner)} AND source_table = $1`;
  const sequence = `'\\x${floor}'::pg_catalog.bytea`;
  const set =
    next === null
      ? `swept = ${sequence}, sweeping = NULL, sweep_phase = NULL, sweep_after = NULL`
      : `sweeping = ${sequence}, sweep_phase = $2, sweep_after = $3::pg_catalog.jsonb`;
  // Another worker may have completed a later floor meanwhile: that one counts.
  const text = `UPDATE ${owner.own.tables} SET ${set} WHERE ${where} AND (swept IS NULL OR swept < ${sequence})`;
  await session.texts(text, next === null ? [shape.schema.table] : [shape.schema.table, next.phase, JSON.stringify(next.after)]);
}

type Page = { readonly last: readonly string[] | null; readonly rows: number };

export const keyList = (shape: Shape, alias: string): string => shape.key.map((column) => `${alias}.${column.name}`).join(', ');

/** `(t.a, t.b) > ($1, $2)`, from texts as the database prints them. */
export function bound(shape: Shape, alias: string, operator: '>' | '<=', at: number): string {
  const parameters = shape.key.map((column, index) => column.fromText(`$${at + index}`));
  return `(${keyList(shape, alias)}) ${operator} (${parameters.join(', ')})`;
}

async function sweepVersions(session: Session, { shape, floor }: Sweep, place: Place): Promise<Page> {
  const held = shape.register === 'sidecar' ? shape.versionTable : shape.table;
  const end = await pageEnd(session, shape, held, place.after, '');
  if (end === null) return { last: null, rows: 0 };
  const lower = place.after === null ? 'true' : bound(shape, 'h', '>', 1);
  const values = [...(place.after ?? []), ...end];
  const upper = bound(shape, 'h', '<=', (place.after?.length ?? 0) + 1);
  const sequence = `'\\x${floor}'::pg_catalog.bytea`;
  const older = `(h.${SEQUENCE_COLUMN} IS NULL OR h.${SEQUENCE_COLUMN} < ${sequence})`;
  if (shape.register === 'inline') {
    const cleared = shape.columns.filter((column) => !column.isKey).map((column) => `${column.name} = NULL`);
    const set = [`${SEQUENCE_COLUMN} = ${sequence}`, `${DELETED_COLUMN} = true`, ...cleared].join(', ');
    // Live rows first, to count them; then the tombstones that are older than the floor.
    const live = await session.texts(
      `UPDATE ${held} AS h SET ${set} WHERE ${lower} AND ${upper} AND ${older} AND NOT h.${DELETED_COLUMN} RETURNING 1`,
      values,
    );
    await session.texts(`UPDATE ${held} AS h SET ${set} WHERE ${lower} AND ${upper} AND ${older}`, values);
    return { last: end, rows: live.length };
  }
  const set = `${SEQUENCE_COLUMN} = ${sequence}, ${DELETED_COLUMN} = true`;
  const keys = await session.texts(
    `UPDATE ${held} AS h SET ${set} WHERE ${lower} AND ${upper} AND ${older} RETURNING ${keyList(shape, 'h')}`,
    values,
  );
  return { last: end, rows: await deleteKeys(session, shape, keys) };
}

async function sweepRows(session: Session, { shape, floor }: Sweep, place: Place): Promise<Page> {
  const without = `NOT EXISTS (SELECT FROM ${shape.versionTable} AS v WHERE ${shape.key.map((column) => `v.${column.name} = h.${column.name}`).join(' AND ')})`;
  const end = await pageEnd(session, shape, shape.table, place.after, `AND ${without}`);
  if (end === null) return { last: null, rows: 0 };
  const lower = place.after === null ? 'true' : bound(shape, 'h', '>', 1);
  const upper = bound(shape, 'h', '<=', (place.after?.length ?? 0) + 1);
  const names = shape.key.map((column) => column.name).join(', ');
  // A key that a newer change brings meanwhile is in conflict, and left alone.
  const keys = await session.texts(
    `INSERT INTO ${shape.versionTable} AS v (${names}, ${SEQUENCE_COLUMN}, ${DELETED_COLUMN})
  SELECT ${keyList(shape, 'h')}, '\\x${floor}'::pg_catalog.bytea, true FROM ${shape.table} AS h WHERE ${lower} AND ${upper} AND ${without}
  ON CONFLICT DO NOTHING RETURNING ${keyList(shape, 'v')}`,
    [...(place.after ?? []), ...end],
  );
  return { last: end, rows: await deleteKeys(session, shape, keys) };
}

/** Key of the last row of the page, null for an empty one. */
async function pageEnd(
  session: Session,
  shape: Shape,
  table: string,
  after: readonly string[] | null,
  condition: string,
): Promise<string[] | null> {
  const lower = after === null ? 'true' : bound(shape, 'h', '>', 1);
  const order = shape.key.map((column) => `p.${column.name} DESC`).join(', ');
  const [row] = await session.texts(
    `SELECT ${keyList(shape, 'p')} FROM (SELECT ${keyList(shape, 'h')} FROM ${table} AS h WHERE ${lower} ${condition}
  ORDER BY ${keyList(shape, 'h')} LIMIT ${PAGE_KEYS}) AS p ORDER BY ${order} LIMIT 1`,
    after ?? [],
  );
  return row === undefined ? null : row.map((text) => present(text, 'a key column is never null'));
}

/** In a statement of its own: it sees what was committed while the version rows were waited for. */
async function deleteKeys(session: Session, shape: Shape, keys: readonly TextRow[]): Promise<number> {
  if (keys.length === 0) return 0;
  const arrays = shape.key.map((_, place) => `$${place + 1}::pg_catalog.text[]`);
  const names = shape.key.map((_, place) => `k${place}`);
  const same = shape.key.map((column, place) => `t.${column.name} = ${column.fromText(`u.k${place}`)}`);
  const gone = await session.texts(
    `DELETE FROM ${shape.table} AS t USING unnest(${arrays.join(', ')}) AS u(${names.join(', ')}) WHERE ${same.join(' AND ')} RETURNING 1`,
    shape.key.map((_, place) => encodeTexts(keys.map((key) => present(key[place], 'a key column is never null')))),
  );
  return gone.length;
}
