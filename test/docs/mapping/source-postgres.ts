import { isKeyType } from '#core/key.ts';
import type { TableId } from '#core/schema.ts';
import { canonicalType, identity, toCanonical } from '../../../connectors/lib/postgres/values.ts';
import type { CatalogueTable } from '../../../connectors/source-postgres/catalogue.ts';
import { refusalOf, type Refusal } from '../../../connectors/source-postgres/refusals.ts';
import type { SourceCase } from './catalogue.ts';

/** How the log has the values of a type. */
export function textOf({ type, printed }: SourceCase): string {
  const convert = toCanonical(canonicalType(type));
  return convert === identity ? 'as Postgres prints it' : `\`${printed}\` is \`${convert(printed)}\``;
}

export function keyOf(one: SourceCase): string {
  return isKeyType(canonicalType(one.type)) ? 'yes' : 'refused';
}

type Change = (table: CatalogueTable) => CatalogueTable;

const relation = (over: Partial<CatalogueTable['relation']>): Change => {
  return (table) => ({ ...table, relation: { ...table.relation, ...over } });
};
const index = (over: Partial<CatalogueTable['indexes'][number]>): Change => {
  return (table) => ({ ...table, indexes: table.indexes.map((one) => ({ ...one, ...over })) });
};

/** What makes a table one that cannot be captured. */
const breaches: readonly Change[] = [
  (table) => ({ ...table, indexes: [] }),
  index({ immediate: false }),
  (table) => ofType(table, 'json', 'jsonb'),
  (table) => index({ collations_deterministic: false })(ofType(table, 'text', 'text')),
  (table) => ({ ...table, published: [] }),
  relation({ identity: 'n' }),
  relation({ persistence: 'u' }),
  relation({ kind: 'f' }),
  relation({ kind: 'v' }),
  relation({ is_partition: true }),
];

/** The reasons are those that `causeway check` and `status` tell. */
export function refusedTables(): readonly Refusal[] {
  return breaches.flatMap((change) => refusalOf(change(capturable)) ?? []);
}

/** A table with the key `id bigint`, of which nothing is refused. */
const column = {
  ...{ relation: '1', number: 1, name: 'id', type: '20', typmod: -1, type_text: 'bigint', not_null: true, generated: '', missing: null },
  collation_deterministic: true,
};
const primaryKey = {
  ...{ relation: '1', index: '2', name: 'orders_pkey', constraint_name: 'orders_pkey', is_primary: true, is_identity: false },
  ...{ immediate: true, usable: true, key: [1], collations_deterministic: true },
};
export const capturable: CatalogueTable = ofType(
  {
    table: 'public.orders' as TableId,
    relation: {
      ...{
        oid: '1',
        schema: 'public',
        name: 'orders',
        kind: 'r',
        persistence: 'p',
        is_partition: false,
        identity: 'd',
        xmin: '1',
        file: '1',
      },
      ...{ attributes: '[]', readable: true, bytes: '0', rows_estimated: null },
    },
    columns: [column],
    published: [column],
    refusesGeneratedIdentity: false,
    indexes: [primaryKey],
    partitions: [],
    member: null,
    typeOf: () => ({ schema: 'pg_catalog', name: 'int8', kind: 'b', typmod: -1, element: null, delimiter: ',', base: null, labels: [] }),
    userTypes: [],
  },
  'int8',
  'bigint',
);

function ofType(table: CatalogueTable, name: string, text: string): CatalogueTable {
  const columns = table.columns.map((one) => ({ ...one, type_text: text }));
  return {
    ...table,
    columns,
    published: columns,
    typeOf: () => ({ schema: 'pg_catalog', name, kind: 'b', typmod: -1, element: null, delimiter: ',', base: null, labels: [] }),
  };
}
