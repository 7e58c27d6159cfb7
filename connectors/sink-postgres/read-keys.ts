import { present } from '#core/assert.ts';
import { parseRowKey, type RowKey } from '#core/key.ts';
import type { SinkRow } from '#core/sink.ts';

import { refusalOf } from './errors.ts';
import { rowOf, sequenceOf } from './read.ts';
import type { Session } from './session.ts';
import { readStatement } from './statements.ts';
import type { Shape } from './shape.ts';

/**
 * Rows of these keys, by one statement: each as a scan gives it, matched by the database's own equality. A text that the server refuses is
 * no value of its column here, so that no row has it: it is found by halving.
 */
export async function readKeys(session: Session, shape: Shape, keys: readonly RowKey[]): Promise<readonly SinkRow[]> {
  if (keys.length === 0) return [];
  try {
    return await readTogether(session, shape, keys);
  } catch (error) {
    if (refusalOf(error) === null) throw error;
    if (keys.length === 1) return [];
    const half = Math.ceil(keys.length / 2);
    return [...(await readKeys(session, shape, keys.slice(0, half))), ...(await readKeys(session, shape, keys.slice(half)))];
  }
}

/** Columns of the answer: the key's place from 1 on, sequence, whether live, all columns. */
async function readTogether(session: Session, shape: Shape, keys: readonly RowKey[]): Promise<readonly SinkRow[]> {
  const texts = keys.map((key) => parseRowKey(key).columns);
  const values = shape.key.map((column, place) => column.encode(keys.length, (at) => present(texts[at]?.[place], 'a column of a key')));
  const found = await session.texts(readStatement(shape), values);
  return found.map(([place, sequence, live, ...columns]) => ({
    key: present(keys[Number(place) - 1], 'a key that was asked for'),
    sequence: sequenceOf(sequence ?? null),
    row: live === 'true' ? rowOf(shape, columns) : null,
  }));
}
