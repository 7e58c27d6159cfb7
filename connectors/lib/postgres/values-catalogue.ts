import { CausewayError } from '#core/errors.ts';
import type { PostgresType } from './values.ts';

/** One row of `typesQuery`. All columns are texts, whatever type parsers the client has. */
export type TypeRow = {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly typmod: string;
  readonly delimiter: string;
  /** 0 for what is no domain. */
  readonly base: string;
  /** 0 for what `array_out` does not print. */
  readonly element: string;
  /** A JSON array. */
  readonly labels: string;
};

/** Parameter 1 is an array of type oids, as text: `{23,1009}`. Answers these types and all that they are made of. */
export const typesQuery = `
WITH RECURSIVE needed(oid) AS (
  SELECT pg_catalog.unnest($1::pg_catalog.oid[])
  UNION
  SELECT part.oid
  FROM needed
  JOIN pg_catalog.pg_type t ON t.oid = needed.oid
  CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS part(oid)
  WHERE part.oid <> 0
)
SELECT t.oid::text AS oid, n.nspname::text AS schema, t.typname::text AS name, t.typtype::text AS kind, t.typtypmod::text AS typmod,
  t.typdelim::text AS delimiter, t.typbasetype::text AS base,
  CASE WHEN t.typoutput = 'pg_catalog.array_out'::pg_catalog.regproc THEN t.typelem ELSE 0 END::text AS element,
  COALESCE((SELECT pg_catalog.json_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)::text, '[]')
    AS labels
FROM needed
JOIN pg_catalog.pg_type t ON t.oid = needed.oid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace`;

export type TypeLookup = (oid: number, typmod: number) => PostgresType;

const KINDS = ['b', 'c', 'd', 'e', 'p', 'r', 'm'] as const;

/** The lookup throws `source_stream_invalid` for an oid that is not among the rows: the type was dropped in between. */
export function typeLookup(rows: readonly TypeRow[]): TypeLookup {
  const byOid = new Map(rows.map((row) => [Number(row.oid), row]));
  const lookup: TypeLookup = (oid, typmod) => {
    const row = byOid.get(oid);
    const kind = KINDS.find((known) => known === row?.kind);
    if (row === undefined || kind === undefined)
      throw new CausewayError('source_stream_invalid', `the type with oid ${oid} is not in the catalogue`);
    return {
      schema: row.schema,
      name: row.name,
      kind,
      typmod,
      delimiter: row.delimiter,
      element: row.element === '0' ? null : lookup(Number(row.element), -1),
      base: row.base === '0' ? null : lookup(Number(row.base), Number(row.typmod)),
      labels: JSON.parse(row.labels) as string[],
    };
  };
  return lookup;
}
