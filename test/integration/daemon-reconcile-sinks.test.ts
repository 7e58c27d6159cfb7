// A reconciliation of stores of other kinds, beside a writer. Values of every type stand there: one that comes back otherwise than is expected
// of the store would show as a difference.
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeleteItemCommand, DynamoDBClient, PutItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import type pg from 'pg';
import { expect, test, vi } from 'vitest';
import { isUnderWay, type LoadRow } from '#core/load-row.ts';
import type { ReconcileCounts, ReconcileRow } from '#core/reconcile-row.ts';
import type { Difference } from '#core/sink.ts';
import { transact, type Mutation } from '../../connectors/sink-spanner/transaction.ts';
import { DaemonGround, soon } from '../support/daemon-ground.ts';
import { describeNewestPostgres } from '../support/postgres.ts';
import type { PostgresMajor } from '../support/postgres-binaries.ts';
import { seededRandom } from '../support/random.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { SpannerHost, storeBeside } from '../support/spanner-sink-context.ts';
import { insertion, kinds, kindsSchema } from '../support/table-kinds.ts';

const ROWS = 60;
const numbersWith = (isSo: (n: number) => boolean): number => Array.from({ length: ROWS }, (_, at) => at + 1).filter(isSo).length;
/** Of the table `kinds`, what not every store can hold: infinity and a date before Christ, and numbers that are none. */
const ODD_DATES = numbersWith((n) => n % 9 < 2);
const ODD_NUMBERS = numbersWith((n) => n % 5 < 2);
const BETWEEN_CHANGES_MS = 50;
const NOBODY = '00000000-0000-0000-0000-000000000000';
const region = 'eu-west-1';

/** What somebody does to the table `kinds` beside Causeway: takes one row away, changes `v` of another, and adds one that nobody wrote. */
type Plant = (of: { readonly missing: string; readonly mismatched: string; readonly extra: string }) => Promise<void>;

/** Finds and mends what was planted in a store, and nothing else. */
async function prove(
  major: PostgresMajor,
  of: {
    readonly store: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly parked: number;
    readonly plant: Plant;
    /** What Causeway never wrote is not overwritten there, nor taken away: its key parks. */
    readonly refusesForeign: boolean;
  },
): Promise<void> {
  await using ground = await DaemonGround.create(major, { sinks: [], stores: { store: of.store }, env: of.env ?? {} });
  const source = await ground.source.connect();
  const writing = new AbortController();
  let writer: Promise<void> | null = null;
  try {
    await source.query(kindsSchema);
    for (const name of Object.keys(kinds)) await source.query(insertion(name, 1, ROWS));
    await ground.start();
    await expect.poll(() => isLoaded(ground), soon).toBe(true);
    writer = changes(await ground.source.connect(), writing.signal);
    // A load is over at the source before it is at the sink.
    let first = await run(ground);
    const reasons = async (): Promise<readonly string[]> => {
      if (first.row.verdict === 'inconclusive') first = await run(ground);
      return first.row.tables.flatMap(({ reason }) => reason ?? []);
    };
    await expect.poll(reasons, soon).toEqual([]);
    expect(first.row.tables.flatMap(({ schemaDifferences }) => schemaDifferences)).toEqual([]);
    expect([first.code, first.row.verdict]).toEqual([0, 'clean']);
    expect(countsOf(first.row, 'public.kinds')).toMatchObject({ rows: ROWS, parked: of.parked });
    expect(first.row.tables.every(({ counts }) => counts.rows >= ROWS)).toBe(true);

    const { rows } = await source.query<{ id: string }>('SELECT id FROM kinds WHERE n IN (2, 3) ORDER BY n');
    const [missing = '', mismatched = ''] = rows.map(({ id }) => id);
    await of.plant({ missing, mismatched, extra: NOBODY });
    const second = await run(ground);
    expect([second.code, second.row.verdict]).toEqual([3, 'differences']);
    const { differences } = JSON.parse((await ground.causeway('reconcile', 'report', '-o', 'json')).out) as {
      readonly differences: readonly Difference[];
    };
    expect(new Map(differences.map(({ key, kind, columns }) => [key, [kind, columns]]))).toEqual(
      new Map([
        [keyOf(missing), ['missing', []]],
        [keyOf(mismatched), ['mismatched', ['v']]],
        [keyOf(NOBODY), ['extra', []]],
      ]),
    );
    expect(countsOf(second.row, 'public.kinds')).toMatchObject({ rows: ROWS, missing: 1, extra: 1, mismatched: 1, parked: of.parked });

    const { plan } = JSON.parse((await ground.causeway('reconcile', 'repair', '--plan', '-o', 'json')).out) as { readonly plan: string };
    const repaired = await ground.causeway('reconcile', 'repair', '--apply', plan);
    const refused = of.refusesForeign ? ', 1 refused by the sink (`causeway dlq list`)' : '';
    expect(repaired).toEqual({
      code: of.refusesForeign ? 8 : 0,
      out: `3 keys published, ${of.refusesForeign ? 2 : 3} are right now, 0 still differ${refused}\n`,
      err: '',
    });
    const third = await run(ground);
    expect([third.code, third.row.verdict]).toEqual([0, 'clean']);
    expect(countsOf(third.row, 'public.kinds')).toMatchObject({ parked: of.parked + (of.refusesForeign ? 1 : 0) });
  } finally {
    writing.abort();
    await writer;
    await source.end();
  }
}

async function run(ground: DaemonGround): Promise<{ readonly code: number; readonly row: ReconcileRow }> {
  const { code, out, err } = await ground.causeway('reconcile', 'run', '-o', 'json');
  const [row] = (JSON.parse(out) as { readonly runs?: readonly ReconcileRow[] }).runs ?? [];
  if (row === undefined) throw new Error(`${code} ${out} ${err}`);
  return { code, row };
}

async function isLoaded(ground: DaemonGround): Promise<boolean> {
  const { loads } = JSON.parse((await ground.causeway('snapshot', 'progress', '-o', 'json')).out) as { readonly loads: readonly LoadRow[] };
  return loads.length > 0 && !loads.some(isUnderWay);
}

function countsOf({ tables }: ReconcileRow, table: string): ReconcileCounts | undefined {
  return tables.find((one) => one.table === table)?.counts;
}

function keyOf(id: string): string {
  return JSON.stringify(['public.kinds', id]);
}

/** Changes rows of every table, and brings new ones and takes them away again where no date is refused; the first ten are left alone. */
async function changes(client: pg.Client, signal: AbortSignal): Promise<void> {
  const random = seededRandom(11);
  const names = Object.keys(kinds);
  try {
    for (let newest = 1_000_000; !signal.aborted; newest += 3) {
      const name = names[Math.floor(random() * names.length)] ?? '';
      const draw = name === 'kinds' ? 0 : random();
      if (draw < 0.6) await client.query(`UPDATE ${name} SET v = v || 'x' WHERE n = ${11 + Math.floor(random() * (ROWS - 10))}`);
      else if (draw < 0.8) await client.query(insertion(name, newest, newest + 2));
      else await client.query(`DELETE FROM ${name} WHERE n >= 1000000 AND n % 2 = 0`);
      await sleep(BETWEEN_CHANGES_MS);
    }
  } finally {
    await client.end();
  }
}

describeNewestPostgres('a reconciliation of', (major) => {
  describeShared('dynamodb', 'DynamoDB', () => {
    test.each([['as it comes', '', ODD_NUMBERS]])('finds and mends what was planted, %s', async (_, encoding, parked) => {
      const { endpoint } = await sharedService('dynamodb');
      // The local store keeps the tables of each key apart.
      const credentials = { accessKeyId: `k${randomBytes(6).toString('hex')}`, secretAccessKey: 'local' };
      const env = { AWS_ACCESS_KEY_ID: credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey };
      // The command line runs in this process.
      for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
      const client = new DynamoDBClient({ region, endpoint, credentials });
      const TableName = 'public.kinds';
      try {
        await prove(major, {
          store: `{ kind: dynamodb, region: ${region}, endpoint: '${endpoint}', provision: create${encoding} }`,
          env,
          parked,
          refusesForeign: true,
          plant: async ({ missing, mismatched, extra }) => {
            await client.send(new DeleteItemCommand({ TableName, Key: { id: { S: missing } } }));
            await client.send(
              new UpdateItemCommand({
                TableName,
                Key: { id: { S: mismatched } },
                UpdateExpression: 'SET #v = :planted',
                ExpressionAttributeNames: { '#v': 'v' },
                ExpressionAttributeValues: { ':planted': { S: 'planted' } },
              }),
            );
            await client.send(new PutItemCommand({ TableName, Item: { id: { S: extra }, n: { N: '0' } } }));
          },
        });
      } finally {
        client.destroy();
        vi.unstubAllEnvs();
      }
    });
  });

  describeShared('spanner', 'Spanner', () => {
    test.each([['GOOGLE_STANDARD_SQL', { json: 'native', arrays: 'native' }]] as const)(
      'finds and mends what was planted, in %s',
      async (dialect, encoding) => {
        const { endpoint } = await sharedService('spanner');
        await using host = await SpannerHost.create(endpoint);
        const config = await host.database(dialect, encoding);
        await using beside = storeBeside(config);
        const { project, instance, database, json, arrays } = config;
        const text = (value: string) => ({ stringValue: value });
        await prove(major, {
          store: `{ kind: spanner, project: ${project}, instance: ${instance}, database: ${database}, endpoint: '${endpoint}', provision: create, json: ${json}, arrays: ${arrays} }`,
          parked: ODD_DATES,
          refusesForeign: false,
          plant: async ({ missing, mismatched, extra }) => {
            const mutations: readonly Mutation[] = [
              { tag: 'delete', table: 'kinds', keys: [[text(missing)]] },
              { tag: 'update', table: 'kinds', columns: ['id', 'v'], rows: [[text(mismatched), text('planted')]] },
              { tag: 'insert', table: 'kinds', columns: ['id', 'n'], rows: [[text(extra), text('0')]] },
            ];
            await transact(beside, 'kinds', new AbortController().signal, async (reader) => {
              await reader.query({ sql: 'SELECT 1' });
              return { result: undefined, mutations };
            });
          },
        });
        await host.drop(config);
      },
      240_000,
    );
  });
});
