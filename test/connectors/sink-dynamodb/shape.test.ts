import { expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { rowKeyOf } from '#core/key.ts';
import type { TableId } from '#core/schema.ts';
import { configSchema } from '../../../connectors/sink-dynamodb/config.ts';
import { keyItem, rowIn, rowItem, rowKeyIn, shapeOf } from '../../../connectors/sink-dynamodb/shape.ts';
import { contractColumn, contractSchema, sequenceAt } from '../../contract/sink.ts';

const config = configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1' });

test('a key of char(n) is the attribute of its column, with the blanks that all its values have', () => {
  const target = 'public.t' as TableId;
  const schema = contractSchema(target, [contractColumn('code', 'character(4)', { tag: 'text' }, false)]);
  const shape = shapeOf(schema, { config, pipeline: 'p', sink: 's', target });
  const key = present(rowKeyOf(schema, ['ab  ']), 'a key');
  expect(keyItem(shape, key)).toEqual({ code: { S: 'ab  ' } });
  const item = rowItem(shape, { key, sequence: sequenceAt(1), row: ['ab  '] });
  expect(Object.keys(item).toSorted()).toEqual(['code', 'cw_seq']);
  expect(rowIn(shape, item)).toEqual(['ab  ']);
  expect(rowKeyIn(shape, item)).toBe(key);
});
