// What the quick starts need besides the daemon: systems to run it over, and a look at what it did.
//   npm run quickstart -- start             PostgreSQL, Kafka and DynamoDB Local, until Ctrl-C; their addresses in data/quickstart.env
//   npm run quickstart -- sql "STATEMENT"   at SOURCE_URL; rows as JSON
//   npm run quickstart -- items TABLE       the items of a table at DYNAMODB_ENDPOINT, as JSON
import { mkdirSync, writeFileSync } from 'node:fs';
import { DynamoDBClient, paginateScan, type AttributeValue } from '@aws-sdk/client-dynamodb';
import pg from 'pg';
import { DynamoDbLocal } from '../test/support/dynamodb-local.ts';
import { KafkaCluster } from '../test/support/kafka-cluster.ts';
import { PostgresServer } from '../test/support/postgres-server.ts';

const addressFile = 'data/quickstart.env';
const region = 'eu-west-1';

const commands: Readonly<Record<string, (word: string | undefined) => Promise<void>>> = { start, sql, items };

const [name = '', word] = process.argv.slice(2);
const command = commands[name];
if (command === undefined) throw new Error(`say one of ${Object.keys(commands).join(', ')}`);
await command(word);

/** Servers as they are used: with every commit on disk before it counts. */
async function start(): Promise<void> {
  // The servers end with this process, by their own handlers of its exit.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));
  const [postgres, kafka, dynamodb] = await Promise.all([
    PostgresServer.create({ major: 18, settings: { fsync: 'on', full_page_writes: 'on' } }),
    KafkaCluster.create(),
    DynamoDbLocal.create(),
  ]);
  await postgres.createDatabase('shop');
  const addresses = {
    SOURCE_URL: postgres.url('shop'),
    KAFKA_BROKER: kafka.addresses.join(','),
    DYNAMODB_ENDPOINT: dynamodb.endpoint,
    // Any will do: the tables of each are kept apart.
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
  };
  mkdirSync('data', { recursive: true });
  writeFileSync(
    addressFile,
    Object.entries(addresses)
      .map(([variable, value]) => `export ${variable}='${value}'\n`)
      .join(''),
  );
  console.log(`everything runs until Ctrl-C, and keeps nothing then; in another terminal: . ${addressFile}`);
}

async function sql(statement: string | undefined): Promise<void> {
  const client = new pg.Client({ connectionString: fromEnvironment('SOURCE_URL') });
  await client.connect();
  try {
    // Several statements in one text are several results.
    const results = [await client.query<Record<string, unknown>>(given(statement, 'a statement'))].flat();
    for (const { rows } of results) for (const row of rows) console.log(JSON.stringify(row));
  } finally {
    await client.end();
  }
}

async function items(table: string | undefined): Promise<void> {
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

function fromEnvironment(variable: string): string {
  return given(process.env[variable], `${variable} (. ${addressFile})`);
}

function given(value: string | undefined, what: string): string {
  if (value === undefined) throw new Error(`${what} is missing`);
  return value;
}
