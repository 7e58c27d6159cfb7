import { tableIdParts, type TableId } from '#core/schema.ts';

import { quoteIdentifier } from '../lib/postgres/quote.ts';
import type { Session } from './session.ts';

export type TargetColumn = {
  readonly name: string;
  /** As `format_type` prints it, with modifiers: `numeric(10,2)`, `public.mood`. */
  readonly type: string;
  /**
   * The type under its domains, quoted and without modifiers. Casting to a modified type cuts and rounds silently; what a modifier
   * asks is left to the assignment, which refuses.
   */
  readonly castType: string;
  /** The array of `castType`, quoted; null where an array literal cannot simply hold its elements. */
  readonly arrayType: string | null;
  /** Quoted; null where it is the type's own. */
  readonly collation: string | null;
  readonly notNull: boolean;
  readonly hasDefault: boolean;
  readonly generated: boolean;
  readonly identityAlways: boolean;
  /** Of an enum, or of an array of one. Empty otherwise. */
  readonly labels: readonly string[];
};

export type TargetTable = {
  readonly oid: string;
  /** `r` for a table, `p` for a partitioned one; others hold no rows of their own. */
  readonly kind: string;
  readonly columns: ReadonlyMap<string, TargetColumn>;
  /** Names of the primary key's columns in its order; null without one. */
  readonly key: readonly string[] | null;
  readonly keyDeferrable: boolean;
};

const TABLE_QUERY = `
SELECT c.oid::text, c.relkind::text, k.columns::text, coalesce(k.deferrable, false)::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
  SELECT pg_catalog.json_agg(a.attname ORDER BY position.at) AS columns, p.condeferrable AS deferrable
  FROM pg_catalog.pg_constraint p
  CROSS JOIN LATERAL pg_catalog.unnest(p.conkey) WITH ORDINALITY AS position(attnum, at)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = p.conrelid AND a.attnum = position.attnum
  WHERE p.conrelid = c.oid AND p.contype = 'p'
  GROUP BY p.condeferrable
) k ON true
WHERE n.nspname = $1 AND c.relname = $2`;

const COLUMNS_QUERY = `
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), bn.nspname::text, b.typname::text,
  an.nspname::text, arr.typname::text,
  CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
    THEN pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(coll.collname) END,
  a.attnotnull::text, a.atthasdef::text, (a.attgenerated <> '')::text, (a.attidentity = 'a')::text,
  (SELECT coalesce(pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder), '[]')::text FROM pg_catalog.pg_enum e
    WHERE e.enumtypid = b.oid OR e.enumtypid = b.typelem),
  b.typdelim::text, (b.typoutput = 'pg_catalog.array_out'::pg_catalog.regproc)::text
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
CROSS JOIN LATERAL (
  WITH RECURSIVE chain(oid, kind, base) AS (
    SELECT t.oid, t.typtype, t.typbasetype
    UNION ALL
    SELECT u.oid, u.typtype, u.typbasetype FROM chain JOIN pg_catalog.pg_type u ON u.oid = chain.base WHERE chain.kind = 'd'
  )
  SELECT oid FROM chain WHERE kind <> 'd'
) bottom
JOIN pg_catalog.pg_type b ON b.oid = bottom.oid
JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace
LEFT JOIN pg_catalog.pg_type arr ON arr.oid = b.typarray
LEFT JOIN pg_catalog.pg_namespace an ON an.oid = arr.typnamespace
LEFT JOIN pg_catalog.pg_collation coll ON coll.oid = a.attcollation
LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = coll.collnamespace
WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum`;

/** Null where there is no such table. */
export async function readTarget(session: Session, target: TableId): Promise<TargetTable | null> {
  const { schema, name } = tableIdParts(target);
  return await readTable(session, schema, name);
}

export async function readTable(session: Session, schema: string, name: string): Promise<TargetTable | null> {
  const [table] = await session.texts(TABLE_QUERY, [schema, name], 'cw-table');
  if (table === undefined) return null;
  const [oid, kind, key, deferrable] = table;
  const rows = await session.texts(COLUMNS_QUERY, [oid ?? ''], 'cw-columns');
  const columns = rows.map((row) => {
    const text = (index: number): string => row[index] ?? '';
    const quoted = (at: number): string => `${quoteIdentifier(text(at))}.${quoteIdentifier(text(at + 1))}`;
    const isArray = text(13) === 'true';
    const column: TargetColumn = {
      name: text(0),
      type: text(1),
      castType: quoted(2),
      // An array literal of arrays would be one array of more dimensions, and a few types part their elements by another sign.
      arrayType: row[5] === null || row[5] === undefined || isArray || text(12) !== ',' ? null : quoted(4),
      collation: row[6] ?? null,
      notNull: text(7) === 'true',
      hasDefault: text(8) === 'true',
      generated: text(9) === 'true',
      identityAlways: text(10) === 'true',
      labels: JSON.parse(text(11)) as string[],
    };
    return column;
  });
  return {
    oid: oid ?? '',
    kind: kind ?? '',
    columns: new Map(columns.map((column) => [column.name, column])),
    key: key === null || key === undefined ? null : (JSON.parse(key) as string[]),
    keyDeferrable: deferrable === 'true',
  };
}
