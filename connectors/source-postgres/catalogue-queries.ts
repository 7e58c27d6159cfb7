import type pg from 'pg';
import { typesQuery, type TypeRow } from '../lib/postgres/values-catalogue.ts';

/*
 * What is asked of the server's catalogue, one statement for each of its tables. Every number that identifies something (oid,
 * xmin, file) comes as text: it is compared and stored, never reckoned with.
 */

export type RelationRow = {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly persistence: string;
  readonly is_partition: boolean;
  readonly identity: string;
  readonly xmin: string;
  readonly file: string;
  readonly attributes: string;
  readonly readable: boolean;
  /** Bytes on disk of the table itself; of a partitioned one, 0. */
  readonly bytes: string;
  /** Rows that the planner reckons with, since the last VACUUM or ANALYZE; null where there was none. Of a partitioned one, what ANALYZE saw below. */
  readonly rows_estimated: number | null;
};

const RELATION_COLUMNS = `
  c.oid::text AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, c.relpersistence::text AS persistence,
  c.relispartition AS is_partition, c.relreplident::text AS identity, c.xmin::text AS xmin, c.relfilenode::text AS file,
  pg_catalog.jsonb_build_array(c.relowner, c.relacl::text, c.reloptions, c.relhastriggers, c.relhasrules, c.relhassubclass, c.relrowsecurity,
    c.relforcerowsecurity, c.relchecks, c.relnatts, c.reltablespace)::text AS attributes,
  pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
  CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_relation_size(c.oid) ELSE 0 END::text AS bytes,
  CASE WHEN c.reltuples >= 0 THEN c.reltuples::float8 END AS rows_estimated`;

/** Tables of these schemas, and whatever has one of these names. */
export async function readRelations(
  client: pg.ClientBase,
  wanted: { readonly schemas: readonly string[]; readonly names: readonly string[] },
): Promise<readonly RelationRow[]> {
  const { rows } = await client.query<RelationRow>(
    `SELECT ${RELATION_COLUMNS}
     FROM pg_catalog.pg_class c
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE (n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'f'))
        OR (n.nspname || '.' || c.relname = ANY ($2::text[]) AND c.relkind IN ('r', 'p', 'f', 'v', 'm'))
     ORDER BY 2, 3`,
    [wanted.schemas, wanted.names],
  );
  return rows;
}

export async function readRelationsByOid(client: pg.ClientBase, oids: readonly string[]): Promise<readonly RelationRow[]> {
  const { rows } = await client.query<RelationRow>(
    `SELECT ${RELATION_COLUMNS}
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY ($1::pg_catalog.oid[]) ORDER BY 2, 3`,
    [oids],
  );
  return rows;
}

export type ColumnRow = {
  readonly relation: string;
  readonly number: number;
  readonly name: string;
  readonly type: string;
  readonly typmod: number;
  readonly type_text: string;
  readonly not_null: boolean;
  readonly generated: string;
  /** What rows from before the column hold, as the type's own text; null where the server stores nothing. */
  readonly missing: string | null;
  readonly collation_deterministic: boolean;
};

export async function readColumns(client: pg.ClientBase, oids: readonly string[]): Promise<readonly ColumnRow[]> {
  const { rows } = await client.query<ColumnRow>(
    `SELECT a.attrelid::text AS relation, a.attnum::int4 AS number, a.attname::text AS name, a.atttypid::text AS type, a.atttypmod AS typmod,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_text, a.attnotnull AS not_null, a.attgenerated::text AS generated,
       CASE WHEN a.atthasmissing THEN pg_catalog.array_to_string(a.attmissingval, '') END AS missing,
       COALESCE(l.collisdeterministic, true) AS collation_deterministic
     FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
     WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY a.attrelid, a.attnum`,
    [oids],
  );
  return rows;
}

export type IndexRow = {
  readonly relation: string;
  readonly index: string;
  readonly name: string;
  readonly constraint_name: string | null;
  readonly is_primary: boolean;
  readonly is_identity: boolean;
  readonly immediate: boolean;
  readonly usable: boolean;
  /** Column numbers in the key's order, included columns left out. */
  readonly key: readonly number[];
  readonly collations_deterministic: boolean;
};

/** Primary keys and the indexes that serve as replica identity. */
export async function readIndexes(client: pg.ClientBase, oids: readonly string[]): Promise<readonly IndexRow[]> {
  const { rows } = await client.query<IndexRow>(
    `SELECT i.indrelid::text AS relation, i.indexrelid::text AS index, c.relname::text AS name, k.conname::text AS constraint_name,
       i.indisprimary AS is_primary, i.indisreplident AS is_identity, i.indimmediate AS immediate, i.indisvalid AND i.indisready AS usable,
       (SELECT pg_catalog.json_agg(part.number ORDER BY part.place)
        FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS part(number, place)
        WHERE part.place <= i.indnkeyatts) AS key,
       NOT EXISTS (SELECT FROM pg_catalog.unnest(i.indcollation::pg_catalog.oid[]) AS used(oid)
                   JOIN pg_catalog.pg_collation l ON l.oid = used.oid WHERE NOT l.collisdeterministic) AS collations_deterministic
     FROM pg_catalog.pg_index i
     JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype = 'p'
     WHERE i.indrelid = ANY ($1::pg_catalog.oid[]) AND (i.indisprimary OR i.indisreplident)`,
    [oids],
  );
  return rows;
}

export type TreeRow = {
  readonly root: string;
  readonly oid: string;
  readonly parent: string;
  /** Transaction that attached it, and the command inside that transaction. */
  readonly attached_by: string;
  readonly attached_at: string;
  /** True where the same transaction made the table. */
  readonly made_with_it: boolean;
};

/**
 * The partitions below partitioned tables. The row that describes the system column ctid is written when a table is made and
 * never again, so its xmin is the table's birth.
 */
export async function readPartitions(client: pg.ClientBase, roots: readonly string[]): Promise<readonly TreeRow[]> {
  const { rows } = await client.query<TreeRow>(
    `WITH RECURSIVE tree AS (
       SELECT wanted.root, wanted.root AS oid FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS wanted(root)
       UNION ALL
       SELECT tree.root, i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
     )
     SELECT tree.root::text AS root, tree.oid::text AS oid, i.inhparent::text AS parent, i.xmin::text AS attached_by,
       i.cmin::text AS attached_at, i.xmin = a.xmin AS made_with_it
     FROM tree
     JOIN pg_catalog.pg_inherits i ON i.inhrelid = tree.oid
     JOIN pg_catalog.pg_attribute a ON a.attrelid = tree.oid AND a.attname = 'ctid' AND a.attnum < 0
     WHERE tree.oid <> tree.root
     ORDER BY tree.root, tree.oid`,
    [roots],
  );
  return rows;
}

/** Tables above a partition, the nearest first. */
export async function readAncestors(client: pg.ClientBase, oid: string): Promise<readonly string[]> {
  const { rows } = await client.query<{ oid: string }>(
    `WITH RECURSIVE above AS (
       SELECT i.inhparent AS oid, 1 AS level FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
       WHERE i.inhrelid = $1::pg_catalog.oid AND c.relispartition
       UNION ALL
       SELECT i.inhparent, above.level + 1 FROM above JOIN pg_catalog.pg_class c ON c.oid = above.oid AND c.relispartition
       JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.oid
     )
     SELECT oid::text AS oid FROM above ORDER BY level`,
    [oid],
  );
  return rows.map((row) => row.oid);
}

export type PublicationRow = {
  readonly oid: string;
  readonly xmin: string;
  readonly owner: string;
  readonly all_tables: boolean;
  readonly via_root: boolean;
  readonly inserts: boolean;
  readonly updates: boolean;
  readonly deletes: boolean;
  readonly truncates: boolean;
  /** True where stored generated columns are published (18 and later). */
  readonly generated: boolean;
};

export async function readPublication(client: pg.ClientBase, version: number, name: string): Promise<PublicationRow | null> {
  const { rows } = await client.query<PublicationRow>(
    `SELECT p.oid::text AS oid, p.xmin::text AS xmin, p.pubowner::text AS owner, p.puballtables AS all_tables, p.pubviaroot AS via_root,
       p.pubinsert AS inserts, p.pubupdate AS updates, p.pubdelete AS deletes, p.pubtruncate AS truncates,
       ${version >= 180_000 ? `p.pubgencols = 's'` : 'false'} AS generated
     FROM pg_catalog.pg_publication p WHERE p.pubname = $1`,
    [name],
  );
  return rows[0] ?? null;
}

export type MemberRow = {
  readonly relation: string;
  readonly schema: string;
  readonly name: string;
  /** Of the membership itself. Null where the table is a member by its schema, or because all are. */
  readonly oid: string | null;
  readonly xmin: string | null;
  readonly filter: string | null;
  /** Column numbers; null where there is no list. */
  readonly columns: readonly number[] | null;
};

export async function readMembers(client: pg.ClientBase, version: number, publication: PublicationRow): Promise<readonly MemberRow[]> {
  const lists = version >= 150_000;
  const { rows } = await client.query<MemberRow>(
    `SELECT c.oid::text AS relation, n.nspname::text AS schema, c.relname::text AS name, r.oid::text AS oid, r.xmin::text AS xmin,
       ${lists ? 'pg_catalog.pg_get_expr(r.prqual, r.prrelid)' : 'NULL::text'} AS filter,
       ${lists ? 'pg_catalog.to_json(r.prattrs::pg_catalog.int2[])' : 'NULL::pg_catalog.json'} AS columns
     FROM pg_catalog.pg_get_publication_tables((SELECT pubname FROM pg_catalog.pg_publication WHERE oid = $1::pg_catalog.oid)) AS member
     JOIN pg_catalog.pg_class c ON c.oid = member.relid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = $1::pg_catalog.oid AND r.prrelid = c.oid
     ORDER BY 2, 3`,
    [publication.oid],
  );
  return rows;
}

export async function readTypes(client: pg.ClientBase, oids: readonly string[]): Promise<readonly TypeRow[]> {
  const { rows } = await client.query<TypeRow>(typesQuery, [oids]);
  return rows;
}

export type TypeFactsRow = {
  readonly oid: string;
  readonly name: string;
  readonly kind: string;
  readonly labels: readonly string[];
  readonly members: readonly (readonly [string, string, number])[];
  /** Types that it is made of. */
  readonly parts: readonly string[];
};

/** The types that users made, among these and all that they are made of: composite members, elements, domains' bases. */
export async function readUserTypes(client: pg.ClientBase, oids: readonly string[]): Promise<readonly TypeFactsRow[]> {
  const { rows } = await client.query<TypeFactsRow>(
    `WITH RECURSIVE needed(oid) AS (
       SELECT pg_catalog.unnest($1::pg_catalog.oid[])
       UNION
       SELECT part.oid
       FROM needed
       JOIN pg_catalog.pg_type t ON t.oid = needed.oid
       CROSS JOIN LATERAL (
         SELECT t.typbasetype UNION ALL SELECT t.typelem
         UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
                   WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
         UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
       ) AS part(oid)
       WHERE part.oid <> 0
     )
     SELECT t.oid::text AS oid, pg_catalog.format_type(t.oid, NULL) AS name, t.typtype::text AS kind,
       COALESCE((SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid), '[]')
         AS labels,
       COALESCE((SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, a.atttypid::text, a.atttypmod) ORDER BY a.attnum)
                 FROM pg_catalog.pg_attribute a
                 WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '[]') AS members,
       (SELECT COALESCE(pg_catalog.json_agg(part.oid::text ORDER BY part.oid), '[]') FROM (
          SELECT t.typbasetype WHERE t.typbasetype <> 0 UNION ALL SELECT t.typelem WHERE t.typelem <> 0
          UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
                    WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
          UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
        ) AS part(oid)) AS parts
     FROM needed
     JOIN pg_catalog.pg_type t ON t.oid = needed.oid
     ORDER BY t.oid`,
    [oids],
  );
  return rows;
}
