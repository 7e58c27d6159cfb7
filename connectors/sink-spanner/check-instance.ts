import type { Finding } from '#core/finding.ts';
import type { Client, FoundInstance } from './client.ts';
import type { SinkConfig } from './config.ts';
import type { Dialect } from './dialect.ts';
import { PERMISSION_DENIED, spannerError, statusOf } from './errors.ts';
import { quoted } from './names.ts';
import type { Reader } from './transaction.ts';
import { textOf } from './wire.ts';

/** One node ("Compute capacity, nodes, and processing units", cloud.google.com/spanner/docs/compute-capacity). */
const PROCESSING_UNITS_MIN = 1_000;
/** Where nothing is set ("Point-in-time recovery", cloud.google.com/spanner/docs/pitr); at most seven days can be. */
const RETENTION_DEFAULT = '1h';
const RETENTION_MIN_MINUTES = 24 * 60;
const MINUTES: Readonly<Record<string, number>> = { s: 1 / 60, m: 1, h: 60, d: 24 * 60 };

export type FoundStream = { readonly name: string; readonly watchesAll: boolean; readonly tables: readonly string[] };

/** Change streams of the database. */
export async function readStreams(reader: Reader, dialect: Dialect): Promise<readonly FoundStream[]> {
  const all = quoted('all', dialect);
  const streams = await reader.query({ sql: `SELECT change_stream_name, ${all} FROM information_schema.change_streams` });
  const tables = await reader.query({ sql: 'SELECT change_stream_name, table_name FROM information_schema.change_stream_tables' });
  return streams.map(([name, watchesAll]) => ({
    name: textOf(name) ?? '',
    // A flag in one dialect, a word in the other.
    watchesAll: watchesAll?.boolValue === true || textOf(watchesAll) === 'YES',
    tables: tables.filter(([stream]) => textOf(stream) === textOf(name)).map(([, table]) => textOf(table) ?? ''),
  }));
}

/** How long older versions are kept, such as `1h`; null where that may not be asked. */
export async function readRetention(client: Client, signal: AbortSignal): Promise<string | null> {
  return await client.send(`the database ${client.database}`, signal, async ({ admin }, options) => {
    try {
      const [{ versionRetentionPeriod }] = await admin.getDatabase({ name: client.database }, options);
      return versionRetentionPeriod === '' ? RETENTION_DEFAULT : (versionRetentionPeriod ?? RETENTION_DEFAULT);
    } catch (error) {
      if (statusOf(error) === PERMISSION_DENIED) return null;
      throw error;
    }
  });
}

/** `SP-001` and `SP-010`. */
export async function checkInstance(client: Client, config: SinkConfig, signal: AbortSignal): Promise<readonly Finding[]> {
  const name = `projects/${config.project}/instances/${config.instance}`;
  const what = `the instance ${config.instance}`;
  try {
    return instanceFindings(await client.instance(name, signal), config);
  } catch (error) {
    signal.throwIfAborted();
    if (statusOf(error) !== PERMISSION_DENIED) throw spannerError(error, what);
    return [
      {
        id: 'SP-010',
        level: 'skipped',
        title: `${what} is ready, and large enough`,
        details: ['the right spanner.instances.get is missing'],
        mend: [
          `gcloud spanner instances add-iam-policy-binding ${config.instance} --project=${config.project} --member=… --role=roles/spanner.viewer`,
        ],
      },
    ];
  }
}

export function instanceFindings(found: FoundInstance, { project, instance }: SinkConfig): readonly Finding[] {
  const units = found.processingUnits ?? (found.nodeCount ?? 0) * PROCESSING_UNITS_MIN;
  const isReady = found.state === 'READY' || found.state === 2;
  const isSmall = units < PROCESSING_UNITS_MIN;
  const title = `the instance ${instance} is ready, and large enough`;
  const place = found.config?.replace(/^.*\//, '') ?? '';
  const update = `gcloud spanner instances update ${instance} --project=${project} --processing-units=${PROCESSING_UNITS_MIN}`;
  const small = `it has ${units} processing units, less than a node has (${PROCESSING_UNITS_MIN}): under load its CPU is the limit, and lag grows`;
  return [
    { id: 'SP-001', level: 'ok', title: `the instance ${instance} has the configuration ${place}`, details: [], mend: [] },
    {
      id: 'SP-010',
      level: isReady ? (isSmall ? 'warning' : 'ok') : 'error',
      title,
      details: [...(isReady ? [] : ['its state is not READY']), ...(isSmall ? [small] : [])],
      mend: isReady && isSmall ? [update] : [],
    },
  ];
}

/** `SP-008`. */
export function retentionFinding(retention: string | null, of: { readonly database: string; readonly dialect: Dialect }): Finding {
  const title = 'older versions of the database are kept for a day or longer';
  if (retention === null)
    return { id: 'SP-008', level: 'skipped', title, details: ['the right spanner.databases.get is missing'], mend: [] };
  const [, amount = '', unit = ''] = /^(\d+)([smhd])$/.exec(retention) ?? [];
  const isShort = Number(amount) * (MINUTES[unit] ?? 0) < RETENTION_MIN_MINUTES;
  const database = quoted(of.database, of.dialect);
  const setting = of.dialect === 'POSTGRESQL' ? `"spanner.version_retention_period" = '7d'` : `OPTIONS (version_retention_period = '7d')`;
  return {
    id: 'SP-008',
    level: isShort ? 'warning' : 'ok',
    title,
    details: isShort ? [`they are kept for ${retention}: what was lost longer ago comes back from a backup alone`] : [],
    mend: isShort ? [`ALTER DATABASE ${database} SET ${setting};`] : [],
  };
}

/** `SP-011`, for the tables of those names. */
export function streamsFinding(streams: readonly FoundStream[], tables: readonly string[]): Finding {
  const names = new Set(tables.map((table) => table.toLowerCase()));
  const watching = streams
    .map(({ name, watchesAll, tables: watched }) => ({
      name,
      watched: watchesAll ? tables : watched.filter((table) => names.has(table.toLowerCase())),
    }))
    .filter(({ watched }) => watched.length > 0);
  return {
    id: 'SP-011',
    level: watching.length > 0 ? 'warning' : 'ok',
    title: 'no change stream watches what the sink writes',
    details: watching.map(
      ({ name, watched }) =>
        `the change stream ${name} watches ${watched.join(', ')}: each write is stored once more, and what reads it must not write back to the source`,
    ),
    mend: [],
  };
}
