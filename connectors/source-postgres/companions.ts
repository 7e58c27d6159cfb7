import type pg from 'pg';
import { tableIdOf, type TableCompanions, type TableId } from '#core/schema.ts';
import { toCompanions, type AboutTable, type Domain, type PostgresCompanions, type SourceSequence } from '../lib/postgres/companions.ts';
import { topLevelIndexOf } from '../lib/postgres/definition-text.ts';

/*
 * What tables have besides columns and key. Each query leaves out what was dropped since the snapshot was taken: the functions that
 * print definitions look at the catalogue of now, and answer null then.
 */

type Oids = readonly string[];

/** By the table's oid. */
export async function readCompanions(client: pg.ClientBase, oids: Oids): Promise<ReadonlyMap<string, TableCompanions>> {
  const domains = byRelation(await readDomains(client, oids));
  const indexes = byRelation(await readSecondaryIndexes(client, oids));
  const columns = byRelation(await readFilledColumns(client, oids));
  const constraints = byRelation(await readConstraints(client, oids));
  const triggers = byRelation(await readTriggers(client, oids));
  return new Map(
    oids.map((oid) => [
      oid,
      toCompanions({
        domains: domains(oid).map(({ relation: _, ...domain }) => domain),
        indexes: indexes(oid).flatMap(secondaryIndex),
        ...columnParts(columns(oid)),
        ...constraintParts(constraints(oid)),
        triggers: triggers(oid).map(({ name, enabled, definition, table, schema, relname }) => ({
          name,
          enabled,
          definition: aboutTable(definition, { lead: ' ON ', name: table, table: tableIdOf(schema, relname) }),
        })),
      }),
    ]),
  );
}

function byRelation<Row extends { readonly relation: string }>(rows: readonly Row[]): (oid: string) => readonly Row[] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const group = groups.get(row.relation);
    if (group === undefined) groups.set(row.relation, [row]);
    else group.push(row);
  }
  return (oid) => groups.get(oid) ?? [];
}

type DomainRow = Domain & { readonly relation: string };

/** Domains under the columns' types, however deep; a type stands behind all that it is made of. */
async function readDomains(client: pg.ClientBase, oids: Oids): Promise<readonly DomainRow[]> {
  const { rows } = await client.query<DomainRow>(
    `WITH RECURSIVE part(relation, oid, level) AS (
       SELECT DISTINCT a.attrelid, a.atttypid, 0 FROM pg_catalog.pg_attribute a
       WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped
       UNION ALL
       SELECT part.relation, below.oid, part.level + 1
       FROM part JOIN pg_catalog.pg_type t ON t.oid = part.oid
       CROSS JOIN LATERAL (VALUES (t.typbasetype), (CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END)) AS below(oid)
       WHERE below.oid <> 0
     ), deepest AS (SELECT relation, oid, pg_catalog.max(level) AS level FROM part GROUP BY relation, oid)
     SELECT d.relation::text AS relation, pg_catalog.format_type(t.oid, NULL) AS type, n.nspname::text AS schema,
       pg_catalog.format_type(t.typbasetype, t.typtypmod) AS base,
       CASE WHEN t.typcollation <> b.typcollation
         THEN pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(l.collname) END AS collation,
       t.typnotnull AS "notNull",
       COALESCE((SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
           'name', k.conname, 'definition', pg_catalog.pg_get_constraintdef(k.oid), 'valid', k.convalidated) ORDER BY k.conname)
         FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'), '[]') AS checks,
       t.typdefault AS default
     FROM deepest d
     JOIN pg_catalog.pg_type t ON t.oid = d.oid AND t.typtype = 'd'
     JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
     JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
     LEFT JOIN pg_catalog.pg_collation l ON l.oid = t.typcollation
     LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = l.collnamespace
     ORDER BY 1, d.level DESC, 2`,
    [oids],
  );
  return rows.map((row) => ({ ...row, checks: row.checks.filter((check) => (check.definition as string | null) !== null) }));
}

type SecondaryIndexRow = {
  readonly relation: string;
  readonly name: string;
  readonly unique: boolean;
  readonly ofConstraint: boolean;
  readonly definition: string | null;
};

async function readSecondaryIndexes(client: pg.ClientBase, oids: Oids): Promise<readonly SecondaryIndexRow[]> {
  const { rows } = await client.query<SecondaryIndexRow>(
    `SELECT i.indrelid::text AS relation, c.relname::text AS name, i.indisunique AS unique,
       EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('u', 'x'))
         AS "ofConstraint",
       pg_catalog.pg_get_indexdef(i.indexrelid) AS definition
     FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = ANY ($1::pg_catalog.oid[]) AND NOT i.indisprimary AND i.indisvalid AND i.indislive
     ORDER BY 1, 2`,
    [oids],
  );
  return rows;
}

function secondaryIndex({ name, unique, ofConstraint, definition }: SecondaryIndexRow): PostgresCompanions['indexes'] {
  if (definition === null) return [];
  const at = topLevelIndexOf(definition, ' USING ');
  return at < 0 ? [] : [{ name, unique, ofConstraint, definition: definition.slice(at + 1) }];
}

type FilledColumnRow = {
  readonly relation: string;
  readonly column: string;
  readonly type: string;
  readonly generated: string;
  readonly identity: string;
  readonly expression: string | null;
  readonly sequences: readonly SourceSequence[];
};

/** Columns that the server fills: generated ones, identities, and those with a default. Owned sequences come with their column. */
async function readFilledColumns(client: pg.ClientBase, oids: Oids): Promise<readonly FilledColumnRow[]> {
  const { rows } = await client.query<FilledColumnRow>(
    `SELECT a.attrelid::text AS relation, a.attname::text AS column, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       a.attgenerated::text AS generated, a.attidentity::text AS identity, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS expression,
       COALESCE((SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
           'name', s.seqrelid::pg_catalog.regclass::text, 'schema', n.nspname, 'type', pg_catalog.format_type(s.seqtypid, NULL),
           'start', s.seqstart::text, 'increment', s.seqincrement::text, 'minimum', s.seqmin::text, 'maximum', s.seqmax::text,
           'cache', s.seqcache::text, 'cycle', s.seqcycle) ORDER BY s.seqrelid)
         FROM pg_catalog.pg_sequence s
         JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE s.seqrelid IN (
           SELECT p.refobjid FROM pg_catalog.pg_depend p
           WHERE p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND p.objid = d.oid AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
           UNION ALL
           SELECT p.objid FROM pg_catalog.pg_depend p
           WHERE p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
             AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum AND p.deptype = 'i')), '[]') AS sequences
     FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND (a.attidentity <> '' OR a.atthasdef)
     ORDER BY a.attrelid, a.attnum`,
    [oids],
  );
  return rows;
}

function columnParts(rows: readonly FilledColumnRow[]): Pick<PostgresCompanions, 'generated' | 'identities' | 'defaults'> {
  return {
    generated: rows.flatMap(({ column, type, generated, expression }) =>
      generated === '' || expression === null
        ? []
        : [{ column, type, clause: `GENERATED ALWAYS AS (${expression}) ${generated === 'v' ? 'VIRTUAL' : 'STORED'}` }],
    ),
    identities: rows.flatMap(({ column, identity, sequences }) =>
      identity === '' ? [] : [{ column, always: identity === 'a', sequence: sequences[0] ?? null }],
    ),
    defaults: rows.flatMap(({ column, generated, identity, expression, sequences }) =>
      generated !== '' || identity !== '' || expression === null ? [] : [{ column, expression, sequences: [...sequences] }],
    ),
  };
}

type ConstraintRow = {
  readonly relation: string;
  readonly name: string;
  readonly kind: 'u' | 'x' | 'c' | 'f';
  readonly definition: string | null;
  /** Of a foreign key: the table that it refers to, quoted, and its name in parts. */
  readonly refers: string | null;
  readonly schema: string | null;
  readonly relname: string | null;
};

async function readConstraints(client: pg.ClientBase, oids: Oids): Promise<readonly ConstraintRow[]> {
  const { rows } = await client.query<ConstraintRow>(
    `SELECT k.conrelid::text AS relation, k.conname::text AS name, k.contype::text AS kind, pg_catalog.pg_get_constraintdef(k.oid) AS definition,
       CASE WHEN k.confrelid <> 0 THEN k.confrelid::pg_catalog.regclass::text END AS refers, n.nspname::text AS schema, c.relname::text AS relname
     FROM pg_catalog.pg_constraint k
     LEFT JOIN pg_catalog.pg_class c ON c.oid = k.confrelid LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE k.conrelid = ANY ($1::pg_catalog.oid[]) AND k.contype IN ('u', 'x', 'c', 'f') AND k.conparentid = 0
     ORDER BY 1, pg_catalog.strpos('uxcf', k.contype::text), 2`,
    [oids],
  );
  return rows;
}

function constraintParts(rows: readonly ConstraintRow[]): Pick<PostgresCompanions, 'constraints' | 'foreignKeys'> {
  return {
    constraints: rows.flatMap(({ name, kind, definition }) => (kind === 'f' || definition === null ? [] : [{ name, kind, definition }])),
    foreignKeys: rows.flatMap(({ name, kind, definition, refers, schema, relname }) => {
      if (kind !== 'f' || definition === null || refers === null || schema === null || relname === null) return [];
      return [{ name, definition: aboutTable(definition, { lead: ' REFERENCES ', name: refers, table: tableIdOf(schema, relname) }) }];
    }),
  };
}

type TriggerRow = {
  readonly relation: string;
  readonly name: string;
  readonly enabled: string;
  readonly definition: string;
  readonly table: string;
  readonly schema: string;
  readonly relname: string;
};

async function readTriggers(client: pg.ClientBase, oids: Oids): Promise<readonly TriggerRow[]> {
  const { rows } = await client.query<TriggerRow>(
    `SELECT t.tgrelid::text AS relation, t.tgname::text AS name, t.tgenabled::text AS enabled, pg_catalog.pg_get_triggerdef(t.oid) AS definition,
       t.tgrelid::pg_catalog.regclass::text AS table, n.nspname::text AS schema, c.relname::text AS relname
     FROM pg_catalog.pg_trigger t
     JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE t.tgrelid = ANY ($1::pg_catalog.oid[]) AND NOT t.tgisinternal AND t.tgparentid = 0
     ORDER BY 1, 2`,
    [oids],
  );
  return rows.filter(({ definition }) => (definition as string | null) !== null);
}

/** Takes a definition apart at the table that it names. */
function aboutTable(definition: string, at: { readonly lead: string; readonly name: string; readonly table: TableId }): AboutTable {
  const start = topLevelIndexOf(definition, at.lead + at.name);
  if (start < 0) return { before: definition, table: null, after: '' };
  const name = start + at.lead.length;
  return { before: definition.slice(0, name), table: at.table, after: definition.slice(name + at.name.length) };
}
