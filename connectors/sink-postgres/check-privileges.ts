import { tableIdParts, type TableId } from '#core/schema.ts';
import { quoteIdentifier, quoteTable } from '../lib/postgres/quote.ts';
import { encodeTexts } from './encode.ts';
import type { Session } from './session.ts';

/** What apply does in a table; TRUNCATE and ownership are not among it. */
const TABLE_PRIVILEGES = ['SELECT', 'INSERT', 'UPDATE', 'DELETE'] as const;

type MissingPrivilege = { readonly text: string; readonly mend: string };

type Wanted = {
  /** The replicated tables that are there. */
  readonly tables: readonly { readonly target: TableId; readonly oid: string }[];
  /** The statements that the role itself will run, as `missingStatements` writes them. */
  readonly made: readonly string[];
  /** The schema of the tables that the sink keeps for itself. */
  readonly own: string;
  /** Names of those tables, whether they are there or not. */
  readonly ownTables: readonly string[];
};

export async function missingPrivileges(session: Session, wanted: Wanted): Promise<MissingPrivilege[]> {
  const [who] = await session.texts(
    "SELECT pg_catalog.quote_ident(current_user), pg_catalog.has_database_privilege(current_database(), 'CREATE')::text",
  );
  const role = who?.[0] ?? '';
  return [
    ...(await inTables(session, wanted, role)),
    ...(await inOwnTables(session, wanted, role)),
    ...(who?.[1] === 'true' ? [] : schemasToMake(wanted, role)),
    ...(await inSchemas(session, wanted, role)),
  ];
}

async function inTables(session: Session, { tables }: Wanted, role: string): Promise<MissingPrivilege[]> {
  const troubles: MissingPrivilege[] = [];
  for (const { target, oid } of tables) {
    const [row] = await session.texts(
      `SELECT ${TABLE_PRIVILEGES.map((privilege) => `pg_catalog.has_table_privilege($1::pg_catalog.oid, '${privilege}')::text`).join(', ')}`,
      [oid],
    );
    const missing = TABLE_PRIVILEGES.filter((_, index) => row?.[index] !== 'true').join(', ');
    if (missing === '') continue;
    troubles.push({
      text: `the role ${role} may not ${missing} in ${target}`,
      mend: `GRANT ${missing} ON ${quoteTable(target)} TO ${role}`,
    });
  }
  return troubles;
}

/** Somebody else can have made them, by the statements that `provision: check` prints. */
async function inOwnTables(session: Session, { own, ownTables }: Wanted, role: string): Promise<MissingPrivilege[]> {
  const each = TABLE_PRIVILEGES.map((privilege) => `pg_catalog.has_table_privilege(c.oid, '${privilege}')`).join(' AND ');
  const found = await session.texts(
    `SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = ANY ($2::pg_catalog.text[]) AND NOT (${each}) ORDER BY 1`,
    [own, encodeTexts(ownTables)],
  );
  return found.map(([name]) => ({
    text: `the role ${role} may not read and write the table ${name ?? ''} of the schema ${own}`,
    mend: `GRANT ${TABLE_PRIVILEGES.join(', ')} ON ${quoteIdentifier(own)}.${name ?? ''} TO ${role}`,
  }));
}

function schemasToMake({ made }: Wanted, role: string): MissingPrivilege[] {
  const names = made.flatMap((statement) => /^CREATE SCHEMA (.+)$/.exec(statement)?.[1] ?? []);
  return names.map((name) => ({
    text: `the role ${role} may not make the schema ${name}`,
    mend: `CREATE SCHEMA ${name} AUTHORIZATION ${role}`,
  }));
}

/** The values of a column are cast to its type by name. */
const TYPE_SCHEMAS = `SELECT DISTINCT n.nspname::text FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname <> 'pg_catalog' ORDER BY 1`;

/** Since PostgreSQL 15 not even `public` lets every role make tables. A type may stand in a schema without a table. */
async function inSchemas(session: Session, { tables, made, own }: Wanted, role: string): Promise<MissingPrivilege[]> {
  const making = new Set(made.flatMap((statement) => schemaOfMade(statement) ?? []));
  const troubles: MissingPrivilege[] = [];
  const ofTypes = await session.texts(TYPE_SCHEMAS, [`{${tables.map(({ oid }) => oid).join(',')}}`]);
  const used = [own, ...tables.map(({ target }) => tableIdParts(target).schema), ...ofTypes.map(([name]) => name ?? '')];
  for (const schema of new Set([...used, ...making])) {
    // One that is not there yet has no row, and will belong to the role that makes it.
    const [row] = await session.texts(
      `SELECT pg_catalog.has_schema_privilege(oid, 'USAGE')::text, pg_catalog.has_schema_privilege(oid, 'CREATE')::text
       FROM pg_catalog.pg_namespace WHERE nspname = $1`,
      [schema],
    );
    const mayNot = { USAGE: row?.[0] === 'false', CREATE: row?.[1] === 'false' && making.has(schema) };
    const rights = (['USAGE', 'CREATE'] as const).filter((right) => mayNot[right]);
    if (rights.length === 0) continue;
    const text = rights.map((right) => (right === 'USAGE' ? 'use' : 'make what is missing in')).join(' or ');
    troubles.push({
      text: `the role ${role} may not ${text} the schema ${schema}`,
      mend: `GRANT ${rights.join(', ')} ON SCHEMA ${quoteIdentifier(schema)} TO ${role}`,
    });
  }
  return troubles;
}

function schemaOfMade(statement: string): string | null {
  const name = /^CREATE (?:TABLE|TYPE|DOMAIN) (?:"((?:[^"]|"")+)"|([^".\s]+))\./.exec(statement);
  return name?.[1]?.replaceAll('""', '"') ?? name?.[2] ?? null;
}
