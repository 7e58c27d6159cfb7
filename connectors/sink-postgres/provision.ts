import { CausewayError } from '#core/errors.ts';
import { tableIdParts, type Column, type DescribedTable, type TableId, type TableSchema } from '#core/schema.ts';

import { quoteIdentifier, quoteLiteral, quoteTable } from '../lib/postgres/quote.ts';
import { fromCanonical } from '../lib/postgres/values.ts';
import { REPORT_COLUMNS, REPORT_IDENTITY } from '../lib/sink/report-texts.ts';
import { readTable, readTarget, type TargetTable } from './catalogue.ts';
import type { Register } from './config.ts';
import { DELETED_COLUMN, SEQUENCE_COLUMN, versionTableName, type OwnTables } from './names.ts';
import { allIndexStatements, makeIndexes } from './indexes.ts';
import { sinkError } from './errors.ts';
import { commit, type Session } from './session.ts';
import { knownTypes, schemaExists, targetType, type KnownTypes } from './target-type.ts';

export type ProvisionInput = {
  readonly pipeline: string;
  readonly sink: string;
  readonly own: OwnTables;
  readonly register: Register;
  readonly target: (table: TableId) => TableId;
};

/** Two daemons that start together provision one after the other. Any number that is always the same will do. */
export const ADVISORY_LOCK = 'SELECT pg_catalog.pg_advisory_xact_lock(4919131752989213764)';

/**
 * The statements that make what is missing, in an order that works. Empty when nothing is. A domain that is not there stands among
 * them if `makeDomains` says so; otherwise the columns take its base type.
 */
export async function missingStatements(
  session: Session,
  tables: readonly DescribedTable[],
  input: ProvisionInput & { readonly makeDomains: boolean },
): Promise<string[]> {
  const statements = await missingOwnTables(session, input.own);
  const planned = new Set<string>();
  for (const table of tables) {
    for (const statement of await missingForTable(session, table, input)) {
      // Two tables may need one schema or one enum.
      if (!planned.has(statement)) statements.push(statement);
      planned.add(statement);
    }
  }
  return statements;
}

export async function missingOwnTables(session: Session, own: OwnTables): Promise<string[]> {
  const statements: string[] = [];
  if (!(await schemaExists(session, own.schema))) statements.push(`CREATE SCHEMA ${quoteIdentifier(own.schema)}`);
  if ((await readTable(session, own.schema, 'sink_progress')) === null) {
    // Each batch updates its partition's row: room on the page keeps those updates out of the index.
    statements.push(`CREATE TABLE ${own.progress} (pipeline text, sink text, partition integer, token bigint NOT NULL, writes bigint NOT NULL DEFAULT 0,
  log_offset bigint, generation bigint, counter bigint, holder text, watermark bytea, watermark_time bigint,
  floors jsonb NOT NULL DEFAULT '[]', open_loads jsonb NOT NULL DEFAULT '[]', epochs jsonb NOT NULL DEFAULT '[]', replays bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (pipeline, sink, partition)) WITH (fillfactor = 20)`);
  }
  if ((await readTable(session, own.schema, 'sink_table')) === null) {
    statements.push(`CREATE TABLE ${own.tables} (pipeline text, sink text, source_table text, target text NOT NULL, register text NOT NULL,
  swept bytea, sweeping bytea, sweep_phase text, sweep_after jsonb, PRIMARY KEY (pipeline, sink, source_table))`);
  }
  if ((await readTable(session, own.schema, 'sink_owner')) === null) {
    statements.push(`CREATE TABLE ${own.owners} (pipeline text, sink text, owner text NOT NULL, PRIMARY KEY (pipeline, sink))`);
  }
  if ((await readTable(session, own.schema, 'sink_report')) === null) {
    const columns = REPORT_COLUMNS.map((name) => `${name} text${name === 'stored' ? '' : ' NOT NULL'}`).join(', ');
    statements.push(`CREATE TABLE ${own.reports} (pipeline text, sink text, run text, ${columns},
  PRIMARY KEY (pipeline, sink, run, ${REPORT_IDENTITY.join(', ')}))`);
  }
  return statements;
}

async function missingForTable(
  session: Session,
  schema: DescribedTable,
  input: ProvisionInput & { readonly makeDomains: boolean },
): Promise<string[]> {
  const known = knownTypes(schema, input);
  const target = input.target(schema.table);
  const statements: string[] = [];
  const found = await readTarget(session, target);
  if (found === null) {
    const { schema: name } = tableIdParts(target);
    if (!(await schemaExists(session, name))) statements.push(`CREATE SCHEMA ${quoteIdentifier(name)}`);
    statements.push(...(await tableStatements(session, schema, target, known)));
  } else if (input.register === 'inline') {
    const missing = [SEQUENCE_COLUMN, DELETED_COLUMN].filter((column) => !found.columns.has(column));
    if (missing.length > 0)
      statements.push(`ALTER TABLE ${quoteTable(target)} ${missing.map((name) => `ADD COLUMN ${inlineColumn(name)}`).join(', ')}`);
  }
  if (input.register === 'sidecar' && (await readTable(session, input.own.schema, versionTableName(target))) === null) {
    statements.push(await versionTableStatement(session, schema, { target, found, own: input.own, known }));
  }
  return statements;
}

function inlineColumn(name: string): string {
  return name === SEQUENCE_COLUMN ? `${SEQUENCE_COLUMN} bytea` : `${DELETED_COLUMN} boolean NOT NULL DEFAULT false`;
}

async function tableStatements(session: Session, schema: TableSchema, target: TableId, known: KnownTypes): Promise<string[]> {
  const { register } = known;
  const statements: string[] = [];
  const columns: string[] = [];
  for (const [index, column] of schema.columns.entries()) {
    const { type, before } = await targetType(session, column, known);
    statements.push(...before);
    // A tombstone of an inline register has null in every column but the key.
    const notNull = schema.key.includes(index) || (!column.nullable && register === 'sidecar');
    columns.push(`${quoteIdentifier(column.name)} ${type}${notNull ? ' NOT NULL' : ''}`);
  }
  if (register === 'inline') columns.push(inlineColumn(SEQUENCE_COLUMN), inlineColumn(DELETED_COLUMN));
  columns.push(`PRIMARY KEY (${keyNames(schema).join(', ')})`);
  statements.push(`CREATE TABLE ${quoteTable(target)} (${columns.join(', ')})`);
  return statements;
}

function keyNames(schema: TableSchema): string[] {
  return schema.key.map((index) => quoteIdentifier(schema.columns[index]?.name ?? ''));
}

/** The version table's key has the types and collations of the replicated table's, so that both have one order. */
async function versionTableStatement(
  session: Session,
  schema: TableSchema,
  input: { readonly target: TableId; readonly found: TargetTable | null; readonly own: OwnTables; readonly known: KnownTypes },
): Promise<string> {
  const columns: string[] = [];
  for (const index of schema.key) {
    const column = schema.columns[index];
    if (column === undefined) continue;
    const at = input.found?.columns.get(column.name);
    const type = at === undefined ? (await targetType(session, column, input.known)).type : at.type;
    const collate = at?.collation === undefined || at.collation === null ? '' : ` COLLATE ${at.collation}`;
    columns.push(`${quoteIdentifier(column.name)} ${type}${collate}`);
  }
  columns.push(`${SEQUENCE_COLUMN} bytea NOT NULL`, `${DELETED_COLUMN} boolean NOT NULL`, `PRIMARY KEY (${keyNames(schema).join(', ')})`);
  return `CREATE TABLE ${input.own.version(input.target)} (${columns.join(', ')}) WITH (fillfactor = 85)`;
}

/** Makes what is missing, or throws with the statements. Notes which tables belong to the sink. */
export async function provision(
  session: Session,
  tables: readonly DescribedTable[],
  input: ProvisionInput & { readonly mode: 'create' | 'check' },
): Promise<void> {
  await session.transaction([{ text: ADVISORY_LOCK }], async () => {
    if (input.mode === 'create') await create(session, tables, input);
    else await assertComplete(session, tables, input);
    const registers = tables.length === 0 ? [] : [input.own.tables, ...(await registersElsewhere(session, input.own))];
    for (const table of tables) await claimTable(session, table, { ...input, registers });
    return commit(undefined);
  });
}

/** One by one, as a later table may need a type that an earlier one brought. */
async function create(session: Session, tables: readonly DescribedTable[], input: ProvisionInput): Promise<void> {
  for (const part of [[], ...tables.map((table) => [table])]) {
    for (const table of part) await makeDomains(session, table, input);
    for (const statement of await missingStatements(session, part, { ...input, makeDomains: false })) await session.script(statement);
    for (const table of part) await makeIndexes(session, { table, target: input.target(table.table), tryStatement });
  }
}

async function assertComplete(session: Session, tables: readonly DescribedTable[], input: ProvisionInput): Promise<void> {
  const missing: string[] = [];
  for (const part of [[], ...tables.map((table) => [table])]) {
    const statements = await missingStatements(session, part, { ...input, makeDomains: true });
    // Indexes alone stop nothing, and are for `check` to tell of. Where the table is missing too, they belong to it.
    const made = part.filter(({ table }) =>
      statements.some((statement) => statement.startsWith(`CREATE TABLE ${quoteTable(input.target(table))} `)),
    );
    statements.push(...made.flatMap((table) => allIndexStatements(table, input.target(table.table))));
    missing.push(...statements.filter((statement) => !missing.includes(statement)));
  }
  if (missing.length === 0) return;
  const list = missing.map((statement) => `${statement};`).join('\n');
  throw new CausewayError('sink_misconfigured', `the sink lacks what these statements make (or set \`provision: create\`):\n${list}`);
}

/** For a table that is not there yet. A domain that cannot be made, such as one with a check by a function that is missing, is passed over. */
async function makeDomains(session: Session, table: DescribedTable, input: ProvisionInput): Promise<void> {
  const known = knownTypes(table, { ...input, makeDomains: true });
  if (known.domains.length === 0 || (await readTarget(session, input.target(table.table))) !== null) return;
  for (const column of table.columns) {
    // Planned anew for each, as one brings what the next needs.
    for (const statement of (await targetType(session, column, known)).before) await tryStatement(session, statement);
  }
}

/** One statement and no more, inside of a transaction that outlives a refusal. Errors of the connection or the server come out. */
async function tryStatement(session: Session, statement: string): Promise<void> {
  await session.script('SAVEPOINT companion');
  try {
    await session.single(statement);
  } catch (error) {
    const refused = sinkError(error);
    if (refused.code !== 'sink_misconfigured') throw error;
    await session.script('ROLLBACK TO SAVEPOINT companion');
  }
  await session.script('RELEASE SAVEPOINT companion');
}

/** The tables of sinks whose configuration names another schema for them, as far as the role may read them. */
async function registersElsewhere(session: Session, own: OwnTables): Promise<string[]> {
  const rows = await session.texts(
    `SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relname = 'sink_table' AND c.relkind = 'r' AND n.nspname <> $1
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
  AND 4 = (SELECT count(*) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname IN ('pipeline', 'sink', 'target', 'register'))`,
    [own.schema],
  );
  return rows.map(([name]) => `${quoteIdentifier(name ?? '')}.sink_table`);
}

/** One replicated table has one writer, and one kind of register: another one would begin without its sequences. */
async function claimTable(
  session: Session,
  schema: TableSchema,
  input: ProvisionInput & { readonly registers: readonly string[] },
): Promise<void> {
  const { own, pipeline, sink, register } = input;
  const target = input.target(schema.table);
  const each = input.registers.map(
    (table) => `SELECT pipeline, sink, source_table, register, ${table === own.tables} FROM ${table} WHERE target = $1`,
  );
  for (const [otherPipeline, otherSink, source, otherRegister, here] of await session.texts(each.join(' UNION ALL '), [target])) {
    const mine = here === 't' && otherPipeline === pipeline && otherSink === sink && source === schema.table;
    if (!mine) {
      throw new CausewayError(
        'sink_misconfigured',
        `the sink's table ${target} belongs to the pipeline ${otherPipeline ?? ''}, sink ${otherSink ?? ''}, table ${source ?? ''}: ` +
          'remove that sink first, or map this table to another one',
      );
    }
    if (otherRegister !== register) {
      throw new CausewayError(
        'sink_misconfigured',
        `the sink's table ${target} has its register ${otherRegister ?? ''}, and the configuration says ${register}: set it back, or load the sink again`,
      );
    }
    return;
  }
  await session.texts(`INSERT INTO ${own.tables} (pipeline, sink, source_table, target, register) VALUES ($1, $2, $3, $4, $5)`, [
    pipeline,
    sink,
    schema.table,
    target,
    register,
  ]);
}

/** `ALTER TABLE … ADD COLUMN` for added columns that are not there yet. */
export async function addColumnStatements(
  session: Session,
  input: { readonly after: DescribedTable; readonly added: readonly Column[]; readonly target: TableId; readonly register: Register },
): Promise<string[]> {
  const known = knownTypes(input.after, { register: input.register, makeDomains: false });
  const found = await readTarget(session, input.target);
  if (found === null) throw new CausewayError('sink_misconfigured', `the sink has no table ${input.target}`);
  const statements: string[] = [];
  for (const column of input.added) {
    if (found.columns.has(column.name)) continue;
    const { type, before } = await targetType(session, column, known);
    const literal = column.constantDefault === null ? null : quoteLiteral(fromCanonical(column.type)(column.constantDefault));
    const notNull = column.nullable || input.register === 'inline' ? '' : ' NOT NULL';
    statements.push(
      ...before,
      `ALTER TABLE ${quoteTable(input.target)} ADD COLUMN IF NOT EXISTS ${quoteIdentifier(column.name)} ${type}${notNull}${literal === null ? '' : ` DEFAULT ${literal}`}`,
    );
  }
  return statements;
}
