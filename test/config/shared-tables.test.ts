// With the connectors themselves: what is one database, and one table, only they know.
import { expect, test } from 'vitest';
import { connectors } from '../../connectors/registry.ts';
import { loadConfig } from '../../src/config/load.ts';

type Sink = Readonly<Record<string, unknown>>;

/** What is said of two sinks of one pipeline, whose tables are `public.orders` and, at the second pipeline, those of `tables`. */
async function mistakes(first: Sink, second: Sink, tables: readonly string[] = ['public.orders']): Promise<readonly string[]> {
  const pipeline = (name: string, sinks: Readonly<Record<string, Sink>>, captured: readonly string[]) => ({
    source: { kind: 'postgres', url: `postgres://u@${name}/db`, tables: captured },
    log: { kind: 'embedded', path: `./${name}.log` },
    sinks,
  });
  const file = {
    version: 1,
    control: { kind: 'embedded', path: './control.db' },
    pipelines: { one: pipeline('one', { a: first }, ['public.orders', 'audit.*']), two: pipeline('two', { b: second }, tables) },
  };
  const loaded = await loadConfig({
    file: 'causeway.yaml',
    text: JSON.stringify(file, null, 1),
    surroundings: { env: {}, readFile: () => '' },
    connectors,
  });
  return loaded.tag === 'ok' ? [] : loaded.mistakes.map(({ line, path, message }) => `${String(line > 1)} ${path}: ${message}`);
}

const dynamo = (over: Sink = {}): Sink => ({ kind: 'dynamodb', region: 'eu-west-1', ...over });
const spanner = (over: Sink = {}): Sink => ({ kind: 'spanner', project: 'shop-prod', instance: 'main', database: 'copy', ...over });
const role = (account: string): Sink => ({ assumeRole: { arn: `arn:aws:iam::${account}:role/writer` } });
const account = '111111111111';
const place = 'true pipelines.two.sinks.b';

test.each<readonly [string, Sink, Sink, string]>([
  ['the same region', dynamo(), dynamo({ progressTable: 'another' }), 'public.orders'],
  ['two doors to it', dynamo(), dynamo({ endpoint: 'https://dynamodb.eu-west-1.amazonaws.com' }), 'public.orders'],
  ['two roles of one account', dynamo(role(account)), dynamo({ assumeRole: { arn: `arn:aws:iam::${account}:role/x` } }), 'public.orders'],
  ['a local store', dynamo({ endpoint: 'http://127.0.0.1:1' }), dynamo({ endpoint: 'http://127.0.0.1:1/' }), 'public.orders'],
  ['one database of Spanner', spanner(), spanner({ endpoint: 'https://spanner.eu.rep.googleapis.com' }), 'orders'],
  ['names that differ in case alone', spanner({ tables: 'X_{table}' }), spanner({ tables: 'x_{table}' }), 'x_orders'],
])('two sinks that write one table are refused: %s', async (_, first, second, table) => {
  expect(await mistakes(first, second)).toEqual([`${place}: writes ${table} of the same database as one.sinks.a`]);
});

test.each<readonly [string, Sink, Sink]>([
  ['another region', dynamo(), dynamo({ region: 'eu-west-2' })],
  ['another account', dynamo(role(account)), dynamo(role('222222222222'))],
  ['another local store', dynamo({ endpoint: 'http://127.0.0.1:1' }), dynamo({ endpoint: 'http://127.0.0.1:2' })],
  ['a pattern with the pipeline', dynamo({ tables: '{pipeline}.{table}' }), dynamo({ tables: '{pipeline}.{table}' })],
  ['a pattern with the sink', spanner({ tables: '{sink}_{table}' }), spanner({ tables: '{sink}_{table}' })],
  ['another database', spanner(), spanner({ database: 'other' })],
  ['an emulator', spanner(), spanner({ endpoint: 'http://127.0.0.1:9010' })],
])('two sinks that write other tables are taken: %s', async (_, first, second) => {
  expect(await mistakes(first, second)).toEqual([]);
});

test('patterns can make one table of two, and schemas are told apart while their tables are not known', async () => {
  const tables = { tables: '{table}' };
  expect(await mistakes(dynamo(tables), dynamo(tables), ['sales.orders'])).toEqual([
    `${place}: writes orders of the same database as one.sinks.a`,
  ]);
  expect(await mistakes(dynamo(tables), dynamo(tables), ['sales.*'])).toEqual([]);
  // Of two pipelines the tables can be others.
  expect(await mistakes(dynamo(), dynamo(), ['audit.*'])).toEqual([]);
});
