import type pg from 'pg';
import { present } from '#core/assert.ts';
import { CausewayError } from '#core/errors.ts';
import { parseRowKey, type RowKey } from '#core/key.ts';
import type { RowRange } from '#core/row-reader.ts';
import type { TableSchema } from '#core/schema.ts';
import { quoteIdentifier } from '../lib/postgres/quote.ts';
import { ValueTextError } from '../lib/postgres/value-text-error.ts';
import { fromCanonical } from '../lib/postgres/values.ts';

/** Of a key column: its place in the schema, and its type as a cast without a modifier, which would cut or round. */
export type KeyColumn = { readonly column: number; readonly cast: string };

const AFTER = 'causeway.after';
const UP_TO = 'causeway.up_to';
const KEYS = 'causeway.keys';

/**
 * Keys go to the server as settings of the transaction, because a COPY takes no parameters: no statement's text holds one, and the server's
 * log only where it logs parameters. The planner takes `current_setting` for a constant, so the key's index serves.
 */
export type KeyCondition = { readonly condition: string; readonly settings: readonly { readonly name: string; readonly value: string }[] };

/** The server compares: by the key columns' own collations and operators, which are those of the key's index. */
export function keyCondition(schema: TableSchema, key: readonly KeyColumn[], range: RowRange): KeyCondition {
  const columns = key.map(({ column }) => quoteIdentifier(present(schema.columns[column], 'a column of the key').name)).join(', ');
  if (range.tag === 'keys') {
    const parts = key.map(({ cast }, place) => `(k.v OPERATOR(pg_catalog.->>) ${place})::${cast}`).join(', ');
    const listed = `pg_catalog.jsonb_array_elements(pg_catalog.current_setting('${KEYS}')::pg_catalog.jsonb) AS k(v)`;
    return {
      condition: `(${columns}) IN (SELECT ${parts} FROM ${listed})`,
      settings: [{ name: KEYS, value: JSON.stringify(range.keys.map((one) => textsOf(schema, key, one))) }],
    };
  }
  const bounds = [
    { name: AFTER, operator: '>', bound: range.after },
    { name: UP_TO, operator: '<=', bound: range.upTo },
  ].flatMap(({ name, operator, bound }) => (bound === null ? [] : [{ name, operator, texts: textsOf(schema, key, bound) }]));
  const conditions = bounds.map(({ name, operator }) => {
    const parts = key.map(({ cast }, place) => `pg_catalog.current_setting('${name}_${place}')::${cast}`).join(', ');
    return `(${columns}) ${operator} (${parts})`;
  });
  return {
    condition: conditions.length === 0 ? 'true' : conditions.join(' AND '),
    settings: bounds.flatMap(({ name, texts }) => texts.map((value, place) => ({ name: `${name}_${place}`, value }))),
  };
}

export async function setKeys(client: pg.ClientBase, { settings }: KeyCondition): Promise<void> {
  if (settings.length === 0) return;
  const calls = settings.map((_, at) => `pg_catalog.set_config($${2 * at + 1}, $${2 * at + 2}, true)`);
  await client.query(
    `SELECT ${calls.join(', ')}`,
    settings.flatMap(({ name, value }) => [name, value]),
  );
}

/** As the types' input functions read them. */
function textsOf(schema: TableSchema, key: readonly KeyColumn[], rowKey: RowKey): readonly string[] {
  const texts = parseRowKey(rowKey).columns;
  if (texts.length !== key.length) throw noKeyOf(schema);
  try {
    return key.map(({ column }, place) =>
      fromCanonical(present(schema.columns[column], 'a column of the key').type)(present(texts[place], 'a text of the key')),
    );
  } catch (error) {
    if (error instanceof ValueTextError) throw noKeyOf(schema);
    throw error;
  }
}

/** Keys come from the control store too, where another table of the same name may have had them. */
function noKeyOf({ table }: TableSchema): CausewayError {
  return new CausewayError('source_table_refused', `a key that was asked for is not of the key columns that ${table} has now`);
}
