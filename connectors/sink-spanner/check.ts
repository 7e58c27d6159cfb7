import type { Finding } from '#core/finding.ts';
import type { CanonicalType } from '#core/value.ts';
import type { Catalogue } from './catalogue.ts';
import type { SinkConfig } from './config.ts';
import type { Dialect } from './dialect.ts';
import { statusOf, UNIMPLEMENTED } from './errors.ts';
import { createStatement, differencesOf, wantedOwnTables, wantedTables, type WantedTable } from './tables.ts';
import type { Shape } from './shape.ts';
import type { Client } from './client.ts';

type CheckInput = { readonly client: Client; readonly config: SinkConfig; readonly dialect: Dialect };

/** What the daemon does, by the right that it needs (https://cloud.google.com/spanner/docs/iam). */
const RIGHTS = [
  'spanner.databases.beginOrRollbackReadWriteTransaction',
  'spanner.databases.beginReadOnlyTransaction',
  'spanner.databases.read',
  'spanner.databases.select',
  'spanner.databases.write',
  'spanner.sessions.create',
  'spanner.sessions.delete',
] as const;
/** A change of the schema is asked for, and then asked about. */
const RIGHTS_OF_CREATE = ['spanner.databases.updateDdl', 'spanner.databaseOperations.get'] as const;

/** Looks, changes nothing. */
export async function checkSink(
  input: CheckInput,
  of: { readonly shapes: readonly Shape[]; readonly catalogue: Catalogue },
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const tables = [...wantedOwnTables(), ...of.shapes.flatMap(wantedTables)];
  return [
    await rights(input, signal),
    ok('SP-007', `the database has the dialect ${input.dialect}`),
    ...tables.map((wanted) => checkTable(input, wanted, of.catalogue)),
    ...of.shapes.map(monotonic),
  ];
}

async function rights({ client, config }: CheckInput, signal: AbortSignal): Promise<Finding> {
  const title = `the identity may use the database ${config.database}`;
  const wanted = config.provision === 'create' ? [...RIGHTS, ...RIGHTS_OF_CREATE] : [...RIGHTS];
  const granted = await client.send(title, signal, async ({ admin }, options) => {
    try {
      const [{ permissions }] = await admin.testIamPermissions({ resource: client.database, permissions: wanted }, options);
      return permissions ?? [];
    } catch (error) {
      if (statusOf(error) === UNIMPLEMENTED) return null;
      throw error;
    }
  });
  if (granted === null) return { id: 'SP-002', level: 'skipped', title, details: ['the emulator knows no rights'], mend: [] };
  const lacking = wanted.filter((right) => !granted.includes(right));
  const { project, instance, database } = config;
  const mend = `gcloud spanner databases add-iam-policy-binding ${database} --project=${project} --instance=${instance} --member=… --role=roles/spanner.databaseUser`;
  return {
    id: 'SP-002',
    level: lacking.length > 0 ? 'error' : 'ok',
    title,
    details: lacking.map((right) => `the right ${right} is missing`),
    mend: lacking.length > 0 ? [mend] : [],
  };
}

function checkTable({ config, dialect }: CheckInput, wanted: WantedTable, catalogue: Catalogue): Finding {
  const title = `the table ${wanted.name} is there, with its columns and key, and nothing refuses or deletes its rows`;
  const isMissing = !catalogue.has(wanted.name.toLowerCase());
  if (isMissing && config.provision === 'create') {
    return { id: 'SP-003', level: 'ok', title, details: ['it is missing, and is made at the start'], mend: [] };
  }
  const differences = differencesOf(wanted, catalogue, dialect);
  return {
    id: 'SP-003',
    level: differences.length > 0 ? 'error' : 'ok',
    title,
    details: differences,
    mend: isMissing ? [`${createStatement(wanted, dialect)};`] : [],
  };
}

/** Rows whose keys only grow are all written at the end of the table, by the one server that holds it. */
function monotonic({ table, key }: Shape): Finding {
  const title = `writes to the table ${table} spread over its keys`;
  const first = key[0]?.column;
  if (first === undefined || !grows(first.type)) return ok('SP-009', title);
  return {
    id: 'SP-009',
    level: 'warning',
    title,
    details: [`its key begins with ${first.name} (${first.sourceType}): where that only grows, all inserts meet in one place`],
    mend: [],
  };
}

function grows({ tag }: CanonicalType): boolean {
  return tag === 'int' || tag === 'decimal' || tag === 'date' || tag === 'timestamp' || tag === 'timestamptz';
}

function ok(id: string, title: string): Finding {
  return { id, level: 'ok', title, details: [], mend: [] };
}
