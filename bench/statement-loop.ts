// `node statement-loop.ts RECORDING URL`: sends what statement-recorder.ts wrote down, in the same flights, with nothing around it.
import { readFileSync } from 'node:fs';
import { deserialize } from 'node:v8';
import pg from 'pg';
import { Flight } from '../connectors/lib/postgres/flight.ts';
import type { Recording, Sent } from './statement-recorder.ts';

const [file, url] = process.argv.slice(2);
if (file === undefined || url === undefined) throw new Error('usage: node statement-loop.ts RECORDING URL');
const { options, sent } = deserialize(readFileSync(file)) as Recording;

/** A partition's transactions; a transaction names the partition whose row it locks at its beginning. */
const partitions = new Map<number, Sent[]>();
const before: Sent[] = [];
const open = new Map<number, Sent[]>();
for (const each of sent) {
  const text = each.statements.map((statement) => statement.text).join('; ');
  const partition = each.statements.find(({ name }) => name === 'causeway-lock')?.values?.[0];
  if (partition !== undefined) {
    const list = partitions.get(Number(partition)) ?? [];
    partitions.set(Number(partition), list);
    open.set(each.connection, list);
  }
  const list = open.get(each.connection);
  if (list !== undefined) list.push(each);
  // What made and looked at the tables, before the first batch.
  else if (partitions.size === 0) before.push(each);
  if (/(COMMIT|ROLLBACK)$/.test(text)) open.delete(each.connection);
}

const connect = async (): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url, options });
  await client.connect();
  await client.query('SET session_replication_role = replica');
  return client;
};
const send = async (client: pg.Client, list: readonly Sent[]): Promise<void> => {
  for (const { inFlight, statements } of list) {
    if (inFlight) {
      await client.query(new Flight(statements)).answered;
      continue;
    }
    for (const { text, name, values } of statements) {
      if (values === undefined) await client.query(text);
      else await client.query({ text, values: [...values], rowMode: 'array', ...(name === undefined ? {} : { name }) });
    }
  }
};

const maker = await connect();
await send(maker, before);
const clients = await Promise.all([...partitions].map(async ([, list]) => ({ client: await connect(), list })));
const startMs = performance.now();
await Promise.all(clients.map(({ client, list }) => send(client, list)));
const seconds = (performance.now() - startMs) / 1_000;
await Promise.all([maker, ...clients.map(({ client }) => client)].map((client) => client.end()));
console.log(`seconds ${seconds}`);
