import * as z from 'zod';

import { digest } from '#core/hash.ts';
import type { TableCompanions, TableId } from '#core/schema.ts';

/*
 * What a table of a Postgres source has besides columns and key, as the server itself prints it under an empty search_path: every
 * name in a definition is quoted and stands with its schema.
 */

/** Moves when the shape below does. One of another release reads as if there were none, until the source is looked at again. */
const FORMAT = 1;

const FAMILY = 'postgres';

const domain = z.object({
  /** As `format_type` prints it: `public.posint`. */
  type: z.string(),
  schema: z.string(),
  /** With modifiers, and itself perhaps a domain: `numeric(10,2)`. */
  base: z.string(),
  /** Quoted; null where it is the base's own. */
  collation: z.string().nullable(),
  notNull: z.boolean(),
  checks: z.array(z.object({ name: z.string(), definition: z.string(), valid: z.boolean() })),
  default: z.string().nullable(),
});

const index = z.object({
  name: z.string(),
  unique: z.boolean(),
  /** True where a constraint brings it. */
  ofConstraint: z.boolean(),
  /** What stands behind the table's name: `USING btree (lower(name)) WHERE (id > 7)`. */
  definition: z.string(),
});

const sequence = z.object({
  /** Quoted, with its schema. */
  name: z.string(),
  schema: z.string(),
  type: z.string(),
  start: z.string(),
  increment: z.string(),
  minimum: z.string(),
  maximum: z.string(),
  cache: z.string(),
  cycle: z.boolean(),
});

/** A definition that names a table, which may have another name at the sink. Null where the name was not found in it. */
const aboutTable = z.object({
  before: z.string(),
  table: z.custom<TableId>((value) => typeof value === 'string').nullable(),
  after: z.string(),
});

const companionsSchema = z.object({
  format: z.literal(FORMAT),
  /** Of the columns, each behind those that it is made of. */
  domains: z.array(domain),
  indexes: z.array(index),
  /** `clause` is all that stands behind the type. */
  generated: z.array(z.object({ column: z.string(), type: z.string(), clause: z.string() })),
  identities: z.array(z.object({ column: z.string(), always: z.boolean(), sequence: sequence.nullable() })),
  defaults: z.array(z.object({ column: z.string(), expression: z.string(), sequences: z.array(sequence) })),
  /** Unique, exclusion and check constraints, in this order. */
  constraints: z.array(z.object({ name: z.string(), kind: z.enum(['u', 'x', 'c']), definition: z.string() })),
  foreignKeys: z.array(z.object({ name: z.string(), definition: aboutTable })),
  /** `enabled` is pg_trigger's: O as usual, D disabled, R as replica only, A always. */
  triggers: z.array(z.object({ name: z.string(), enabled: z.string(), definition: aboutTable })),
});

export type Domain = Readonly<z.infer<typeof domain>>;
export type SourceIndex = Readonly<z.infer<typeof index>>;
export type SourceSequence = Readonly<z.infer<typeof sequence>>;
export type AboutTable = Readonly<z.infer<typeof aboutTable>>;
export type PostgresCompanions = Readonly<z.infer<typeof companionsSchema>>;

export function toCompanions(found: Omit<PostgresCompanions, 'format'>): TableCompanions {
  const facts: PostgresCompanions = { format: FORMAT, ...found };
  return { family: FAMILY, hash: digest(JSON.stringify(facts)), facts };
}

/** Null for what another kind of source, or another release, told. */
export function fromCompanions(companions: TableCompanions | undefined): PostgresCompanions | null {
  if (companions?.family !== FAMILY) return null;
  return companionsSchema.safeParse(companions.facts).data ?? null;
}
