import { tableIdParts, type Column, type DescribedTable, type TableId } from '#core/schema.ts';

import { fromCompanions, type AboutTable, type Domain, type PostgresCompanions, type SourceSequence } from '../lib/postgres/companions.ts';
import { quoteIdentifier, quoteLiteral, quoteTable } from '../lib/postgres/quote.ts';
import { readTarget, type TargetTable } from './catalogue.ts';
import { otherIndexName, plainIndexStatement } from './indexes.ts';
import { DELETED_COLUMN } from './names.ts';
import type { ProvisionInput } from './provision.ts';
import type { Session } from './session.ts';
import { domainsOf, domainStatement, TYPE_NAMED } from './target-type.ts';

/** A table of the source with the replicated one as it is now. */
type Promoted = {
  readonly table: DescribedTable;
  readonly target: TableId;
  readonly companions: PostgresCompanions;
  readonly found: TargetTable | null;
  readonly has: Present;
};

/** Names of what the replicated table has already. */
type Present = {
  readonly constraints: ReadonlySet<string>;
  readonly triggers: ReadonlySet<string>;
  readonly indexes: ReadonlySet<string>;
  readonly uniqueIndexes: ReadonlySet<string>;
  readonly identities: ReadonlySet<string>;
};

/**
 * What the source's tables have and the replicated ones lack, as statements to run after the drain of a failover, when rows arrive in
 * no order any more. In an order that works: what fills columns, uniqueness, what refers to it, and at last what fires.
 */
export async function promotionStatements(session: Session, tables: readonly DescribedTable[], input: ProvisionInput): Promise<string[]> {
  const promoted: Promoted[] = [];
  for (const table of tables) {
    const companions = fromCompanions(table.companions);
    if (companions === null) continue;
    const target = input.target(table.table);
    const found = await readTarget(session, target);
    promoted.push({ table, target, companions, found, has: await present(session, found) });
  }
  const each = (part: (of: Promoted) => readonly string[]): readonly string[] => promoted.flatMap(part);
  const domains: string[] = [];
  for (const of of promoted) domains.push(...(await domainStatements(session, of)));
  const replicated = new Set(promoted.map(({ table }) => table.table));
  const statements = [
    ...(input.register === 'inline' ? each(({ target, found }) => tombstones(target, found)) : []),
    ...domains,
    ...each(notNull),
    ...each(generatedColumns),
    ...each(identities),
    ...each(defaults),
    ...each(indexes),
    ...each(constraints),
    ...each((of) => foreignKeys(of, replicated, input.target)),
    ...each((of) => triggers(of, input.target)),
  ];
  // Two tables may share a sequence or a domain.
  return [...new Set(statements)];
}

async function present(session: Session, found: TargetTable | null): Promise<Present> {
  const names = async (text: string): Promise<ReadonlySet<string>> =>
    found === null ? new Set() : new Set((await session.texts(text, [found.oid])).map(([name]) => name ?? ''));
  return {
    constraints: await names('SELECT conname::text FROM pg_catalog.pg_constraint WHERE conrelid = $1::pg_catalog.oid'),
    triggers: await names('SELECT tgname::text FROM pg_catalog.pg_trigger WHERE tgrelid = $1::pg_catalog.oid AND NOT tgisinternal'),
    indexes: await names(INDEX_NAMES),
    uniqueIndexes: await names(`${INDEX_NAMES} AND i.indisunique`),
    identities: await names(
      "SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = $1::pg_catalog.oid AND attidentity <> '' AND NOT attisdropped",
    ),
  };
}

const INDEX_NAMES = `SELECT c.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = $1::pg_catalog.oid`;

function alter(target: TableId, action: string): string {
  return `ALTER TABLE ${quoteTable(target)} ${action}`;
}

/** Deleted rows of the inline register are rows to everything that follows. */
function tombstones(target: TableId, found: TargetTable | null): readonly string[] {
  return found?.columns.has(DELETED_COLUMN) === true ? [`DELETE FROM ${quoteTable(target)} WHERE ${DELETED_COLUMN}`] : [];
}

/** Columns that had to take a domain's base type get the domain, and domains what was left out of them. */
async function domainStatements(session: Session, { table, target, companions, found }: Promoted): Promise<string[]> {
  const statements: string[] = [];
  for (const column of table.columns) {
    const under = domainsOf(column, companions.domains);
    if (under.length === 0) continue;
    for (const domain of under.toReversed()) statements.push(...(await domainParts(session, domain)));
    if (found !== null && found.columns.get(column.name)?.type !== column.sourceType) {
      statements.push(alter(target, `ALTER COLUMN ${quoteIdentifier(column.name)} TYPE ${column.sourceType}`));
    }
  }
  return statements;
}

async function domainParts(session: Session, domain: Domain): Promise<string[]> {
  const [row] = await session.texts(
    `SELECT (t.typdefault IS NOT NULL)::text,
  (SELECT coalesce(pg_catalog.json_agg(k.conname), '[]')::text FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid)
FROM pg_catalog.pg_type t WHERE t.oid = ${TYPE_NAMED}`,
    [domain.type],
  );
  const has = new Set(JSON.parse(row?.[1] ?? '[]') as string[]);
  const missing = domain.checks.filter(({ name, valid }) => !valid && !has.has(name));
  return [
    ...(row === undefined ? [domainStatement(domain)] : []),
    ...(domain.default === null || row?.[0] === 'true' ? [] : [`ALTER DOMAIN ${domain.type} SET DEFAULT ${domain.default}`]),
    ...missing.map(({ name, definition }) => `ALTER DOMAIN ${domain.type} ADD CONSTRAINT ${quoteIdentifier(name)} ${definition}`),
  ];
}

function notNull({ table, target, found }: Promoted): readonly string[] {
  return table.columns
    .filter(({ name, nullable }) => !nullable && found?.columns.get(name)?.notNull === false)
    .map(({ name }) => alter(target, `ALTER COLUMN ${quoteIdentifier(name)} SET NOT NULL`));
}

/** The stream leaves them out, and so does the replicated table. */
function generatedColumns({ target, companions, found }: Promoted): readonly string[] {
  return companions.generated
    .filter(({ column }) => found?.columns.has(column) !== true)
    .map(({ column, type, clause }) => alter(target, `ADD COLUMN ${quoteIdentifier(column)} ${type} ${clause}`));
}

/** A sequence goes on behind the values that were replicated; its own state is not. */
function identities({ target, companions, has }: Promoted): readonly string[] {
  return companions.identities
    .filter(({ column }) => !has.identities.has(column))
    .flatMap(({ column, always, sequence }) => {
      const name = quoteIdentifier(column);
      const options = sequence === null ? '' : ` (${sequenceOptions(sequence)})`;
      const add = alter(target, `ALTER COLUMN ${name} ADD GENERATED ${always ? 'ALWAYS' : 'BY DEFAULT'} AS IDENTITY${options}`);
      const held = `pg_catalog.pg_get_serial_sequence(${quoteLiteral(quoteTable(target))}, ${quoteLiteral(column)})`;
      return [add, setSequence({ held, target, column: name, increment: sequence?.increment ?? '1', start: sequence?.start ?? '1' })];
    });
}

function defaults({ table, target, companions, found }: Promoted): readonly string[] {
  return companions.defaults.flatMap(({ column, expression, sequences }) => {
    if (found?.columns.get(column)?.hasDefault === true) return [];
    const name = quoteIdentifier(column);
    const isNumber = isNumeric(table.columns.find((known) => known.name === column));
    const before = sequences.flatMap((sequence) => [
      `CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(sequence.schema)}`,
      `CREATE SEQUENCE IF NOT EXISTS ${sequence.name} AS ${sequence.type} ${sequenceOptions(sequence)}`,
      // A sequence belongs to a column of its own schema only.
      ...(sequence.schema === tableIdParts(target).schema
        ? [`ALTER SEQUENCE ${sequence.name} OWNED BY ${quoteTable(target)}.${name}`]
        : []),
      ...(isNumber ? [setSequence({ ...sequence, held: quoteLiteral(sequence.name), target, column: name })] : []),
    ]);
    return [...before, alter(target, `ALTER COLUMN ${name} SET DEFAULT ${expression}`)];
  });
}

function isNumeric(column: Column | undefined): boolean {
  return column?.type.tag === 'int' || column?.type.tag === 'decimal';
}

function sequenceOptions({ start, increment, minimum, maximum, cache, cycle }: SourceSequence): string {
  const range = `MINVALUE ${minimum} MAXVALUE ${maximum}`;
  return `START WITH ${start} INCREMENT BY ${increment} ${range} CACHE ${cache}${cycle ? ' CYCLE' : ' NO CYCLE'}`;
}

/** An empty table leaves the sequence where it starts. */
function setSequence(input: {
  readonly held: string;
  readonly target: TableId;
  readonly column: string;
  readonly increment: string;
  readonly start: string;
}): string {
  const { held, target, column, increment, start } = input;
  const last = `pg_catalog.${increment.startsWith('-') ? 'min' : 'max'}(${column})`;
  return `SELECT pg_catalog.setval(${held}, COALESCE(${last}, ${start})::bigint, ${last} IS NOT NULL) FROM ${quoteTable(target)}`;
}

/** Plain ones that are missing, and unique ones in place of those that stood in for them. */
function indexes({ target, companions, has }: Promoted): readonly string[] {
  const { schema } = tableIdParts(target);
  return companions.indexes.flatMap((index) => {
    const other = otherIndexName(index.name, target);
    const isThere = has.indexes.has(index.name) || has.indexes.has(other);
    if (index.ofConstraint) return [];
    if (!index.unique) return isThere ? [] : [plainIndexStatement(target, index.name, index)];
    if (has.uniqueIndexes.has(index.name) || has.uniqueIndexes.has(other)) return [];
    const name = has.indexes.has(other) ? other : index.name;
    return [
      ...(isThere ? [`DROP INDEX IF EXISTS ${quoteIdentifier(schema)}.${quoteIdentifier(name)}`] : []),
      `CREATE UNIQUE INDEX ${quoteIdentifier(name)} ON ${quoteTable(target)} ${index.definition}`,
    ];
  });
}

function constraints({ target, companions, has }: Promoted): readonly string[] {
  const { schema } = tableIdParts(target);
  return companions.constraints
    .filter(({ name }) => !has.constraints.has(name) && !has.constraints.has(otherIndexName(name, target)))
    .flatMap(({ name, kind, definition }) => {
      const other = otherIndexName(name, target);
      const standIn = kind === 'c' ? undefined : [name, other].find((candidate) => has.indexes.has(candidate));
      return [
        ...(standIn === undefined ? [] : [`DROP INDEX IF EXISTS ${quoteIdentifier(schema)}.${quoteIdentifier(standIn)}`]),
        alter(target, `ADD CONSTRAINT ${quoteIdentifier(standIn ?? name)} ${definition}`),
      ];
    });
}

function placed({ before, table, after }: AboutTable, target: (table: TableId) => TableId): string {
  return `${before}${table === null ? '' : quoteTable(target(table))}${after}`;
}

function foreignKeys(
  { target, companions, has }: Promoted,
  replicated: ReadonlySet<TableId>,
  targetOf: (table: TableId) => TableId,
): readonly string[] {
  return companions.foreignKeys
    .filter(({ name }) => !has.constraints.has(name))
    .map(({ name, definition }) => {
      const statement = alter(target, `ADD CONSTRAINT ${quoteIdentifier(name)} ${placed(definition, targetOf)}`);
      if (definition.table === null || replicated.has(definition.table)) return statement;
      return `-- ${definition.table} is not replicated: ${statement};`.replaceAll('\n', ' ');
    });
}

const TRIGGER_STATES: Readonly<Record<string, string>> = { D: 'DISABLE', R: 'ENABLE REPLICA', A: 'ENABLE ALWAYS' };

function triggers({ target, companions, has }: Promoted, targetOf: (table: TableId) => TableId): readonly string[] {
  return companions.triggers
    .filter(({ name }) => !has.triggers.has(name))
    .flatMap(({ name, enabled, definition }) => {
      const state = TRIGGER_STATES[enabled];
      return [placed(definition, targetOf), ...(state === undefined ? [] : [alter(target, `${state} TRIGGER ${quoteIdentifier(name)}`)])];
    });
}
