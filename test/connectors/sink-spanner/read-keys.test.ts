// Reads of rows by their keys, against answers that were cut short.
import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { codeOf } from '#core/errors.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import type { TableId } from '#core/schema.ts';
import { configSchema } from '../../../connectors/sink-spanner/config.ts';
import { readTogether } from '../../../connectors/sink-spanner/read-keys.ts';
import { keyWires, shapeOf } from '../../../connectors/sink-spanner/shape.ts';
import type { Reader, ReadRow } from '../../../connectors/sink-spanner/transaction.ts';
import { bytesWire, flagWire, textWire, type Received } from '../../../connectors/sink-spanner/wire.ts';
import { plainSchema, sequenceAt } from '../../contract/sink.ts';

const config = configSchema.parse({ kind: 'spanner', project: 'project', instance: 'instance', database: 'database' });
const schema = plainSchema('public.t' as TableId);
const shape = shapeOf(schema, { config, dialect: 'GOOGLE_STANDARD_SQL', pipeline: 'p', sink: 's', target: schema.table });
const asked = ['1', '2'].map((id) => {
  const rowKey: RowKey = present(rowKeyOf(schema, [id, null, null]), 'a key');
  return { rowKey, key: keyWires(shape, rowKey) };
});

const versionOf = (id: string): ReadRow => [textWire(id), bytesWire(sequenceAt(3)), flagWire(false)] as readonly Received[];
const rowOf = (id: string): ReadRow => [textWire(id), textWire(id), textWire('x'), textWire('y')] as readonly Received[];

/** Answers so many rows of each table, of two that it counts. */
function readerOf(answered: { readonly rows: number; readonly versions: number }): Reader {
  const ids = ['1', '2'];
  return {
    read: ({ table }) =>
      Promise.resolve({
        rows: table === shape.table ? ids.slice(0, answered.rows).map(rowOf) : ids.slice(0, answered.versions).map(versionOf),
        isAll: true,
      }),
    query: () => Promise.resolve([[textWire('2') as Received]]),
  };
}

test('rows come with the sequences of their versions', async () => {
  const found = await readTogether(readerOf({ rows: 2, versions: 2 }), shape, asked);
  expect(found).toEqual(asked.map(({ rowKey }, at) => ({ key: rowKey, sequence: sequenceAt(3), row: [String(at + 1), 'x', 'y'] })));
});

test.each([
  { rows: 1, versions: 2 },
  { rows: 2, versions: 1 },
])('an answer that was cut short ($rows rows, $versions versions) is none: what it lacks would be told as missing', async (answered) => {
  const error: unknown = await readTogether(readerOf(answered), shape, asked).catch((reason: unknown) => reason);
  expect(codeOf(error)).toBe('sink_unavailable');
});
