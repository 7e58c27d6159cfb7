import { isKeyType, rowKeyOf } from '#core/key.ts';
import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { tableSchema, type Column, type TableId, type TableSchema } from '#core/schema.ts';
import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { configSchema, type SinkConfig } from '../../../connectors/sink-dynamodb/config.ts';
import { encoded, ValueRefused } from '../../../connectors/sink-dynamodb/encode.ts';
import { keyItem, shapeOf, type Shape } from '../../../connectors/sink-dynamodb/shape.ts';
import type { TypeCase } from '../../support/canonical-values.ts';
import type { Kept, Setting, SinkMapping } from './sink.ts';

const table = 'public.orders' as TableId;

const configOf = (over: Readonly<Record<string, unknown>> = {}): SinkConfig =>
  configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1', ...over });

const setting = (label: string | null, over: Readonly<Record<string, unknown>>): Setting => {
  const config = configOf(over);
  return { label, keep: ({ type }, text) => keep(() => encoded(type, text, config)) };
};

/** Errors: what is no refusal of a value. */
function keep(work: () => ReturnType<typeof encoded>): Kept {
  try {
    const { attribute, exact } = work();
    return { stored: `\`${kindOf(attribute)}\`${exact ? '' : ', its text in `cw_text`'}` };
  } catch (error) {
    if (error instanceof ValueRefused) return { refused: error.message };
    throw error;
  }
}

function kindOf(attribute: AttributeValue): string {
  return Object.keys(attribute)[0] ?? '';
}

function keyed(sourceType: string, type: TypeCase['type'], name = 'id'): TableSchema {
  const column: Column = { name, type, sourceType, nullable: false, constantDefault: null };
  return tableSchema({ table, columns: [column], key: [0] });
}

function shaped(schema: TableSchema, over: Readonly<Record<string, unknown>> = {}, target = schema.table): Shape {
  return shapeOf(schema, { config: configOf(over), pipeline: 'main', sink: 'items', target });
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

const text: TypeCase['type'] = { tag: 'text' };

function refusedKey(type: TypeCase['type'], value: string): string {
  const schema = keyed('text', type);
  return wordsOf(() => keyItem(shaped(schema), present(rowKeyOf(schema, [value]), 'a key')));
}

export const dynamoDbMapping: SinkMapping = {
  kind: 'dynamodb',
  title: 'Sink: DynamoDB',
  intro: `A value is an attribute of the kind that the table names. Where the attribute gives back another text than the source's (\`1.00\`
comes back as \`1\`), the text is kept beside it in the map \`cw_text\`, by column, so that nothing is lost. A null is \`NULL\`.

- \`numbers: native\`, the default, keeps decimals and floats as numbers, and parks a key whose value is none that DynamoDB has.
  \`numbers: text\` keeps their texts, which holds every value and lets no expression calculate with them.
- \`json: text\`, the default, keeps the text. \`json: native\` keeps maps, lists and scalars, and parks what they cannot hold.
- \`arrays: text\`, the default, keeps the text of a JSON array. \`arrays: list\` keeps lists, of elements as \`numbers\` and \`json\` say.

An item of more than 400 KB, the names of its attributes included, is refused by the service and parks its key.

A setting holds for every table of the sink. To change one later, start the sink anew: items that are there keep the kind that they have.

*As a key*: a primary key of that one column. \`cw_pk\` and \`cw_sk\` hold a JSON array of the key's texts, for types of which equal values can
have several texts, and for several columns in one attribute; \`keys\` in [the configuration](configuration.md) decides which.`,
  settings: [
    setting(null, {}),
    setting('`numbers: text`', { numbers: 'text' }),
    setting('`json: native`', { json: 'native' }),
    setting('`arrays: list`', { arrays: 'list' }),
  ],
  made: null,
  key: ({ type, sourceType }) => {
    if (!isKeyType(type)) return 'refused at the source';
    const [attribute] = shaped(keyed(sourceType, type)).key;
    return attribute === undefined ? '' : `\`${attribute.type}\`${attribute.isColumn ? '' : ` in \`${attribute.name}\``}`;
  },
  refusals: () =>
    Promise.resolve([
      ['parks: an empty text as a key', refusedKey(text, '')],
      ['parks: a long partition key', refusedKey(text, 'x'.repeat(2_049))],
      ['stops the sink: a column with a name of ours', wordsOf(() => shaped(keyed('text', text, 'cw_seq')))],
      [
        'stops the sink: a name that no table can have',
        wordsOf(() => shaped(keyed('text', text), {}, 'public.commandes à livrer' as TableId)),
      ],
      [
        'stops the sink: `keys` that are not the primary key',
        wordsOf(() => shaped(keyed('text', text), { keys: { [table]: { partition: ['other'] } } })),
      ],
    ]),
};
