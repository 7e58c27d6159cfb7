import { present } from '#core/assert.ts';
import { parseRowKey, type RowKey } from '#core/key.ts';
import type { SinkRow } from '#core/sink.ts';

import { refusalOf } from './errors.ts';
import { rowOf, sequenceOf } from './read.ts';
import type { Session, TextRow } from './session.ts';
import { readStatement } from './statements.ts';
import type { Shape } from './shape.ts';

/**
 * Rows of these keys, by one statement: each as a scan gives it, matched by the database's own equality. A text that the server refuses is
 * no value of its column here, so that no row has it: it is found by halving.
 */
export async function readKeys(session: Session, shape: Shape, keys: readonly RowKey[]): Promise<readonly SinkRow[]> {
  if (keys.length === 0) return [];
  const found = await askUnlessRefused(session, shape, keys);
  if (found === null && keys.length === 1) return [];
  if (found === null) {
    const half = Math.ceil(keys.length / 2);
    return [...(await readKeys(session, shape, keys.slice(0, half))), ...(await readKeys(session, shape, keys.slice(half)))];
  }
  // Outside of what is refused: a stored value that cannot be read is no key that is not there.
  return found.map(([place, sequence, live, ...columns]) => ({
    key: present(keys[Number(place) - 1], 'a key that was asked for'),
    sequence: sequenceOf(sequence ?? null),
    row: live === 'true' ? rowOf(shape, columns) : null,
  }));
}

/** Columns: the key's place from 1 on, sequence, whether live, all columns. Null where one of the keys is refused. */
async function askUnlessRefused(session: Session, shape: Shape, keys: readonly RowKey[]): Promise<readonly TextRow[] | null> {
  const texts = keys.map((key) => parseRowKey(key).columns);
  try {
    const values = shape.key.map((column, place) => column.encode(keys.length, (at) => present(texts[at]?.[place], 'a column of a key')));
    return await session.texts(readStatement(shape), values);
  } catch (error) {
    if (refusalOf(error) === null) throw error;
    return null;
  }
}
