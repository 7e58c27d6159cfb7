// What a comparison asks of DynamoDB: units for reading, as its local store tells them.
import { readFileSync, writeFileSync } from 'node:fs';
import { UpdateItemCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { ReconcileRow } from '#core/reconcile-row.ts';
import { DynamoDbLocal } from '../../test/support/dynamodb-local.ts';
import { DynamoDbMeter } from '../../test/support/dynamodb-meter.ts';
import { Arena, until } from '../arena.ts';
import { Program } from '../daemon.ts';

const PIPELINE = 'units';
const region = 'eu-west-1';
const env = { AWS_ACCESS_KEY_ID: 'bench', AWS_SECRET_ACCESS_KEY: 'local' };
/** A conditional write that is refused; a comparison makes none to the tables. */
const REFUSED_UNITS = 1;
/** One of so many rows has another value of the same size there. Of a key that it lacks the local store tells no units. */
const CHANGED_EVERY = 10;
/** About so many bytes of text in a row. */
const tables = { 'bench.small': 200, 'bench.large': 1_000 } as const;

export type UnitsResult = {
  readonly name: string;
  readonly what: string;
  readonly units: readonly {
    readonly table: string;
    readonly rows: number;
    readonly differences: number;
    readonly calls: number;
    readonly readUnits: number;
    readonly readUnitsPerRow: number;
  }[];
};

export async function reconcileDynamoDbCase({ rows }: { readonly rows: number }): Promise<UnitsResult[]> {
  await using arena = await Arena.create();
  await using local = await DynamoDbLocal.create();
  await using meter = await DynamoDbMeter.create({ endpoint: local.endpoint, refusedUnits: REFUSED_UNITS });
  for (const [table, bytes] of Object.entries(tables)) {
    await arena.client.query(`CREATE TABLE ${table} (id int PRIMARY KEY, payload text NOT NULL);
      INSERT INTO ${table} SELECT g, rpad(md5(g::text), ${bytes}, md5(g::text)) FROM generate_series(1, ${rows}) g`);
  }
  const sink = { kind: 'dynamodb', region, endpoint: local.endpoint, provision: 'create' };
  const names = Object.keys(tables);
  const daemon = await arena.start(PIPELINE, 'capture,apply', { env, sink, tables: names.map((name) => ({ name, snapshot: 'initial' })) });
  // The daemon writes without being counted: only the comparison goes through the meter.
  const file = `${arena.configOf(PIPELINE)}.metered.yaml`;
  const isClean = async (): Promise<boolean> => {
    writeFileSync(file, readFileSync(arena.configOf(PIPELINE), 'utf8').replaceAll(local.endpoint, meter.endpoint));
    return (await compared(file))?.tables.every(({ state, counts }) => state === 'compared' && counts.rows === rows) === true;
  };
  await until(isClean, 'everything is loaded', daemon);
  const units = [...(await measured(file, meter))];
  const client = new DynamoDBClient({ region, endpoint: local.endpoint, credentials: { accessKeyId: 'bench', secretAccessKey: 'local' } });
  for (const [TableName, bytes] of Object.entries(tables)) {
    for (let id = CHANGED_EVERY; id <= rows; id += CHANGED_EVERY) {
      const Key = { id: { N: String(id) } };
      const ExpressionAttributeValues = { ':other': { S: 'x'.repeat(bytes) } };
      await client.send(new UpdateItemCommand({ TableName, Key, UpdateExpression: 'SET payload = :other', ExpressionAttributeValues }));
    }
  }
  client.destroy();
  units.push(...(await measured(file, meter)));
  await daemon.stop();
  const result = { name: 'reconcile-dynamodb', what: `units for reading of a comparison of ${rows} rows`, units };
  print(result);
  return [result];
}

async function measured(file: string, meter: DynamoDbMeter): Promise<UnitsResult['units']> {
  meter.take();
  const run = await compared(file);
  const asked = meter.take();
  return (run?.tables ?? []).map(({ table, counts }) => {
    const { calls = 0, readUnits = 0 } = asked.get(table) ?? {};
    const differences = counts.missing + counts.extra + counts.mismatched;
    return { table, rows: counts.rows, differences, calls, readUnits, readUnitsPerRow: readUnits / counts.rows };
  });
}

async function compared(file: string): Promise<ReconcileRow | undefined> {
  const program = new Program(['dist/src/main.js', 'reconcile', 'run', '-o', 'json', '-c', file], env);
  await program.exited();
  return (JSON.parse(program.out) as { readonly runs?: readonly ReconcileRow[] }).runs?.[0];
}

function print({ name, what, units }: UnitsResult): void {
  console.log(`\n${name}: ${what}`);
  for (const { table, rows, differences, calls, readUnits, readUnitsPerRow } of units)
    console.log(
      `    ${table.padEnd(12)} ${rows} rows, ${differences} differences: ${readUnits} units in ${calls} calls, ${readUnitsPerRow.toFixed(3)} a row`,
    );
}
