// What the quick starts need besides the daemon: systems to run it over, and a look at what it did.
//   npm run quickstart -- start [NAME …]    of postgres, kafka, dynamodb and spanner, until Ctrl-C; the first three without a name. Their
//                                           addresses are in data/quickstart.env then
//   npm run quickstart -- sql "STATEMENT"   at SOURCE_URL; rows as JSON
//   npm run quickstart -- items TABLE       the items of a table at DYNAMODB_ENDPOINT, as JSON
//   npm run quickstart -- database          makes the instance and the database of config/spanner.yaml at SPANNER_ENDPOINT
//   npm run quickstart -- rows "QUERY"      of that database, as JSON
import { mkdirSync, writeFileSync } from 'node:fs';
import { DynamoDBClient, paginateScan, type AttributeValue } from '@aws-sdk/client-dynamodb';
import { Spanner } from '@google-cloud/spanner';
import pg from 'pg';
import { DynamoDbLocal } from '../test/support/dynamodb-local.ts';
import { KafkaCluster } from '../test/support/kafka-cluster.ts';
import { PostgresServer } from '../test/support/postgres-server.ts';
import { SpannerEmulator } from '../test/support/spanner-emulator.ts';

const addressFile = 'data/quickstart.env';
const region = 'eu-west-1';
/** As config/spanner.yaml names them. */
const spannerNames = { project: 'causeway-local', instance: 'causeway', database: 'shop' };

type Addresses = Readonly<Record<string, string>>;

const systems: Readonly<Record<string, () => Promise<Addresses>>> = { postgres, kafka, dynamodb, spanner };
const commands: Readonly<Record<string, (...words: readonly string[]) => Promise<void>>> = { start, sql, items, database, rows };

const [name = '', ...words] = process.argv.slice(2);
const command = commands[name];
if (command === undefined) throw new Error(`say one of ${Object.keys(commands).join(', ')}`);
await command(...words);

async function start(...named: readonly string[]): Promise<void> {
  // The servers end with this process, by their own handlers of its exit.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));
  const wanted = named.length > 0 ? named : ['postgres', 'kafka', 'dynamodb'];
  const started = await Promise.all(wanted.map((system) => given(systems[system], `a system with the name ${system}`)()));
  const lines = started.flatMap((addresses) => Object.entries(addresses)).map(([variable, value]) => `export ${variable}='${value}'\n`);
  mkdirSync('data', { recursive: true });
  writeFileSync(addressFile, lines.join(''));
  console.log(`everything runs until Ctrl-C, and keeps nothing then; in another terminal: . ${addressFile}`);
}

/** As it is used: with every commit on disk before it counts. */
async function postgres(): Promise<Addresses> {
  const server = await PostgresServer.create({ major: 18, settings: { fsync: 'on', full_page_writes: 'on' } });
  await server.createDatabase('shop');
  return { SOURCE_URL: server.url('shop') };
}

async function kafka(): Promise<Addresses> {
  return { KAFKA_BROKER: (await KafkaCluster.create()).addresses.join(',') };
}

async function dynamodb(): Promise<Addresses> {
  const { endpoint } = await DynamoDbLocal.create();
  // Any key will do: the tables of each are kept apart.
  return { DYNAMODB_ENDPOINT: endpoint, AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' };
}

async function spanner(): Promise<Addresses> {
  return { SPANNER_ENDPOINT: (await SpannerEmulator.create()).endpoint };
}

async function sql(statement?: string): Promise<void> {
  const client = new pg.Client({ connectionString: fromEnvironment('SOURCE_URL') });
  await client.connect();
  try {
    // Several statements in one text are several results.
    const results = [await client.query<Record<string, unknown>>(given(statement, 'a statement'))].flat();
    for (const result of results) for (const row of result.rows) console.log(JSON.stringify(row));
  } finally {
    await client.end();
  }
}

async function items(table?: string): Promise<void> {
  const client = new DynamoDBClient({ region, endpoint: fromEnvironment('DYNAMODB_ENDPOINT') });
  for await (const { Items = [] } of paginateScan({ client }, { TableName: given(table, 'a table'), ConsistentRead: true })) {
    for (const item of Items) console.log(JSON.stringify(item, (_key, value: unknown) => shown(value)));
  }
  client.destroy();
}

/** Binary attributes, of which the sequence is one, in hexadecimal. */
function shown(value: unknown): unknown {
  const { B: bytes } = (value ?? {}) as Partial<AttributeValue.BMember>;
  return bytes instanceof Uint8Array ? { B: Buffer.from(bytes).toString('hex') } : value;
}

async function database(): Promise<void> {
  const client = emulated();
  const [, instanceMade] = await client.createInstance(spannerNames.instance, { config: 'emulator-config', nodes: 1 });
  await instanceMade.promise();
  // By the client of its own for this: a database that is opened makes sessions, which a client that closes fails.
  const admin = client.getDatabaseAdminClient();
  const parent = admin.instancePath(spannerNames.project, spannerNames.instance);
  const [databaseMade] = await admin.createDatabase({ parent, createStatement: `CREATE DATABASE ${spannerNames.database}` });
  await databaseMade.promise();
  await client.close();
}

async function rows(query?: string): Promise<void> {
  const client = emulated();
  const opened = client.instance(spannerNames.instance).database(spannerNames.database);
  // Integers and decimals as texts: a number of JavaScript would round them.
  const [found] = await opened.run({ sql: given(query, 'a query'), json: true, jsonOptions: { wrapNumbers: true } });
  for (const row of found) console.log(JSON.stringify(row, (_key, value: unknown) => unwrapped(value)));
  await opened.close();
  await client.close();
}

function unwrapped(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'value' in value ? value.value : value;
}

/** Never the service. What the client does there and an emulator may not know is switched off. */
function emulated(): Spanner {
  Object.assign(process.env, {
    SPANNER_EMULATOR_HOST: new URL(fromEnvironment('SPANNER_ENDPOINT')).host,
    GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS: 'false',
    GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW: 'false',
    GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_PARTITIONED_OPS: 'false',
    METADATA_SERVER_DETECTION: 'none',
    SPANNER_DISABLE_BUILTIN_METRICS: 'true',
  });
  return new Spanner({ projectId: spannerNames.project });
}

function fromEnvironment(variable: string): string {
  return given(process.env[variable], `${variable} (. ${addressFile})`);
}

function given<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`${what} is missing`);
  return value;
}
