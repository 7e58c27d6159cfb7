import type pg from 'pg';
import { CausewayError } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import { connect, farewell, withClient, type Connection } from '../lib/postgres/connection.ts';
import { quoteIdentifier, quoteTable } from '../lib/postgres/quote.ts';
import { readCatalogue, type Catalogue, type CatalogueTable } from './catalogue.ts';
import { checkPublication } from './check-publication.ts';
import { failover, keptLog, slotFinding, slotsFree, workMemory } from './check-server.ts';
import type { PostgresSource } from './config.ts';
import { NO_ENCODING, readEncoding, UTF8 } from './encoding.ts';
import { finding, ok } from './finding.ts';
import { sortTables, type Sorted } from './inspect.ts';
import { Births } from './partitions.ts';
import { refusedWrites } from './refusals.ts';
import type { Selection } from './selection.ts';
import { inSnapshot, readServer, sessionOptions, streamOptions, VERSION_MIN, type ServerFacts } from './session.ts';
import { readSlot } from './slot.ts';

/** Looks at everything that can be known by SQL, and changes nothing. Throws where the server cannot be asked at all. */
export async function checkSource(source: PostgresSource, selection: Selection, signal: AbortSignal): Promise<readonly Finding[]> {
  return await withClient(source.connection, sessionOptions(source, 'check'), signal, async (client) => {
    const server = await readServer(client);
    const findings: Finding[] = [serverFinding(server)];
    if (findings.some(({ level }) => level === 'error')) return findings;
    const slot = await readSlot(client, server.version, source.slot);
    findings.push(
      encryption(source.connection),
      await encodingFinding(client),
      await walLevel(client),
      await replicationRole(client),
      await replicationLogin(source, signal),
    );
    findings.push(await slotsFree(client, slot !== null));
    const { catalogue, sorted } = await readTables(client, { source, selection, version: server.version });
    findings.push(await readable(client, sorted), await checkPublication(client, { source, catalogue, sorted }), ...identities(sorted));
    findings.push(await keptLog(client, slot), await slotFinding(client, source.slot, slot, server.version));
    findings.push(await failover(client, slot, server.version), await heartbeatWritable(client), await workMemory(client));
    findings.push(oddTables(sorted));
    findings.push(freeDisk());
    return findings;
  });
}

function serverFinding(server: ServerFacts): Finding {
  const title = 'the server is PostgreSQL 14 or later, and a primary';
  const release = `PostgreSQL ${Math.floor(server.version / 10_000)}`;
  if (server.version < VERSION_MIN) {
    return finding('PG-001', title, {
      level: 'error',
      details: [`it is ${release}`],
      mend: ['upgrade the server to PostgreSQL 14 or later'],
    });
  }
  if (server.isStandby) {
    return finding('PG-001', title, { level: 'error', details: ['it is a standby'], mend: ['point `source` at the primary'] });
  }
  return ok('PG-001', title, [release]);
}

function encryption(connection: Connection): Finding {
  const title = 'the connection is encrypted and the server verified';
  const { mode } = connection.tls;
  if (mode === 'verify-full') return ok('G-004', title);
  const details = [`tls.mode is ${mode}`];
  if (mode === 'disable' && isLocal(connection)) return ok('G-004', title, [...details, 'and the server is on this machine']);
  return finding('G-004', title, {
    level: 'warning',
    details,
    mend: ['set tls.mode to verify-full, and tls.ca to the file of its authority'],
  });
}

function isLocal({ host }: Connection): boolean {
  return host.startsWith('/') || host === 'localhost' || host === '::1' || host.startsWith('127.');
}

async function encodingFinding(client: pg.ClientBase): Promise<Finding> {
  const title = 'the texts of the database can be read';
  const { name, form, withoutForm } = await readEncoding(client);
  const move = "CREATE DATABASE app_utf8 TEMPLATE template0 ENCODING 'UTF8';   -- and move the tables there with pg_dump --encoding=UTF8";
  if (form === null) {
    return finding('PG-018', title, { level: 'error', details: [`a character of ${name} takes several bytes`], mend: [move] });
  }
  if (name !== NO_ENCODING && withoutForm === 0) return ok('PG-018', title, name === UTF8.name ? [] : [`they are in ${name}`]);
  const what =
    name === NO_ENCODING
      ? `${name} allows any bytes, and what is not UTF-8`
      : `${withoutForm} bytes of ${name} have no character: a value with one`;
  return finding('PG-018', title, {
    level: 'warning',
    details: [`${what} is published without its row, and parks its key; in a key it stops the table`],
    mend: [move],
  });
}

async function walLevel(client: pg.ClientBase): Promise<Finding> {
  const title = 'wal_level is logical';
  const { rows } = await client.query<{ level: string; rds: string | null }>(
    `SELECT pg_catalog.current_setting('wal_level') AS level, pg_catalog.current_setting('rds.logical_replication', true) AS rds`,
  );
  const level = rows[0]?.level ?? '';
  if (level === 'logical') return ok('PG-002', title);
  const managed = typeof rows[0]?.rds === 'string';
  const mend = managed
    ? [
        'aws rds modify-db-parameter-group --db-parameter-group-name GROUP --parameters ' +
          'ParameterName=rds.logical_replication,ParameterValue=1,ApplyMethod=pending-reboot   # for Aurora modify-db-cluster-parameter-group; then reboot',
      ]
    : ['ALTER SYSTEM SET wal_level = logical;   -- then restart the server'];
  return finding('PG-002', title, { level: 'error', details: [`it is ${level}`], mend });
}

async function replicationRole(client: pg.ClientBase): Promise<Finding> {
  const title = 'the role may replicate';
  const { rows } = await client.query<{ name: string; may: boolean; rds: boolean }>(
    `SELECT current_user::text AS name, r.rolreplication OR r.rolsuper OR COALESCE(pg_catalog.pg_has_role(g.oid, 'MEMBER'), false) AS may,
       g.oid IS NOT NULL AS rds
     FROM pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_roles g ON g.rolname = 'rds_replication' WHERE r.rolname = current_user`,
  );
  const row = rows[0];
  if (row?.may === true) return ok('PG-003', title);
  const role = quoteIdentifier(row?.name ?? 'causeway');
  const mend = [row?.rds === true ? `GRANT rds_replication TO ${role};` : `ALTER ROLE ${role} REPLICATION;`];
  return finding('PG-003', title, { level: 'error', details: [`${role} has not the right to`], mend });
}

/** A connection of its own: pg_hba.conf and proxies may treat it otherwise. */
async function replicationLogin(source: PostgresSource, signal: AbortSignal): Promise<Finding> {
  const title = 'a replication connection comes up and answers IDENTIFY_SYSTEM';
  try {
    const options = streamOptions(source);
    const client = await connect(source.connection, { ...options, replication: true }, signal);
    try {
      const { rows } = await client.query<{ systemid: string; timeline: number }>('IDENTIFY_SYSTEM');
      return ok('PG-004', title, [`system ${rows[0]?.systemid ?? '?'}, timeline ${rows[0]?.timeline ?? '?'}`]);
    } finally {
      await farewell(client);
    }
  } catch (error) {
    signal.throwIfAborted();
    const said = error instanceof CausewayError ? error.message : 'the command failed';
    const { user } = source.connection;
    const mend = [`ALTER ROLE ${quoteIdentifier(user)} REPLICATION;`, `hostssl all ${user} ADDRESS scram-sha-256   # in pg_hba.conf`];
    return finding('PG-004', title, { level: 'error', details: [said], mend });
  }
}

async function readTables(
  client: pg.ClientBase,
  input: { readonly source: PostgresSource; readonly selection: Selection; readonly version: number },
): Promise<{ readonly catalogue: Catalogue; readonly sorted: Sorted }> {
  const { selection, version } = input;
  const catalogue = await inSnapshot(client, () =>
    readCatalogue(client, { version, publication: input.source.publication, selection, births: new Births() }),
  );
  return { catalogue, sorted: sortTables(catalogue, { selection, followed: null, stopped: new Map() }) };
}

async function readable(client: pg.ClientBase, { capturable }: Sorted): Promise<Finding> {
  const title = 'the role may read every captured table, with all its rows';
  const denied = capturable.filter(({ relation }) => !relation.readable).map(({ table }) => table);
  const { rows } = await client.query<{ name: string; oid: string; active: boolean }>(
    `SELECT current_user::text AS name, wanted.oid::text AS oid, pg_catalog.row_security_active(wanted.oid) AS active
     FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS wanted(oid)`,
    [capturable.map(({ relation }) => relation.oid)],
  );
  const restricted = new Set(rows.filter(({ active }) => active).map(({ oid }) => oid));
  const hidden = capturable.filter(({ relation }) => restricted.has(relation.oid)).map(({ table }) => table);
  if (denied.length === 0 && hidden.length === 0) return ok('PG-006', title);
  const role = quoteIdentifier(rows[0]?.name ?? 'causeway');
  const schemas = [...new Set(denied.map((table) => table.slice(0, table.indexOf('.'))))];
  return finding('PG-006', title, {
    level: 'error',
    details: [
      ...denied.map((table) => `${table}: no right to SELECT`),
      ...hidden.map((table) => `${table}: row security hides rows from the role`),
    ],
    mend: [
      ...schemas.map((schema) => `GRANT USAGE ON SCHEMA ${quoteIdentifier(schema)} TO ${role};`),
      ...denied.map((table) => `GRANT SELECT ON ${quoteTable(table)} TO ${role};`),
      ...(hidden.length > 0 ? [`ALTER ROLE ${role} BYPASSRLS;`] : []),
    ],
  });
}

const IDENTITY_CODES: ReadonlySet<string> = new Set([
  'no_primary_key',
  'deferrable_key',
  'key_type',
  'key_collation',
  'key_not_published',
  'identity_lacks_key',
  'identity_generated',
]);

function identities({ capturable, refused }: Sorted): readonly Finding[] {
  const title = 'every table has a usable primary key, and its replica identity holds it';
  const unwritable = capturable.flatMap((table) => {
    const refusal = refusedWrites(table);
    return refusal === null ? [] : [{ table: table.table, ...refusal }];
  });
  const without = [...refused.filter(({ code }) => IDENTITY_CODES.has(code)), ...unwritable];
  const key =
    without.length === 0
      ? ok('PG-008', title)
      : finding('PG-008', title, {
          level: 'error',
          details: without.map(({ table, reason }) => `${table}: ${reason}`),
          mend: without.map(({ mend }) => mend),
        });
  const partial = capturable.filter(
    (table) => table.relation.identity !== 'f' && table.published.some(({ type }) => LARGE_TYPES.has(type)),
  );
  if (partial.length === 0) return [key];
  return [
    key,
    finding('PG-008', 'updates that leave a large column alone are whole', {
      level: 'warning',
      details: [
        'an update does not repeat an unchanged value that is stored out of line; a sink without the row before cannot complete it',
        ...partial.map(({ table }) => table),
      ],
      mend: partial.map(wholeUpdates),
    }),
  ];
}

/** With a generated column that is not published, a full identity would make the server refuse the table's updates. */
function wholeUpdates({ table, refusesGeneratedIdentity }: CatalogueTable): string {
  if (!refusesGeneratedIdentity) return `ALTER TABLE ${quoteTable(table)} REPLICA IDENTITY FULL;`;
  return `-- not for ${table}: it has a generated column that is not published, and its updates would be refused`;
}

/** text, json, jsonb, bytea, xml and varchar: what is commonly stored out of line. */
const LARGE_TYPES: ReadonlySet<string> = new Set(['25', '114', '3802', '17', '142', '1043']);

async function heartbeatWritable(client: pg.ClientBase): Promise<Finding> {
  const title = 'the heartbeat table can be written';
  const { rows } = await client.query<{ name: string; there: boolean; may: boolean; could: boolean }>(
    `SELECT current_user::text AS name, t.oid IS NOT NULL AS there,
       COALESCE(pg_catalog.has_table_privilege(t.oid, 'INSERT, UPDATE') AND pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'), false) AS may,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS could
     FROM (SELECT pg_catalog.to_regclass('causeway.heartbeat')::pg_catalog.oid AS oid) AS t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.oid`,
  );
  const row = rows[0];
  if (row?.may === true) return ok('PG-012', title);
  if (row?.there === false && row.could) return ok('PG-012', title, ['it is made when capture starts']);
  const role = quoteIdentifier(row?.name ?? 'causeway');
  return finding('PG-012', title, {
    level: 'warning',
    details: ['without it a restored or replaced source is noticed by fewer signs; the slot still moves, by messages'],
    mend: [
      'CREATE SCHEMA IF NOT EXISTS causeway;',
      'CREATE TABLE IF NOT EXISTS causeway.heartbeat (slot text PRIMARY KEY, counter int8 NOT NULL, at timestamptz NOT NULL);',
      'CREATE TABLE IF NOT EXISTS causeway.lineage (id uuid PRIMARY KEY, slot text NOT NULL, at timestamptz NOT NULL);',
      `GRANT USAGE ON SCHEMA causeway TO ${role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA causeway TO ${role};`,
    ],
  });
}

function oddTables({ capturable, refused }: Sorted): Finding {
  const title = 'no table is of a kind that cannot be captured, and no column is left out';
  const others = refused.filter(({ code }) => !IDENTITY_CODES.has(code));
  const generated = capturable.flatMap((table) =>
    table.columns
      .filter((column) => column.generated !== '' && !table.published.includes(column))
      .map((column) => `${table.table}.${column.name}`),
  );
  const details = [
    ...others.map(({ table, reason }) => `${table}: ${reason}`),
    ...generated.map(
      (column) => `${column} is generated and not in the stream: the target has no such column, or generates it itself after a failover`,
    ),
  ];
  if (details.length === 0) return ok('PG-014', title);
  return finding('PG-014', title, { level: others.length > 0 ? 'error' : 'warning', details, mend: others.map(({ mend }) => mend) });
}

function freeDisk(): Finding {
  return finding('PG-017', 'the disk has room for the log of the longest outage', {
    level: 'skipped',
    details: ['SQL does not tell how much of the disk is free; PG-009 tells how much log a slot may hold'],
  });
}
