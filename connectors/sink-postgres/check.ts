import { CausewayError, codeOf } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { DescribedTable, TableId } from '#core/schema.ts';

import { readTarget } from './catalogue.ts';
import { checkCompanions } from './check-companions.ts';
import { missingPrivileges } from './check-privileges.ts';
import { findDifferences, type Difference } from './differences.ts';
import { OWN_TABLE_NAMES, versionTableName } from './names.ts';
import { missingStatements, type ProvisionInput } from './provision.ts';
import type { Session } from './session.ts';

export type CheckInput = ProvisionInput & { readonly connections: number; readonly mode: 'create' | 'check' };

const VERSION_MIN = 140_000;

/** A replicated table that is there. */
type Checked = { readonly schema: DescribedTable; readonly target: TableId; readonly oid: string };

type Trouble = { readonly text: string; readonly mend?: string | readonly string[] | null };

/** Looks at server, role and replicated tables; changes nothing. Each finding's mend is SQL for the sink. */
export async function checkSink(session: Session, schemas: readonly DescribedTable[], input: CheckInput): Promise<Finding[]> {
  const tables: Checked[] = [];
  const differences: Difference[] = [];
  for (const schema of schemas) {
    const target = input.target(schema.table);
    const table = await readTarget(session, target);
    if (table === null) continue;
    tables.push({ schema, target, oid: table.oid });
    differences.push(...(await findDifferences(session, { schema, target, register: input.register, own: input.own })));
  }
  const about = (...kinds: readonly Difference['about'][]): Trouble[] => differences.filter((one) => kinds.includes(one.about));
  const missing = await planned(session, schemas, input);
  // With `provision: check` somebody else makes them, under rights of their own.
  const made = input.mode === 'create' && !(missing instanceof CausewayError) ? missing : [];
  return [
    await checkVersion(session),
    await checkWritable(session),
    finding(
      'TP-003',
      'the role may write the tables',
      'error',
      await missingPrivileges(session, { tables, made, ...ownOf(tables, input) }),
    ),
    checkProvisioned(missing, input),
    finding('TP-005', "columns and types hold the source's values", 'error', about('table', 'column')),
    finding('TP-006', "the primary key is the source's, and the register fits", 'error', about('key', 'register')),
    finding('TP-007', 'no unique or exclusion constraint but the key', 'error', await otherUnique(session, tables)),
    finding('TP-008', 'no foreign key', 'error', await foreignKeys(session, tables)),
    finding('TP-009', 'no trigger, rule or policy that interferes', 'error', await interference(session, tables)),
    finding('TP-010', 'no column that the server fills by itself', 'error', about('generated')),
    await checkDurability(session),
    await checkTimeouts(session),
    await checkConnections(session, input.connections),
    ...(await checkCompanions(session, schemas, input)),
  ];
}

function ownOf(tables: readonly Checked[], { own, register }: CheckInput): { readonly own: string; readonly ownTables: readonly string[] } {
  const versions = register === 'sidecar' ? tables.map(({ target }) => versionTableName(target)) : [];
  return { own: own.schema, ownTables: [...OWN_TABLE_NAMES, ...versions] };
}

function finding(id: string, title: string, level: 'error' | 'warning', troubles: readonly Trouble[]): Finding {
  const mend = troubles
    .flatMap((trouble) => trouble.mend ?? [])
    .map((statement) => (/[;.]$/.test(statement) ? statement : `${statement};`));
  return { id, level: troubles.length === 0 ? 'ok' : level, title, details: troubles.map(({ text }) => text), mend: [...new Set(mend)] };
}

async function checkVersion(session: Session): Promise<Finding> {
  const [row] = await session.texts(
    "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_version')",
  );
  const troubles = Number(row?.[0]) < VERSION_MIN ? [{ text: `the server is PostgreSQL ${row?.[1] ?? ''}` }] : [];
  return finding('TP-001', 'the server is PostgreSQL 14 or later', 'error', troubles);
}

async function checkWritable(session: Session): Promise<Finding> {
  const [row] = await session.texts('SELECT pg_catalog.pg_is_in_recovery()::text');
  const troubles = row?.[0] === 'true' ? [{ text: 'the server is a standby; point `url` at the primary' }] : [];
  return finding('TP-002', 'the server takes writes', 'error', troubles);
}

/** What `provision: create` would run; the error where a table cannot be made at all. */
async function planned(
  session: Session,
  schemas: readonly DescribedTable[],
  input: CheckInput,
): Promise<readonly string[] | CausewayError> {
  try {
    return await missingStatements(session, schemas, { ...input, makeDomains: true });
  } catch (error) {
    if (codeOf(error) !== 'sink_misconfigured') throw error;
    return error as CausewayError;
  }
}

function checkProvisioned(missing: readonly string[] | CausewayError, input: CheckInput): Finding {
  const title = 'the tables and the register are there';
  if (missing instanceof CausewayError) return finding('TP-004', title, 'error', [{ text: missing.message }]);
  if (missing.length === 0 || input.mode === 'check') {
    return finding(
      'TP-004',
      title,
      'error',
      missing.map((statement) => ({ text: summary(statement), mend: statement })),
    );
  }
  const details = missing.map((statement) => `\`provision: create\` will run: ${summary(statement)}`);
  return { id: 'TP-004', level: 'ok', title, details, mend: [] };
}

/** The statement up to its list of columns. */
function summary(statement: string): string {
  return (/^[^(]*/.exec(statement)?.[0] ?? statement).trim();
}

const oids = (tables: readonly Checked[]): string => `{${tables.map(({ oid }) => oid).join(',')}}`;

/** A constraint or index with the statements that drop it now and make it again after the drain of a failover. */
function forPromotion(what: string, drop: string, make: string): Trouble {
  return { text: `${what}; after the drain of a failover: ${make};`, mend: drop };
}

async function otherUnique(session: Session, tables: readonly Checked[]): Promise<Trouble[]> {
  const rows = await session.texts(
    `SELECT i.indrelid::pg_catalog.regclass::text, i.indexrelid::pg_catalog.regclass::text, p.conname::text,
  pg_catalog.pg_get_constraintdef(p.oid), pg_catalog.pg_get_indexdef(i.indexrelid), pg_catalog.quote_ident(p.conname)
FROM pg_catalog.pg_index i LEFT JOIN pg_catalog.pg_constraint p ON p.conindid = i.indexrelid AND p.conrelid = i.indrelid AND p.contype IN ('u', 'x')
WHERE i.indrelid = ANY ($1::pg_catalog.oid[]) AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary ORDER BY 1, 2`,
    [oids(tables)],
  );
  return rows.map(([table, index, constraint, definition, indexDefinition, quoted]) =>
    constraint === null || constraint === undefined
      ? forPromotion(`unique index ${index ?? ''} on ${table ?? ''}`, `DROP INDEX ${index ?? ''}`, indexDefinition ?? '')
      : forPromotion(
          `constraint ${constraint} on ${table ?? ''}`,
          `ALTER TABLE ${table ?? ''} DROP CONSTRAINT ${quoted ?? ''}`,
          `ALTER TABLE ${table ?? ''} ADD CONSTRAINT ${quoted ?? ''} ${definition ?? ''}`,
        ),
  );
}

async function foreignKeys(session: Session, tables: readonly Checked[]): Promise<Trouble[]> {
  const rows = await session.texts(
    `SELECT p.conrelid::pg_catalog.regclass::text, pg_catalog.quote_ident(p.conname), pg_catalog.pg_get_constraintdef(p.oid)
FROM pg_catalog.pg_constraint p
WHERE p.contype = 'f' AND p.conparentid = 0 AND (p.conrelid = ANY ($1::pg_catalog.oid[]) OR p.confrelid = ANY ($1::pg_catalog.oid[])) ORDER BY 1, 2`,
    [oids(tables)],
  );
  return rows.map(([table, name, definition]) =>
    forPromotion(
      `foreign key ${name ?? ''} on ${table ?? ''}`,
      `ALTER TABLE ${table ?? ''} DROP CONSTRAINT ${name ?? ''}`,
      `ALTER TABLE ${table ?? ''} ADD CONSTRAINT ${name ?? ''} ${definition ?? ''}`,
    ),
  );
}

/** Triggers fire by session_replication_role: as `replica` only those ENABLE REPLICA or ALWAYS, as `origin` all but the former. */
async function interference(session: Session, tables: readonly Checked[]): Promise<Trouble[]> {
  const firing = session.triggersOff ? "('A', 'R')" : "('A', 'O')";
  const triggers = await session.texts(
    `SELECT tgrelid::pg_catalog.regclass::text, pg_catalog.quote_ident(tgname) FROM pg_catalog.pg_trigger
WHERE NOT tgisinternal AND tgrelid = ANY ($1::pg_catalog.oid[]) AND tgenabled IN ${firing} ORDER BY 1, 2`,
    [oids(tables)],
  );
  const rules = await session.texts(
    `SELECT ev_class::pg_catalog.regclass::text, pg_catalog.quote_ident(rulename) FROM pg_catalog.pg_rewrite
WHERE ev_class = ANY ($1::pg_catalog.oid[]) AND ev_type <> '1' AND ev_enabled IN ${firing} ORDER BY 1, 2`,
    [oids(tables)],
  );
  const policies = await session.texts(
    `SELECT oid::pg_catalog.regclass::text FROM pg_catalog.pg_class
WHERE oid = ANY ($1::pg_catalog.oid[]) AND pg_catalog.row_security_active(oid) ORDER BY 1`,
    [oids(tables)],
  );
  const [who] = await session.texts('SELECT pg_catalog.quote_ident(current_user)');
  // Or, on 15 and later, what lets the session switch them off.
  const allow = session.triggersOff ? [] : [`GRANT SET ON PARAMETER session_replication_role TO ${who?.[0] ?? ''}`];
  return [
    ...triggers.map(([table, name]) => ({
      text: `trigger ${name ?? ''} on ${table ?? ''} fires for every row that apply writes; after the drain of a failover: ALTER TABLE ${table ?? ''} ENABLE TRIGGER ${name ?? ''};`,
      mend: [`ALTER TABLE ${table ?? ''} DISABLE TRIGGER ${name ?? ''}`, ...allow],
    })),
    ...rules.map(([table, name]) => ({
      text: `rule ${name ?? ''} on ${table ?? ''} rewrites what apply writes`,
      mend: `ALTER TABLE ${table ?? ''} DISABLE RULE ${name ?? ''}`,
    })),
    ...policies.map(([table]) => ({
      text: `row-level security of ${table ?? ''} holds for the role`,
      mend: `ALTER TABLE ${table ?? ''} DISABLE ROW LEVEL SECURITY`,
    })),
  ];
}

async function checkDurability(session: Session): Promise<Finding> {
  const [row] = await session.texts(
    "SELECT pg_catalog.current_setting('synchronous_commit'), pg_catalog.current_setting('fsync'), pg_catalog.current_setting('full_page_writes')",
  );
  const [commit, fsync, pages] = row ?? [];
  const troubles: Trouble[] = [];
  if (commit !== 'on') troubles.push({ text: `synchronous_commit is ${commit ?? ''} although the session asks for on` });
  if (fsync !== 'on')
    troubles.push({ text: 'fsync is off: a crash of the machine can damage the database', mend: 'ALTER SYSTEM SET fsync = on' });
  if (pages !== 'on') troubles.push({ text: 'full_page_writes is off', mend: 'ALTER SYSTEM SET full_page_writes = on' });
  return finding('TP-011', 'a commit that was answered is durable', 'warning', troubles);
}

async function checkTimeouts(session: Session): Promise<Finding> {
  const names = ['statement_timeout', 'lock_timeout'];
  const [row] = await session.texts(`SELECT ${names.map((name) => `pg_catalog.current_setting('${name}')`).join(', ')}`);
  const troubles = names.flatMap((name, index) =>
    row?.[index] === '0' ? [] : [{ text: `${name} is ${row?.[index] ?? ''} although the session asks for 0` }],
  );
  return finding('TP-012', 'no time-out ends a long statement of a sweep', 'warning', troubles);
}

async function checkConnections(session: Session, wanted: number): Promise<Finding> {
  const [row] = await session.texts(
    `SELECT (pg_catalog.current_setting('max_connections')::int - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'))::text,
  (SELECT rolconnlimit::text FROM pg_catalog.pg_roles WHERE rolname = current_user)`,
  );
  const free = Number(row?.[0]);
  const limit = Number(row?.[1]);
  const troubles: Trouble[] = [];
  if (free < wanted)
    troubles.push({ text: `${free} of the server's connections are free, and the sink uses up to ${wanted}: lower \`connections\`` });
  if (limit >= 0 && limit < wanted) {
    troubles.push({
      text: `the role may hold ${limit} connections, and the sink uses up to ${wanted}`,
      mend: `ALTER ROLE CURRENT_USER CONNECTION LIMIT ${wanted}`,
    });
  }
  return finding('TP-013', 'enough connections', 'warning', troubles);
}
