// The catalogue side of a replication stream, as small as tests of the stream alone need it.
import type pg from 'pg';
import { tableIdOf, tableSchema, type Column, type TableId, type TableSchema } from '#core/schema.ts';
import { canonicalType } from '../../connectors/lib/postgres/values.ts';
import { typeLookup, typesQuery, type TypeRow } from '../../connectors/lib/postgres/values-catalogue.ts';
import type { Relation, RelationResolution, RelationResolver } from '../../connectors/source-postgres/relation.ts';

/** Captures every table that has a primary key; a partition belongs to its topmost parent. */
export class CatalogueResolver implements RelationResolver {
  readonly stops: { readonly table: TableId; readonly reason: string }[] = [];
  resolved = 0;
  readonly #client: pg.Client;

  constructor(client: pg.Client) {
    this.#client = client;
  }

  stopped(table: TableId, reason: string): void {
    this.stops.push({ table, reason });
  }

  async resolve(relation: Relation): Promise<RelationResolution> {
    this.resolved += 1;
    const root = (
      await this.#rows<{ oid: string; table: TableId }>(
        `SELECT c.oid::text AS oid, c.relnamespace::regnamespace::text || '.' || c.relname AS table
       FROM pg_class c WHERE c.oid = coalesce((SELECT relid FROM pg_partition_ancestors($1) WITH ORDINALITY a(relid, n) ORDER BY n DESC LIMIT 1), $1)`,
        [relation.oid],
      )
    )[0];
    if (root === undefined) return { tag: 'ignored' };
    const key = await this.#keyOf(root.oid);
    if (root.oid !== String(relation.oid)) return { tag: 'partition', root: root.table, rootKey: key };
    return key.length === 0 ? { tag: 'ignored' } : { tag: 'captured', schema: await this.#schemaOf(relation, key) };
  }

  async #schemaOf(relation: Relation, key: readonly string[]): Promise<TableSchema> {
    const oids = `{${relation.columns.map((column) => column.typeOid).join(',')}}`;
    const lookup = typeLookup(await this.#rows<TypeRow>(typesQuery, [oids]));
    const columns: Column[] = [];
    for (const column of relation.columns) {
      const [named] = await this.#rows<{ name: string }>('SELECT format_type($1, $2) AS name', [column.typeOid, column.typmod]);
      columns.push({
        name: column.name,
        type: canonicalType(lookup(column.typeOid, column.typmod)),
        sourceType: named?.name ?? '',
        nullable: !key.includes(column.name),
        constantDefault: null,
      });
    }
    const indexes = key.map((name) => columns.findIndex((column) => column.name === name));
    return tableSchema({ table: tableIdOf(relation.schema, relation.name), columns, key: indexes });
  }

  async #keyOf(oid: string): Promise<string[]> {
    const rows = await this.#rows<{ name: string }>(
      `SELECT a.attname::text AS name FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(attnum, n)
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE i.indrelid = $1 AND i.indisprimary ORDER BY k.n`,
      [oid],
    );
    return rows.map((row) => row.name);
  }

  async #rows<Row extends pg.QueryResultRow>(text: string, parameters: unknown[]): Promise<Row[]> {
    return (await this.#client.query<Row>(text, parameters)).rows;
  }
}
