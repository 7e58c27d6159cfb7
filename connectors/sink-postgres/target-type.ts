import { CausewayError } from '#core/errors.ts';
import type { Column, DescribedTable } from '#core/schema.ts';
import type { CanonicalType } from '#core/value.ts';

import { fromCompanions, type Domain } from '../lib/postgres/companions.ts';
import { quoteIdentifier, quoteLiteral } from '../lib/postgres/quote.ts';
import type { Register } from './config.ts';
import type { Session } from './session.ts';

/** What is known of a table's types beside its columns. */
export type KnownTypes = {
  /** Of the source, each behind those that it is made of. */
  readonly domains: readonly Domain[];
  /** False where a domain that is not there is not to be made either: then its base takes its place. */
  readonly makeDomains: boolean;
  readonly register: Register;
  readonly key: readonly string[];
};

export function knownTypes(table: DescribedTable, input: Pick<KnownTypes, 'makeDomains' | 'register'>): KnownTypes {
  return {
    domains: fromCompanions(table.companions)?.domains ?? [],
    makeDomains: input.makeDomains,
    register: input.register,
    key: table.key.map((index) => table.columns[index]?.name ?? ''),
  };
}

type TargetType = { readonly type: string; readonly before: readonly string[] };
type TypedColumn = Pick<Column, 'name' | 'type' | 'sourceType'>;

/**
 * The type to make a column with: the source's own where the target knows it, an enum or a domain made as the source has it,
 * otherwise the type that holds the canonical values without loss. `before` is what has to be made first.
 */
export async function targetType(session: Session, column: TypedColumn, known: KnownTypes): Promise<TargetType> {
  const { name, dimensions } = elementOf(column.sourceType);
  const domain = known.domains.find(({ type }) => type === name);
  // A tombstone of the inline register has null in every column but the key, which a domain can refuse.
  const isForTombstones = known.register === 'inline' && dimensions === '' && !known.key.includes(column.name);
  if (domain !== undefined && isForTombstones) return await targetType(session, { ...column, sourceType: domain.base }, known);
  if (await typeExists(session, column.sourceType)) return { type: column.sourceType, before: [] };
  if (domain !== undefined && !(dimensions !== '' && domain.base.endsWith('[]'))) {
    if (!known.makeDomains) return await targetType(session, { ...column, sourceType: domain.base + dimensions }, known);
    const base = await targetType(session, { ...column, sourceType: domain.base }, known);
    const before = [...base.before, ...(await schemaStatements(session, domain.schema)), domainStatement(domain)];
    if (base.type === domain.base) return { type: column.sourceType, before };
  }
  const element = column.type.tag === 'array' ? column.type.element : column.type;
  if (element.tag === 'enum') return { type: column.sourceType, before: await enumStatements(session, name, element.labels) };
  const type = plainType(column.type);
  if (type !== null && (column.type.tag !== 'other' || (await typeExists(session, type)))) return { type, before: [] };
  const how = 'make it first, with pg_dump --schema-only --section=pre-data from the source';
  throw new CausewayError('sink_misconfigured', `the sink does not know the type ${column.sourceType} of column ${column.name}: ${how}`);
}

/** Types under the column's domains, the nearest first, and the one that its canonical values need: each holds the same rows. */
export function typesUnder(column: TypedColumn, domains: readonly Domain[]): readonly string[] {
  const { name, dimensions } = elementOf(column.sourceType);
  const domain = domains.find(({ type }) => type === name);
  if (domain === undefined) return [];
  const plain = plainType(column.type);
  const base = domain.base + dimensions;
  return [base, ...typesUnder({ ...column, sourceType: base }, domains), ...(plain === null ? [] : [plain])];
}

/** The domain of a column, or of its elements, with those below it; the nearest first. */
export function domainsOf(column: Pick<Column, 'sourceType'>, domains: readonly Domain[]): readonly Domain[] {
  const domain = domains.find(({ type }) => type === elementOf(column.sourceType).name);
  return domain === undefined ? [] : [domain, ...domainsOf({ sourceType: domain.base }, domains)];
}

function elementOf(sourceType: string): { readonly name: string; readonly dimensions: string } {
  const name = sourceType.replace(/(\[\])+$/, '');
  return { name, dimensions: sourceType.slice(name.length) };
}

/** What is not valid for the rows that the source has comes after the drain of a failover, and so does a default. */
export function domainStatement(domain: Domain): string {
  const checks = domain.checks
    .filter(({ valid }) => valid)
    .map(({ name, definition }) => ` CONSTRAINT ${quoteIdentifier(name)} ${definition}`);
  const collate = domain.collation === null ? '' : ` COLLATE ${domain.collation}`;
  return `CREATE DOMAIN ${domain.type} AS ${domain.base}${collate}${domain.notNull ? ' NOT NULL' : ''}${checks.join('')}`;
}

async function enumStatements(session: Session, name: string, labels: readonly string[]): Promise<string[]> {
  // As format_type prints it: quoted where it must be, with its schema.
  const schema = /^("(?:[^"]|"")+"|[^".]+)\./.exec(name)?.[1];
  if (schema === undefined) throw new CausewayError('sink_misconfigured', `the enum ${name} has no schema`);
  const plain = schema.startsWith('"') ? schema.slice(1, -1).replaceAll('""', '"') : schema;
  return [...(await schemaStatements(session, plain)), `CREATE TYPE ${name} AS ENUM (${labels.map(quoteLiteral).join(', ')})`];
}

async function schemaStatements(session: Session, name: string): Promise<string[]> {
  return (await schemaExists(session, name)) ? [] : [`CREATE SCHEMA ${quoteIdentifier(name)}`];
}

function plainType(type: CanonicalType): string | null {
  switch (type.tag) {
    case 'bool':
      return 'boolean';
    case 'int':
      if (type.unsigned) return type.bits === 64 ? 'numeric(20,0)' : 'bigint';
      return type.bits === 16 ? 'smallint' : type.bits === 32 ? 'integer' : 'bigint';
    case 'float':
      return type.bits === 32 ? 'real' : 'double precision';
    case 'decimal':
      return type.precision === null ? 'numeric' : `numeric(${type.precision},${type.scale ?? 0})`;
    case 'text':
    case 'enum':
      return 'text';
    case 'bytes':
      return 'bytea';
    case 'date':
    case 'interval':
    case 'uuid':
    case 'json':
      return type.tag;
    case 'time':
      return 'time without time zone';
    case 'timestamp':
      return 'timestamp without time zone';
    case 'timestamptz':
      return 'timestamp with time zone';
    case 'bit':
      return 'bit varying';
    case 'array': {
      const element = plainType(type.element);
      return element === null ? null : `${element}[]`;
    }
    case 'other':
      return type.name;
  }
}

/**
 * The type of the name `$1`, which is parsed as a type's and nothing else. Null also in a schema that the role may not use: there the
 * server refuses to look, which would end every check behind it (TP-003 tells of the schema).
 */
export const TYPE_NAMED = `(SELECT CASE WHEN pg_catalog.cardinality(parts) < 2 OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = parts[1] AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE'))
  THEN pg_catalog.to_regtype($1) END FROM pg_catalog.parse_ident($1, false) AS parts)`;

async function typeExists(session: Session, name: string): Promise<boolean> {
  const [row] = await session.texts(`SELECT ${TYPE_NAMED}::text`, [name]);
  return (row?.[0] ?? null) !== null;
}

export async function schemaExists(session: Session, name: string): Promise<boolean> {
  return (await session.texts('SELECT 1::text FROM pg_catalog.pg_namespace WHERE nspname = $1', [name])).length > 0;
}
