import type { TableId, TableSchema } from '#core/schema.ts';
import type { Sink, SinkPartition } from '#core/sink.ts';
import type { Row } from '#core/value.ts';

import { configSchema, type Register } from '../../connectors/sink-postgres/config.ts';
import { connector } from '../../connectors/sink-postgres/index.ts';
import { quoteIdentifier, quoteTable } from '../../connectors/lib/postgres/quote.ts';
import { startupOptions, valueSettings } from '../../connectors/lib/postgres/session-settings.ts';
import { fromCanonical, toCanonical } from '../../connectors/lib/postgres/values.ts';
import type { SinkContext } from '../contract/sink.ts';
import { typeCases } from './canonical-values.ts';
import { TestDatabase } from './postgres.ts';
import { silentLogger } from './silent-logger.ts';
import { realRuntime } from './test-runtime.ts';
import pg from 'pg';

/** A sink of the pipeline `p`, named `s`. */
export function postgresSink(url: string, config: Readonly<Record<string, unknown>> = {}): Sink {
  return connector.create({
    config: configSchema.parse({ kind: 'postgres', url, provision: 'create', batchRows: 400, ...config }),
    pipeline: 'p',
    sink: 's',
    partitions: 4,
    target: (table) => table,
    onRetry: () => undefined,
    context: { runtime: realRuntime(), logger: silentLogger },
  });
}

/** Takes a partition as the only deployment does. */
export async function takePartition(sink: Sink, partition: number, signal: AbortSignal): Promise<SinkPartition> {
  await sink.claim({ owner: 'o', known: false }, signal);
  return await sink.assign(partition, signal);
}

/** A session that reads values as a source or a sink does, without being either. */
export async function valueSession(url: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    options: startupOptions(valueSettings),
    types: { getTypeParser: () => (value: string | Buffer) => value },
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** One database for a file; each test gets schemas of its own in it. */
export class PostgresSinkHost implements AsyncDisposable {
  readonly database: TestDatabase;
  readonly #client: pg.Client;
  #contexts = 0;

  private constructor(database: TestDatabase, client: pg.Client) {
    this.database = database;
    this.#client = client;
  }

  static async create(major: Parameters<typeof TestDatabase.create>[0]): Promise<PostgresSinkHost> {
    const database = await TestDatabase.create(major);
    return new PostgresSinkHost(database, await valueSession(database.url));
  }

  async context(register: Register): Promise<SinkContext> {
    this.#contexts += 1;
    const prefix = `${register}${this.#contexts}`;
    const own = `cw ${prefix}`;
    const client = this.#client;
    await client.query(`CREATE SCHEMA ${quoteIdentifier(prefix)}`);
    return {
      open: () => postgresSink(this.database.url, { register, schema: own }),
      table: (name) => `${prefix}.${name}` as TableId,
      liveRows: async (schema) => {
        const columns = schema.columns.map((column) => quoteIdentifier(column.name)).join(', ');
        const live = register === 'inline' ? 'WHERE NOT cw_deleted' : '';
        const { rows } = await client.query<(string | null)[]>({
          text: `SELECT ${columns} FROM ${quoteTable(schema.table)} ${live}`,
          rowMode: 'array',
        });
        const decode = schema.columns.map((column) => toCanonical(column.type));
        return rows.map((row) => row.map((text, index) => (text === null ? null : (decode[index]?.(text) ?? null))));
      },
      plant: async (schema, row) => plant(client, schema, row),
      keepProgress: async () => {
        const table = `${quoteIdentifier(own)}.sink_progress`;
        const { rows } = await client.query<(string | null)[]>({ text: `SELECT p::text FROM ${table} p`, rowMode: 'array' });
        return async () => {
          await client.query('BEGIN');
          await client.query(`DELETE FROM ${table}`);
          for (const [row] of rows) await client.query(`INSERT INTO ${table} SELECT ($1::${table}).*`, [row]);
          await client.query('COMMIT');
        };
      },
      dropClaim: async () => {
        await client.query(`DELETE FROM ${quoteIdentifier(own)}.sink_owner`);
      },
      typeCases,
      poison: { sourceType: 'integer', type: { tag: 'int', bits: 32, unsigned: false }, good: '17', bad: '77777777777' },
      hasTables: true,
      hasColumns: true,
      takesOver: true,
      atomic: true,
      runs: 25,
      [Symbol.asyncDispose]: async () => {
        await client.query(`DROP SCHEMA ${quoteIdentifier(prefix)} CASCADE`);
        await client.query(`DROP SCHEMA IF EXISTS ${quoteIdentifier(own)} CASCADE`);
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end();
    await this.database.close();
  }
}

async function plant(client: pg.Client, schema: TableSchema, row: Row): Promise<void> {
  const columns = schema.columns.map((column) => quoteIdentifier(column.name)).join(', ');
  const places = schema.columns.map((_, index) => `$${index + 1}`).join(', ');
  const values = schema.columns.map((column, index) => {
    const value = row[index] ?? null;
    return value === null ? null : fromCanonical(column.type)(value);
  });
  await client.query(`INSERT INTO ${quoteTable(schema.table)} (${columns}) VALUES (${places})`, values);
}
