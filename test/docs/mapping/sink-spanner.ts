import { isKeyType, rowKeyOf } from '#core/key.ts';
import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { tableSchema, type Column, type TableId } from '#core/schema.ts';
import { configSchema } from '../../../connectors/sink-spanner/config.ts';
import { columnType, typeText, type Dialect, type Encoding } from '../../../connectors/sink-spanner/dialect.ts';
import { encoded } from '../../../connectors/sink-spanner/encode.ts';
import { ValueRefused } from '../../../connectors/sink-spanner/errors.ts';
import { keyWires, shapeOf, type Shape } from '../../../connectors/sink-spanner/shape.ts';
import type { Kept, Setting, SinkMapping } from './sink.ts';

const table = 'public.orders' as TableId;

const setting = (label: string | null, encoding: Encoding): Setting => ({
  label,
  keep: ({ type }, text): Kept => {
    const column = columnType(type, encoding, false);
    try {
      encoded(text, column, encoding.dialect);
      return { stored: `\`${typeText(column, encoding.dialect)}\`` };
    } catch (error) {
      if (error instanceof ValueRefused) return { refused: error.message };
      throw error;
    }
  },
});

function shaped(dialect: Dialect, target = table): Shape {
  const column: Column = { name: 'id', type: { tag: 'text' }, sourceType: 'text', nullable: false, constantDefault: null };
  const config = configSchema.parse({ kind: 'spanner', project: 'shop-1', instance: 'copies', database: 'shop' });
  const schema = tableSchema({ table, columns: [column], key: [0] });
  return shapeOf(schema, { config, dialect, pipeline: 'main', sink: 'copy', target });
}

function wordsOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof ValueRefused || error instanceof CausewayError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

/** A database is of one dialect, which the sink reads there. */
export const spannerMappings: readonly SinkMapping[] = [
  mappingOf('GOOGLE_STANDARD_SQL', {
    title: 'Sink: Spanner, GoogleSQL',
    intro: `In databases of the PostgreSQL dialect the types are those of the section behind this one.

- \`json: text\`, the default, keeps the text. \`json: native\` makes a column of the type for documents, and parks a document with a number that
  it would round; of others it keeps the value, and neither blanks, nor the order of names, nor the spelling of numbers.
- \`arrays: text\`, the default, keeps the text of a JSON array. \`arrays: native\` makes a column of an array, and parks arrays of several
  dimensions.

*As a key*: a column of the key holds the key's text, in which equal values are spelled alike: \`1\` for \`1.00\`.`,
  }),
  mappingOf('POSTGRESQL', { title: 'Sink: Spanner, PostgreSQL dialect', intro: 'The settings are the same.' }),
];

function mappingOf(dialect: Dialect, { title, intro }: Pick<SinkMapping, 'title' | 'intro'>): SinkMapping {
  const encoding: Encoding = { dialect, json: 'text', arrays: 'text' };
  return {
    kind: 'spanner',
    title,
    intro,
    settings: [
      setting(null, encoding),
      setting('`json: native`', { ...encoding, json: 'native' }),
      setting('`arrays: native`', { ...encoding, arrays: 'native' }),
    ],
    made: null,
    key: ({ type }) => (isKeyType(type) ? `\`${typeText(columnType(type, encoding, true), dialect)}\`` : 'refused at the source'),
    refusals: () => {
      const shape = shaped(dialect);
      const long = present(rowKeyOf(shape.schema, ['x'.repeat(8_193)]), 'a key');
      return Promise.resolve([
        ['parks: a long key', wordsOf(() => keyWires(shape, long))],
        ['parks: a long text', wordsOf(() => encoded('x'.repeat(2_621_441), columnType({ tag: 'text' }, encoding, false), dialect))],
        ['stops the sink: a name that no table can have', wordsOf(() => shaped(dialect, 'public.commandes à livrer' as TableId))],
      ]);
    },
  };
}
