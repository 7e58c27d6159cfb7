import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { KeyRange, SinkRow } from '#core/sink.ts';
import { unlessThrottled, untilTaken } from '../lib/sink/throttled.ts';
import { comparisons } from './comparisons.ts';
import { compareKeys } from './key-order.ts';
import { DELETED_COLUMN, quoted, SEQUENCE_COLUMN } from './names.ts';
import { columnNames, keyOfRow, rowIn, rowKeyIn, sentAgain, sequenceIn, wiresOf, type Shape } from './shape.ts';
import { snapshot, type Keys, type Query, type Reader, type ReadRow, type Store } from './transaction.ts';
import { textOf, type Wire } from './wire.ts';

const PAGE_KEYS = 1_000;
const PAGE_BYTES = 8 * 1024 * 1024;

type Bound = { readonly key: readonly Wire[]; readonly isIn: boolean };
type Range = { readonly from: Bound | null; readonly to: Bound | null };

/** Every key of the range in the table's own order, tombstones and rows without a version among them, in pages of one moment each. */
export async function* scanPages(store: Store, shape: Shape, range: KeyRange, signal: AbortSignal): AsyncIterable<readonly SinkRow[]> {
  const to = range.to === null ? null : { key: wiresOf(shape, range.to), isIn: false };
  let from: Bound | null = range.from === null ? null : { key: wiresOf(shape, range.from), isIn: true };
  while (true) {
    const start: Bound | null = from;
    // A page, and not the whole scan: that would begin again, and be throttled again.
    const page = await untilTaken({ runtime: store.client.runtime, onRetry: store.onRetry }, signal, () =>
      unlessThrottled(snapshot(store, `the table ${shape.table}`, signal, (reader) => readPage(reader, shape, { from: start, to }))),
    );
    if (page.rows.length > 0) yield page.rows;
    if (page.after === null) return;
    from = { key: page.after, isIn: false };
  }
}

/**
 * Both tables up to the same key: the version table decides how far, unless the rows are too many or too large, and is then read again as far as they
 * went. `after` is the last key that was looked at, null behind the last page.
 */
async function readPage(
  reader: Reader,
  shape: Shape,
  { from, to }: Range,
): Promise<{ readonly rows: readonly SinkRow[]; readonly after: readonly Wire[] | null }> {
  let versions = await readVersions(reader, shape, { from, to }, PAGE_KEYS);
  let end = versions.isAll ? to : endBehind(shape, versions.rows);
  const rows = await reader.read({
    table: shape.table,
    columns: [...columnNames(shape.key), ...columnNames(shape.columns)],
    keys: keysOf({ from, to: end }),
    rowsMax: PAGE_KEYS,
    bytesMax: PAGE_BYTES,
  });
  if (!rows.isAll) {
    end = endBehind(shape, rows.rows);
    versions = await readVersions(reader, shape, { from, to: end }, null);
  }
  const page = { from, to: end };
  await checkCount(reader, shape, { table: shape.table, page, rows: rows.rows.length });
  await checkCount(reader, shape, { table: shape.versionTable, page, rows: versions.rows.length });
  const isLast = end === to;
  return { rows: merged(shape, rows.rows, versions.rows), after: isLast ? null : present(end, 'a bound of the page').key };
}

function readVersions(reader: Reader, shape: Shape, range: Range, rowsMax: number | null) {
  return reader.read({
    table: shape.versionTable,
    columns: [...columnNames(shape.key), SEQUENCE_COLUMN, DELETED_COLUMN],
    keys: keysOf(range),
    ...(rowsMax === null ? {} : { rowsMax }),
  });
}

function endBehind(shape: Shape, rows: readonly ReadRow[]): Bound {
  return { key: sentAgain(present(rows.at(-1), 'a row of a full page').slice(0, shape.key.length)), isIn: true };
}

function keysOf({ from, to }: Range): Keys {
  return { tag: 'range', from, to };
}

/** Streamed reads were once cut short without an error: what was read is compared with a count of the same moment. */
async function checkCount(
  reader: Reader,
  shape: Shape,
  { table, page, rows }: { readonly table: string; readonly page: Range; readonly rows: number },
): Promise<void> {
  const [row] = await reader.query(countQuery(shape, table, page));
  assertCounted(row, table, rows);
}

/** `row` is that of a count. */
export function assertCounted(row: ReadRow | undefined, table: string, rows: number): void {
  const counted = Number(textOf(row?.[0]));
  if (counted !== rows) throw new CausewayError('sink_unavailable', `a page of the table ${table} has ${rows} rows, and not ${counted}`);
}

function countQuery(shape: Shape, table: string, { from, to }: Range): Query {
  const { parameters, compared } = comparisons(shape);
  const conditions: string[] = [];
  const bound = ({ key, isIn }: Bound, beyond: '>' | '<'): void => {
    const steps = key.map((value, at) => {
      const before = key.slice(0, at).map((earlier, index) => compared(index, '=', earlier));
      const operator = isIn && at === key.length - 1 ? (`${beyond}=` as const) : beyond;
      return `(${[...before, compared(at, operator, value)].join(' AND ')})`;
    });
    conditions.push(`(${steps.join(' OR ')})`);
    // Steps over several columns may not become a range that is sought; this one does.
    const [first] = key;
    if (key.length > 1 && first !== undefined) conditions.push(compared(0, `${beyond}=`, first));
  };
  if (from !== null) bound(from, '>');
  if (to !== null) bound(to, '<');
  const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
  return { sql: `SELECT COUNT(*) FROM ${quoted(table, shape.dialect)}${where}`, parameters };
}

type Entry = { readonly place: ReadRow; readonly row: SinkRow };

/** Pairs by key, each in its own order; what stands in one table alone is put in by the order of the key. */
function merged(shape: Shape, rows: readonly ReadRow[], versions: readonly ReadRow[]): readonly SinkRow[] {
  const width = shape.key.length;
  const byKey = new Map<RowKey, ReadRow>(versions.map((version) => [rowKeyIn(shape, version), version]));
  const live = rows.map((found): Entry => {
    const row = rowIn(shape, found.slice(width));
    const key = keyOfRow(shape, row);
    const version = byKey.get(key);
    byKey.delete(key);
    return { place: found, row: { key, sequence: version === undefined ? null : sequenceIn(version[width]), row } };
  });
  const dead = [...byKey].map(([key, version]): Entry => ({
    place: version,
    row: { key, sequence: sequenceIn(version[width]), row: null },
  }));
  const all: SinkRow[] = [];
  let at = 0;
  for (const entry of live) {
    for (let next = dead[at]; next !== undefined && compareKeys(shape, next.place, entry.place) < 0; next = dead[at]) {
      all.push(next.row);
      at += 1;
    }
    all.push(entry.row);
  }
  return [...all, ...dead.slice(at).map(({ row }) => row)];
}
