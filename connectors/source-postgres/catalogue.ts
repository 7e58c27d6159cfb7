import type pg from 'pg';
import { present } from '#core/assert.ts';
import { tableIdOf, tableSchema, type Column, type TableId, type TableSchema } from '#core/schema.ts';
import { canonicalType, toCanonical, type PostgresType } from '../lib/postgres/values.ts';
import { typeLookup, type TypeLookup } from '../lib/postgres/values-catalogue.ts';
import {
  readColumns,
  readIndexes,
  readMembers,
  readPartitions,
  readPublication,
  readRelations,
  readRelationsByOid,
  readTypes,
  readUserTypes,
  type ColumnRow,
  type IndexRow,
  type MemberRow,
  type PublicationRow,
  type RelationRow,
  type TreeRow,
  type TypeFactsRow,
} from './catalogue-queries.ts';
import type { Birth, Births } from './partitions.ts';
import type { Selection } from './selection.ts';

/** One partition below a partitioned table, at any depth. */
export type Partition = {
  readonly relation: RelationRow;
  readonly node: TreeRow;
  readonly birth: Birth;
  readonly indexes: readonly IndexRow[];
};

/** All that the catalogue says of a table, in one snapshot. */
export type CatalogueTable = {
  readonly table: TableId;
  readonly relation: RelationRow;
  /** Every column that is not dropped. */
  readonly columns: readonly ColumnRow[];
  /** The columns that the stream carries. */
  readonly published: readonly ColumnRow[];
  /** True where the server refuses updates and deletes whose replica identity holds a generated column that is not published. */
  readonly refusesGeneratedIdentity: boolean;
  readonly indexes: readonly IndexRow[];
  readonly partitions: readonly Partition[];
  readonly member: MemberRow | null;
  readonly typeOf: TypeLookup;
  /** The types that users made among those of the published columns. */
  readonly userTypes: readonly TypeFactsRow[];
};

export type Catalogue = {
  readonly publication: PublicationRow | null;
  readonly members: readonly MemberRow[];
  readonly tables: readonly CatalogueTable[];
};

/** Reads what the configuration means, tables that cannot be captured included. Call it inside of a snapshot. */
export async function readCatalogue(
  client: pg.ClientBase,
  input: { readonly version: number; readonly publication: string; readonly selection: Selection; readonly births: Births },
): Promise<Catalogue> {
  const { version, selection, births } = input;
  const found = await readRelations(client, { schemas: selection.schemas, names: selection.names });
  const wanted = found.filter((row) => row.schema !== OWN_SCHEMA && selection.includes(tableIdOf(row.schema, row.name)));
  return await describeRelations(client, { version, publication: input.publication, relations: wanted, births });
}

/** Holds what we write at the source. Never captured. */
export const OWN_SCHEMA = 'causeway';

/** The same for relations that are known already. */
export async function describeRelations(
  client: pg.ClientBase,
  input: { readonly version: number; readonly publication: string; readonly relations: readonly RelationRow[]; readonly births: Births },
): Promise<Catalogue> {
  const { relations, births } = input;
  const publication = await readPublication(client, input.version, input.publication);
  const members = publication === null ? [] : await readMembers(client, input.version, publication);
  const oids = relations.map(({ oid }) => oid);
  const roots = relations.filter(({ kind, is_partition }) => kind === 'p' && !is_partition).map(({ oid }) => oid);
  const tree = await readPartitions(client, roots);
  const below = byOid(await readRelationsByOid(client, [...new Set(tree.map(({ oid }) => oid))]));
  const bornAs = await births.of(client, tree, below);
  const allOids = [...oids, ...below.keys()];
  const columns = groupBy(await readColumns(client, allOids), ({ relation }) => relation);
  const indexes = groupBy(await readIndexes(client, allOids), ({ relation }) => relation);
  const typeOids = [...new Set([...columns.values()].flat().map(({ type }) => type))];
  const typeOf = typeLookup(await readTypes(client, typeOids));
  const userTypes = new Map((await readUserTypes(client, typeOids)).map((type) => [type.oid, type]));
  const tables = relations.map((relation): CatalogueTable => {
    const member = members.find((candidate) => candidate.relation === relation.oid) ?? null;
    const partitions = tree
      .filter(({ root }) => root === relation.oid)
      .map((node) => ({
        relation: present(below.get(node.oid), 'a partition of the snapshot'),
        node,
        birth: bornAs.get(node.oid) ?? 'unknown',
        indexes: indexes.get(node.oid) ?? [],
      }));
    const leaves = partitions
      .filter((partition) => partition.relation.kind !== 'p')
      .map((partition) => columns.get(partition.relation.oid) ?? []);
    const own = withMissingOfLeaves(columns.get(relation.oid) ?? [], relation.kind === 'p' ? leaves : []);
    const published = own.filter((column) => isPublished(column, publication, member));
    return {
      table: tableIdOf(relation.schema, relation.name),
      relation,
      columns: own,
      published,
      refusesGeneratedIdentity: input.version >= GENERATED_IDENTITY_REFUSED && own.some((column) => isHidden(column, published)),
      indexes: indexes.get(relation.oid) ?? [],
      partitions,
      member,
      typeOf,
      userTypes: closure(userTypes, published),
    };
  });
  return { publication, members, tables };
}

/**
 * Generated columns are left out, as the stream leaves them out, unless the publication sends them: PostgreSQL 18 does with
 * publish_generated_columns = stored, or where a column list names them. We never switch that on: at the sinks they can be
 * generated again, and a copied value would keep the application from being pointed at the sink.
 */
function isPublished(column: ColumnRow, publication: PublicationRow | null, member: MemberRow | null): boolean {
  if (column.generated === 'v') return false;
  const list = member?.columns ?? null;
  if (list !== null) return list.includes(column.number);
  return column.generated === '' || publication?.generated === true;
}

/** From this release on a write is refused (42P10) that earlier ones let pass. */
const GENERATED_IDENTITY_REFUSED = 180_000;

function isHidden(column: ColumnRow, published: readonly ColumnRow[]): boolean {
  return column.generated !== '' && !published.includes(column);
}

/** A partitioned table stores no rows, and so no value for rows from before a column; its partitions do, all the same one. */
function withMissingOfLeaves(columns: readonly ColumnRow[], leaves: readonly (readonly ColumnRow[])[]): readonly ColumnRow[] {
  if (leaves.length === 0) return columns;
  return columns.map((column) => {
    const values = leaves.flatMap((leaf) => leaf.filter(({ name }) => name === column.name)).map(({ missing }) => missing);
    const stored = new Set(values.filter((value) => value !== null));
    return { ...column, missing: stored.size === 1 ? ([...stored][0] ?? null) : null };
  });
}

function closure(types: ReadonlyMap<string, TypeFactsRow>, columns: readonly ColumnRow[]): readonly TypeFactsRow[] {
  const seen = new Map<string, TypeFactsRow>();
  const visit = (oid: string): void => {
    const type = types.get(oid);
    if (type === undefined || seen.has(oid)) return;
    seen.set(oid, type);
    type.parts.forEach(visit);
  };
  columns.forEach(({ type }) => visit(type));
  // Those that are built in never change.
  return [...seen.values()].filter(({ oid }) => Number(oid) >= FIRST_USER_OID).sort((a, b) => Number(a.oid) - Number(b.oid));
}

/** Objects below are made with the cluster (FirstNormalObjectId). */
const FIRST_USER_OID = 16_384;

export function primaryKeyOf(table: CatalogueTable): IndexRow | null {
  return table.indexes.find(({ is_primary }) => is_primary) ?? null;
}

export function typeOfColumn(table: CatalogueTable, column: ColumnRow): PostgresType {
  return table.typeOf(Number(column.type), column.typmod);
}

/** Null where the table has no key among its published columns. */
export function schemaOf(table: CatalogueTable): TableSchema | null {
  const key = primaryKeyOf(table)?.key.map((number) => table.published.findIndex((column) => column.number === number));
  if (key === undefined || key.length === 0 || key.includes(-1)) return null;
  return tableSchema({ table: table.table, columns: table.published.map((column) => describeColumn(table, column)), key });
}

export function describeColumn(table: CatalogueTable, column: ColumnRow): Column {
  const type = canonicalType(typeOfColumn(table, column));
  return {
    name: column.name,
    type,
    sourceType: column.type_text,
    nullable: !column.not_null,
    constantDefault: column.missing === null ? null : toCanonical(type)(column.missing),
  };
}

function byOid(rows: readonly RelationRow[]): ReadonlyMap<string, RelationRow> {
  return new Map(rows.map((row) => [row.oid, row]));
}

function groupBy<T>(rows: readonly T[], key: (row: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const row of rows) {
    const group = groups.get(key(row));
    if (group === undefined) groups.set(key(row), [row]);
    else group.push(row);
  }
  return groups;
}
