import { CausewayError } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { SinkRow } from '#core/sink.ts';
import { unlessThrottled, untilTaken } from '../lib/sink/throttled.ts';
import { comparisons } from './comparisons.ts';
import { keysRefusalOf, ValueRefused } from './errors.ts';
import { DELETED_COLUMN, quoted, SEQUENCE_COLUMN } from './names.ts';
import { assertCounted } from './read.ts';
import { columnNames, keyWires, rowIn, rowKeyIn, sequenceIn, type Shape } from './shape.ts';
import { snapshot, type Query, type Reader, type ReadRow, type Store } from './transaction.ts';
import type { Wire } from './wire.ts';

/** "Query parameters: 950" of a statement (https://cloud.google.com/spanner/quotas). */
const PARAMETERS_MAX = 900;
const KEYS_MAX = 200;

type Asked = { readonly rowKey: RowKey; readonly key: readonly Wire[] };

/** Rows and tombstones of these keys, strongly consistent: both tables at one moment for some of the keys at a time. */
export async function readKeys(store: Store, shape: Shape, keys: readonly RowKey[], signal: AbortSignal): Promise<readonly SinkRow[]> {
  const asked = [...new Set(keys)].flatMap((rowKey): Asked[] => {
    const key = wiresUnlessRefused(shape, rowKey);
    return key === null ? [] : [{ rowKey, key }];
  });
  const some = Math.min(KEYS_MAX, Math.floor(PARAMETERS_MAX / shape.key.length));
  const found: SinkRow[] = [];
  for (let from = 0; from < asked.length; from += some)
    found.push(...(await readSome(store, shape, asked.slice(from, from + some), signal)));
  return found;
}

/** Null for a key that Spanner does not take: no row has it. */
function wiresUnlessRefused(shape: Shape, rowKey: RowKey): readonly Wire[] | null {
  try {
    return keyWires(shape, rowKey);
  } catch (error) {
    if (error instanceof ValueRefused) return null;
    throw error;
  }
}

/** A key that is larger by the service's count than by ours is no row's either: it is found by halving. */
async function readSome(store: Store, shape: Shape, asked: readonly Asked[], signal: AbortSignal): Promise<readonly SinkRow[]> {
  const read = async (): Promise<readonly SinkRow[] | null> => {
    try {
      return await snapshot(store, `the table ${shape.table}`, signal, (reader) => readTogether(reader, shape, asked));
    } catch (error) {
      if (!(error instanceof KeysRefused)) throw error;
      return null;
    }
  };
  const found = await untilTaken({ runtime: store.client.runtime, onRetry: store.onRetry }, signal, () =>
    unlessThrottled(read().then((rows) => ({ rows }))),
  );
  if (found.rows !== null) return found.rows;
  if (asked.length === 1) return [];
  const half = Math.ceil(asked.length / 2);
  return [...(await readSome(store, shape, asked.slice(0, half), signal)), ...(await readSome(store, shape, asked.slice(half), signal))];
}

class KeysRefused extends Error {
  override readonly name = 'KeysRefused';
}

/** Of one moment. Errors: `sink_unavailable` for an answer that was cut short. */
export async function readTogether(reader: Reader, shape: Shape, asked: readonly Asked[]): Promise<readonly SinkRow[]> {
  const key = columnNames(shape.key);
  const versions = await readTable(reader, shape, { table: shape.versionTable, columns: [...key, SEQUENCE_COLUMN, DELETED_COLUMN] }, asked);
  const rows = await readTable(reader, shape, { table: shape.table, columns: [...key, ...columnNames(shape.columns)] }, asked);
  const width = shape.key.length;
  const sequences = new Map(versions.map((row) => [rowKeyIn(shape, row), sequenceIn(row[width])]));
  const live = new Map(rows.map((row) => [rowKeyIn(shape, row), rowIn(shape, row.slice(width))]));
  const keys = new Set(asked.map(({ rowKey }) => rowKey));
  for (const found of [...sequences.keys(), ...live.keys()]) {
    if (!keys.has(found)) throw new CausewayError('sink_failed', 'a key does not come back from Spanner as it was asked for');
  }
  return [...keys]
    .filter((one) => sequences.has(one) || live.has(one))
    .map((one) => ({ key: one, sequence: sequences.get(one) ?? null, row: live.get(one) ?? null }));
}

async function readTable(
  reader: Reader,
  shape: Shape,
  { table, columns }: { readonly table: string; readonly columns: readonly string[] },
  asked: readonly Asked[],
): Promise<readonly ReadRow[]> {
  const { rows } = await unlessKeysRefused(reader.read({ table, columns, keys: { tag: 'keys', keys: asked.map(({ key }) => key) } }));
  const [counted] = await reader.query(countQuery(shape, table, asked));
  assertCounted(counted, table, rows.length);
  return rows;
}

async function unlessKeysRefused<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (keysRefusalOf(error) !== null) throw new KeysRefused();
    throw error;
  }
}

/** Streamed reads were once cut short without an error: a row that is there would be told as missing. */
function countQuery(shape: Shape, table: string, asked: readonly Asked[]): Query {
  const { parameters, compared } = comparisons(shape);
  const each = asked.map(({ key }) => `(${key.map((value, place) => compared(place, '=', value)).join(' AND ')})`);
  return { sql: `SELECT COUNT(*) FROM ${quoted(table, shape.dialect)} WHERE ${each.join(' OR ')}`, parameters };
}
