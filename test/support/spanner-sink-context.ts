import { randomBytes } from 'node:crypto';
import type { DatabaseAdminClient, InstanceAdminClient, SpannerClient } from '@google-cloud/spanner/build/src/v1/index.js';
import type { ClientOptions } from 'google-gax';
import type { ErrorCode } from '#core/errors.ts';
import { rowKeyOf } from '#core/key.ts';
import { present } from '#core/assert.ts';
import type { Runtime } from '#core/runtime.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { Sink } from '#core/sink.ts';
import { Client } from '../../connectors/sink-spanner/client.ts';
import { configSchema, type SinkConfig } from '../../connectors/sink-spanner/config.ts';
import { columnType, type Dialect, type Encoding } from '../../connectors/sink-spanner/dialect.ts';
import { encoded } from '../../connectors/sink-spanner/encode.ts';
import { ValueRefused } from '../../connectors/sink-spanner/errors.ts';
import { connector } from '../../connectors/sink-spanner/index.ts';
import { Sessions } from '../../connectors/sink-spanner/sessions.ts';
import { columnNames, rowIn, rowWires, shapeOf, type Shape } from '../../connectors/sink-spanner/shape.ts';
import { snapshot, transact, type ReadRow, type Store } from '../../connectors/sink-spanner/transaction.ts';
import type { Wire } from '../../connectors/sink-spanner/wire.ts';
import { contractColumn, text, type LimitCase, type SinkContext } from '../contract/sink.ts';
import { typeCases, type TypeCase } from './canonical-values.ts';
import { silentLogger } from './silent-logger.ts';
import type { SpannerAsked } from './spanner-effects.ts';
import { realRuntime } from './test-runtime.ts';

const project = 'causeway-test';
const instance = 'causeway';
const never = new AbortController().signal;
const callOptions = { timeout: 20_000, retry: { retryCodes: [] } };

/** The sink `s` of the pipeline `p`. */
export function spannerSink(
  config: SinkConfig,
  { runtime = realRuntime(), onRetry = () => undefined }: { readonly runtime?: Runtime; readonly onRetry?: (code: ErrorCode) => void } = {},
): Sink {
  return connector.create({
    config,
    pipeline: 'p',
    sink: 's',
    partitions: 4,
    target: (table) => table,
    onRetry,
    context: { runtime, logger: silentLogger },
  });
}

/** https://cloud.google.com/spanner/quotas, "Tables" and "Columns"; "Data types in GoogleSQL" and "PostgreSQL data types". */
function spannerLimits(dialect: Dialect): readonly LimitCase[] {
  const ofType = (sourceType: string, type: TypeCase['type'], at: readonly string[], over: readonly string[]): LimitCase => ({
    what: sourceType,
    columns: [contractColumn('k', 'text', text, false), contractColumn('v', sourceType, type)],
    key: [0],
    at: at.map((value, index) => [`at ${index}`, value]),
    over: over.map((value, index) => [`over ${index}`, value]),
  });
  const notANumber = dialect === 'POSTGRESQL' ? [] : ['NaN'];
  return [
    ofType('numeric(12,2)', { tag: 'decimal', precision: 12, scale: 2 }, ['9999999999.99', '-0.01'], ['Infinity', ...notANumber]),
    ofType('date', { tag: 'date' }, ['0001-01-01', '9999-12-31'], ['0044-03-15 BC', '10000-01-01', 'infinity']),
    ofType(
      'timestamp with time zone',
      { tag: 'timestamptz' },
      ['0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999999Z'],
      ['0044-03-15T01:02:03Z BC', '10000-01-01T00:00:00Z', '-infinity'],
    ),
    ofType('text', text, ['é'.repeat(2_621_440)], ['é'.repeat(2_621_441)]),
    {
      what: 'a key',
      columns: [contractColumn('k', 'text', text, false)],
      key: [0],
      at: [['k'.repeat(8_000)]],
      over: [['k'.repeat(8_193)]],
    },
  ];
}

/** An emulator with an instance, in which each test has a database of its own. */
export class SpannerHost implements AsyncDisposable {
  readonly endpoint: string;
  readonly #instances: InstanceAdminClient;
  readonly #databases: DatabaseAdminClient;
  readonly #sessions: SpannerClient;

  private constructor(
    endpoint: string,
    clients: { instances: InstanceAdminClient; databases: DatabaseAdminClient; sessions: SpannerClient },
  ) {
    this.endpoint = endpoint;
    this.#instances = clients.instances;
    this.#databases = clients.databases;
    this.#sessions = clients.sessions;
  }

  static async create(endpoint: string): Promise<SpannerHost> {
    const { DatabaseAdminClient, InstanceAdminClient, SpannerClient } = await import('@google-cloud/spanner/build/src/v1/index.js');
    const options = await plainOptions(endpoint);
    const instances = new InstanceAdminClient(options);
    const host = new SpannerHost(endpoint, {
      instances,
      databases: new DatabaseAdminClient(options),
      sessions: new SpannerClient(options),
    });
    const parent = `projects/${project}`;
    const asked = { config: `${parent}/instanceConfigs/emulator-config`, displayName: instance, nodeCount: 1 };
    try {
      const [operation] = await instances.createInstance({ parent, instanceId: instance, instance: asked }, callOptions);
      await operation.promise();
    } catch (error) {
      const isThere = (error as { readonly code?: unknown }).code === ALREADY_EXISTS;
      if (!isThere) throw error;
    }
    return host;
  }

  /** A new database, and a configuration for it. */
  async database(dialect: Dialect, over: Readonly<Record<string, unknown>> = {}): Promise<SinkConfig> {
    const database = `t${randomBytes(6).toString('hex')}`;
    const quote = dialect === 'POSTGRESQL' ? '"' : '`';
    const request = {
      parent: `projects/${project}/instances/${instance}`,
      createStatement: `CREATE DATABASE ${quote}${database}${quote}`,
      databaseDialect: dialect,
    };
    const [operation] = await this.#databases.createDatabase(request, callOptions);
    await operation.promise();
    return configSchema.parse({
      ...{ kind: 'spanner', project, instance, database, endpoint: this.endpoint, provision: 'create', batchRows: 100 },
      ...over,
    });
  }

  /** Runs statements, as somebody beside the sink does. */
  async ddl({ database }: SinkConfig, ...statements: readonly string[]): Promise<void> {
    const name = `projects/${project}/instances/${instance}/databases/${database}`;
    const [operation] = await this.#databases.updateDatabaseDdl({ database: name, statements: [...statements] }, callOptions);
    await operation.promise();
  }

  /** Names of the sessions that the database has. */
  async sessions({ database }: SinkConfig): Promise<readonly string[]> {
    const name = `projects/${project}/instances/${instance}/databases/${database}`;
    const [sessions] = await this.#sessions.listSessions({ database: name }, callOptions);
    return sessions.map((session) => session.name ?? '');
  }

  /** To look at what is there beside the product. */
  asked({ database }: SinkConfig): SpannerAsked {
    return { client: this.#sessions, database: `projects/${project}/instances/${instance}/databases/${database}` };
  }

  async drop({ database }: SinkConfig): Promise<void> {
    await this.#databases.dropDatabase({ database: `projects/${project}/instances/${instance}/databases/${database}` }, callOptions);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#instances.close(), this.#databases.close(), this.#sessions.close()]);
  }
}

const ALREADY_EXISTS = 6;

async function plainOptions(endpoint: string): Promise<ClientOptions> {
  const { grpc, googleAuthLibrary } = await import('google-gax');
  const { hostname, port } = new URL(endpoint);
  return {
    projectId: project,
    servicePath: hostname,
    port: Number(port),
    sslCreds: grpc.credentials.createInsecure(),
    authClient: new googleAuthLibrary.PassThroughClient(),
  };
}

/** Reads and writes beside the sink, with a client of its own. */
export function storeBeside(config: SinkConfig): Store & AsyncDisposable {
  const client = new Client({ config, runtime: realRuntime() });
  const sessions = new Sessions({ client, max: 1 });
  return {
    client,
    sessions,
    onRetry: () => undefined,
    [Symbol.asyncDispose]: async () => {
      await sessions[Symbol.asyncDispose]();
      await client[Symbol.asyncDispose]();
    },
  };
}

export async function spannerContext(
  host: SpannerHost,
  dialect: Dialect,
  over: Readonly<Record<string, unknown>> = {},
): Promise<SinkContext & { readonly config: SinkConfig }> {
  const config = await host.database(dialect, over);
  const encoding: Encoding = { dialect, json: config.json, arrays: config.arrays };
  const beside = storeBeside(config);
  const shape = (schema: TableSchema): Shape => shapeOf(schema, { config, dialect, pipeline: 'p', sink: 's', target: schema.table });
  const all = async (table: string, columns: readonly string[]): Promise<readonly ReadRow[]> =>
    await snapshot(beside, table, never, async (reader) => (await reader.read({ table, columns, keys: everything })).rows);
  const isRefused = (type: TypeCase['type'], text: string, isKey = false): boolean =>
    refuses(() => encoded(text, columnType(type, encoding, isKey), dialect));
  return {
    config,
    open: () => spannerSink(config),
    table: (name) => `public.${name}` as TableId,
    liveRows: async (schema) =>
      (await all(shape(schema).table, columnNames(shape(schema).columns))).map((row) => rowIn(shape(schema), row)),
    plant: async (schema, row) => {
      const { columns, wires } = rowWires(shape(schema), { key: present(rowKeyOf(schema, row), 'a key'), row });
      await write(beside, shape(schema).table, { columns, rows: [wires], keys: [] });
    },
    keepProgress: async () => {
      const columns = ['pipeline', 'sink', 'partition_number', 'owner', 'token', 'writes', 'progress'];
      const kept = await all('causeway_partitions', columns);
      return async () => {
        const keys = (await all('causeway_partitions', columns)).map((row) => row.slice(0, 3) as Wire[]);
        await write(beside, 'causeway_partitions', { columns, rows: kept as readonly Wire[][], keys });
      };
    },
    dropClaim: async () => {
      const keys = [[{ stringValue: 'p' }, { stringValue: 's' }]];
      await write(beside, 'causeway_claims', { columns: [], rows: [], keys });
    },
    typeCases: typeCases
      .map((entry) => ({ ...entry, edges: entry.edges.filter((edge) => !isRefused(entry.type, edge)) }))
      .filter(({ edges }) => edges.length > 0),
    poison: { sourceType: 'numeric(12,2)', type: { tag: 'decimal', precision: 12, scale: 2 }, good: '1.50', bad: '-Infinity' },
    refusesValue: isRefused,
    refusesKey: (type, text) => isRefused(type, text, true),
    limitCases: spannerLimits(dialect),
    manyRows: 3_000,
    hasTables: true,
    hasColumns: true,
    takesOver: true,
    atomic: true,
    keepsKeySpelling: false,
    // Of the emulator: its statements in PostgreSQL call NaN the greatest, and its reads have it first.
    ordersNaN: dialect !== 'POSTGRESQL',
    runs: 5,
    [Symbol.asyncDispose]: async () => {
      await beside[Symbol.asyncDispose]();
      await host.drop(config);
    },
  };
}

const everything = { tag: 'range', from: null, to: null } as const;

/** Deletes first, in one transaction. */
async function write(
  store: Store,
  table: string,
  of: { readonly columns: readonly string[]; readonly rows: readonly (readonly Wire[])[]; readonly keys: readonly (readonly Wire[])[] },
): Promise<void> {
  await transact(store, table, never, async (reader) => {
    await reader.query({ sql: 'SELECT 1' });
    return {
      result: undefined,
      mutations: [
        ...(of.keys.length > 0 ? [{ tag: 'delete' as const, table, keys: of.keys }] : []),
        ...(of.rows.length > 0 ? [{ tag: 'insert' as const, table, columns: of.columns, rows: of.rows }] : []),
      ],
    };
  });
}

function refuses(work: () => unknown): boolean {
  try {
    work();
    return false;
  } catch (error) {
    if (error instanceof ValueRefused) return true;
    throw error;
  }
}
