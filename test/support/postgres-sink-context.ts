import type { TableId, TableSchema } from '#core/schema.ts';
import type { Sink, SinkPartition } from '#core/sink.ts';
import type { CanonicalType, Row } from '#core/value.ts';

import { configSchema, type Register } from '../../connectors/sink-postgres/config.ts';
import { connector } from '../../connectors/sink-postgres/index.ts';
import { quoteIdentifier, quoteTable } from '../../connectors/lib/postgres/quote.ts';
import { startupOptions, valueSettings } from '../../connectors/lib/postgres/session-settings.ts';
import { fromCanonical, toCanonical } from '../../connectors/lib/postgres/values.ts';
import { bigint, contractColumn, text, type LimitCase, type SinkContext } from '../contract/sink.ts';
import { typeCases } from './canonical-values.ts';
import { TestDatabase } from './postgres.ts';
import { seededRandom } from './random.ts';
import { silentLogger } from './silent-logger.ts';
import { realRuntime } from './test-runtime.ts';
import pg from 'pg';

const ofType = (sourceType: string, type: CanonicalType, at: readonly string[], over: readonly string[]): LimitCase => ({
  what: sourceType,
  columns: [contractColumn('id', 'bigint', bigint, false), contractColumn('v', sourceType, type)],
  key: [0],
  at: at.map((value, index) => [String(index), value]),
  over: over.map((value, index) => [String(100 + index), value]),
});

/** A gigabyte of one value is left out. Appendix K of the manual, "PostgreSQL Limits", and chapter 8, "Data Types". */
const postgresLimits: readonly LimitCase[] = [
  ofType('smallint', { tag: 'int', bits: 16, unsigned: false }, ['32767', '-32768'], ['32768', '-32769']),
  ofType('numeric(12,2)', { tag: 'decimal', precision: 12, scale: 2 }, ['9999999999.99'], ['10000000000.00']),
  ofType('character varying(20)', text, ['é'.repeat(20)], ['é'.repeat(21)]),
  ofType('text', text, ['\u007f', '\u{10ffff}'], ['a\0b', '\0']),
  ofType('date', { tag: 'date' }, ['4713-01-01 BC', '5874897-12-31'], ['4714-11-23 BC', '5874898-01-01']),
  ofType('timestamp without time zone', { tag: 'timestamp' }, ['294276-12-31T23:59:59.999999'], ['294277-01-01T00:00:00']),
  // An entry of a B-tree has at most 2704 bytes, compressed.
  {
    what: 'a key of an index',
    columns: [contractColumn('k', 'text', text, false)],
    key: [0],
    at: [[unlike(2_600)]],
    over: [[unlike(2_900)]],
  },
];

/** A text that cannot be compressed. */
function unlike(length: number): string {
  const random = seededRandom(length);
  return Array.from({ length }, () => String.fromCharCode(0x21 + Math.floor(random() * 90))).join('');
}

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
      limitCases: postgresLimits,
      manyRows: 8_000,
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
