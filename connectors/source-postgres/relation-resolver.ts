import type pg from 'pg';
import { tableIdOf, tableSchema, type Column, type TableId } from '#core/schema.ts';
import type { KeptClient } from '../lib/postgres/kept-client.ts';
import { canonicalType } from '../lib/postgres/values.ts';
import { typeLookup, type TypeLookup } from '../lib/postgres/values-catalogue.ts';
import { describeColumn, describeRelations, primaryKeyOf, type CatalogueTable } from './catalogue.ts';
import { readAncestors, readRelationsByOid, readTypes } from './catalogue-queries.ts';
import type { Births } from './partitions.ts';
import { refusalOf } from './refusals.ts';
import type { Relation, RelationColumn, RelationResolution, RelationResolver } from './relation.ts';

/** A table that this run of capture follows. */
export type FollowedTable = {
  readonly table: TableId;
  readonly oid: string;
  readonly key: readonly string[];
  /** The same columns by number, which a new name does not change. */
  readonly keyNumbers: readonly number[];
};

export function followedTable(table: CatalogueTable): FollowedTable {
  return { table: table.table, oid: table.relation.oid, key: keyNames(table), keyNumbers: primaryKeyOf(table)?.key ?? [] };
}

export type CatalogueResolverOptions = {
  readonly client: KeptClient;
  readonly publication: string;
  readonly births: Births;
  readonly serverVersion: number;
  readonly followed: ReadonlyMap<TableId, FollowedTable>;
  /** Told once for each reason that stops a table. */
  readonly onStopped: (table: TableId, reason: string) => void;
};

/**
 * Answers from the catalogue as it is now. The Relation message may be of long ago, so what it names may have been renamed,
 * altered or dropped since: its own columns and types count, and the catalogue adds what it still knows of them.
 */
export class CatalogueResolver implements RelationResolver {
  readonly #options: CatalogueResolverOptions;

  constructor(options: CatalogueResolverOptions) {
    this.#options = options;
  }

  stopped(table: TableId, reason: string): void {
    this.#options.onStopped(table, reason);
  }

  async resolve(relation: Relation, signal: AbortSignal): Promise<RelationResolution> {
    return await this.#options.client.use(signal, (client) => this.#resolve(client, relation));
  }

  async #resolve(client: pg.Client, relation: Relation): Promise<RelationResolution> {
    const { followed, publication, births, serverVersion } = this.#options;
    const oid = String(relation.oid);
    const known = followed.get(tableIdOf(relation.schema, relation.name));
    const root = known === undefined ? await this.#rootOf(client, oid) : null;
    if (root !== null) return { tag: 'partition', root: root.table, rootKey: root.key };
    if (known === undefined) {
      // The name is of the message's time: a change under another one is of a table that had been renamed by then.
      const was = [...followed.values()].find((table) => table.oid === oid);
      return was === undefined ? { tag: 'ignored' } : this.#stop(was.table, `it was renamed to ${relation.schema}.${relation.name}`);
    }
    const [now] = await readRelationsByOid(client, [oid]);
    const name = now === undefined ? null : tableIdOf(now.schema, now.name);
    if (now !== undefined && name !== known.table) return this.#stop(known.table, `it was renamed to ${name ?? ''}`);
    const catalogue = await describeRelations(client, {
      version: serverVersion,
      publication,
      relations: now === undefined ? [] : [now],
      births,
    });
    const table = catalogue.tables[0] ?? null;
    const refusal = table === null ? null : refusalOf(table);
    if (refusal !== null) return this.#stop(known.table, refusal.reason);
    if (table !== null && hasOtherKey(table, known)) return this.#stop(known.table, 'it has another primary key');
    const columns = await describeColumns(client, relation, table);
    const key =
      (table === null ? null : keyIndexes(relation, keyNames(table))) ?? keyIndexes(relation, known.key) ?? onlyKeyIndex(relation, known);
    if (key === null) return this.#stop(known.table, 'its primary key has other columns than at this place of the log');
    return { tag: 'captured', schema: tableSchema({ table: known.table, columns, key }) };
  }

  async #rootOf(client: pg.Client, oid: string): Promise<FollowedTable | null> {
    const ancestors = new Set(await readAncestors(client, oid));
    return [...this.#options.followed.values()].find((table) => ancestors.has(table.oid)) ?? null;
  }

  #stop(table: TableId, reason: string): RelationResolution {
    this.#options.onStopped(table, reason);
    return { tag: 'stopped', table, reason };
  }
}

function keyNames(table: CatalogueTable): readonly string[] {
  const numbers = primaryKeyOf(table)?.key ?? [];
  return numbers.flatMap((number) => table.columns.filter((column) => column.number === number).map(({ name }) => name));
}

function hasOtherKey(table: CatalogueTable, known: FollowedTable): boolean {
  const { key, keyNumbers } = followedTable(table);
  return table.relation.oid === known.oid
    ? keyNumbers.join() !== known.keyNumbers.join()
    : JSON.stringify(key) !== JSON.stringify(known.key);
}

/** Null where the relation has no such columns: the key was renamed or changed since. */
function keyIndexes(relation: Relation, names: readonly string[]): readonly number[] | null {
  const indexes = names.map((name) => relation.columns.findIndex((column) => column.name === name));
  if (indexes.length === 0 || indexes.includes(-1)) return null;
  if (relation.replicaIdentity === 'f') return indexes;
  // Any other identity is the key itself, so its columns are marked in the message.
  const marked = relation.columns.filter(({ inIdentity }) => inIdentity).length;
  return marked === indexes.length && indexes.every((index) => relation.columns[index]?.inIdentity === true) ? indexes : null;
}

/** A key of one column is told by its mark alone, whatever its name was. */
function onlyKeyIndex(relation: Relation, known: FollowedTable): readonly number[] | null {
  const marked = relation.columns.flatMap(({ inIdentity }, index) => (inIdentity ? [index] : []));
  return relation.replicaIdentity === 'd' && known.key.length === 1 && marked.length === 1 ? marked : null;
}

async function describeColumns(client: pg.Client, relation: Relation, table: CatalogueTable | null): Promise<readonly Column[]> {
  const spellings = await readSpellings(client, relation.columns);
  const lookup = typeLookup(await readTypes(client, [...new Set(relation.columns.map(({ typeOid }) => String(typeOid)))]));
  return relation.columns.map((column, index): Column => {
    const now = table?.columns.find(({ name }) => name === column.name);
    const isSame = now !== undefined && Number(now.type) === column.typeOid && now.typmod === column.typmod;
    if (table !== null && isSame) return describeColumn(table, now);
    // Dropped, renamed or altered since: whether it could be null then is not known any more.
    const sourceType = spellings[index] ?? `oid ${column.typeOid}`;
    return { name: column.name, type: typeOf(lookup, column), sourceType, nullable: true, constantDefault: null };
  });
}

/** A type that was dropped since is passed on as the text that the stream carries. */
function typeOf(lookup: TypeLookup, column: RelationColumn): Column['type'] {
  try {
    return canonicalType(lookup(column.typeOid, column.typmod));
  } catch {
    return { tag: 'other', name: `oid ${column.typeOid}` };
  }
}

async function readSpellings(client: pg.Client, columns: readonly RelationColumn[]): Promise<readonly (string | null)[]> {
  // With its schema before it, unnest of several arrays is not found: the server knows that form by the bare name alone.
  const { rows } = await client.query<{ text: string | null }>(
    `SELECT CASE WHEN t.oid IS NOT NULL THEN pg_catalog.format_type(t.oid, part.typmod) END AS text
     FROM unnest($1::pg_catalog.oid[], $2::int4[]) WITH ORDINALITY AS part(oid, typmod, place)
     LEFT JOIN pg_catalog.pg_type t ON t.oid = part.oid
     ORDER BY part.place`,
    [columns.map(({ typeOid }) => String(typeOid)), columns.map(({ typmod }) => typmod)],
  );
  return rows.map(({ text }) => text);
}
