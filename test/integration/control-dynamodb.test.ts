// The control store in a table of DynamoDB, on DynamoDB Local. What only the service does stands in docs/not-verified.md.
import { randomBytes } from 'node:crypto';
import {
  CreateTableCommand,
  DeleteItemCommand,
  DeleteTableCommand,
  DynamoDBClient,
  PutItemCommand,
  UpdateTableCommand,
} from '@aws-sdk/client-dynamodb';
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { ControlKey, ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { configSchema, type Config } from '../../connectors/control-dynamodb/config.ts';
import { connector } from '../../connectors/control-dynamodb/index.ts';
import { controlStoreContract, countUp } from '../contract/control-store.ts';
import { networkedControlContract } from '../contract/control-store-network.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { realRuntime } from '../support/test-runtime.ts';

const never = new AbortController().signal;
const at = 'lease/p' as ControlKey;
const region = 'eu-west-1';
let stores = 0;

function openAt(config: Config, leaseTtlMs = 15_000): ControlStore {
  stores += 1;
  return connector.create({ config, leaseTtlMs, context: { runtime: realRuntime(stores), logger: silentLogger } });
}

async function thrown(work: Promise<unknown>): Promise<CausewayError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof CausewayError) return error;
  throw new Error('not a CausewayError', { cause: error });
}

describeShared('dynamodb', 'control-dynamodb', () => {
  let endpoint: string;
  let table: string;
  let opened: AsyncDisposable[];

  beforeAll(async () => {
    ({ endpoint } = await sharedService('dynamodb'));
  });
  beforeEach(() => {
    table = `t_${randomBytes(6).toString('hex')}`;
    opened = [];
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  });
  afterEach(async () => {
    for (const one of opened.reverse()) await one[Symbol.asyncDispose]();
    vi.unstubAllEnvs();
  });

  const configOf = (of: Readonly<Record<string, unknown>> = {}): Config =>
    configSchema.parse({ kind: 'dynamodb', region, table, endpoint, provision: 'create', ...of });
  const open = (of: Readonly<Record<string, unknown>> = {}): ControlStore => {
    const store = openAt(configOf(of));
    opened.push(store);
    return store;
  };
  const client = (): DynamoDBClient => {
    const made = new DynamoDBClient({ region, endpoint });
    opened.push({
      [Symbol.asyncDispose]: () => {
        made.destroy();
        return Promise.resolve();
      },
    });
    return made;
  };

  controlStoreContract('dynamodb', () => {
    const config = configOf();
    return Promise.resolve({ open: () => openAt(config), [Symbol.asyncDispose]: () => Promise.resolve() });
  });

  networkedControlContract('dynamodb', async () => {
    const config = configOf();
    await using first = openAt(config);
    await first.get(at, never);
    const { hostname, port } = new URL(endpoint);
    return {
      ...{ host: hostname, port: Number(port) },
      open: (of) => openAt(of.port === undefined ? config : { ...config, endpoint: `http://127.0.0.1:${of.port}` }, of.leaseTtlMs),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  });

  test('the command that a missing table asks for describes the table that would be made', async () => {
    const checking = open({ provision: 'check' });
    const error = await thrown(checking.get(at, never));
    expect(error.code).toBe('control_misconfigured');
    const command = error.message.split('\n')[1] ?? '';
    expect(command).toMatch(/^aws dynamodb create-table --region eu-west-1 --endpoint-url \S+ --table-name t_\w+ /);
    // The words of the command, as the AWS CLI reads them.
    const options = new Map(
      command
        .split(' --')
        .slice(1)
        .map((text): [string, string[]] => [text.split(' ')[0] ?? '', text.split(' ').slice(1)]),
    );
    const shorthand = (text: string): Record<string, string> =>
      Object.fromEntries(text.split(',').map((pair): [string, string] => [pair.split('=')[0] ?? '', pair.split('=')[1] ?? '']));
    await client().send(
      new CreateTableCommand({
        TableName: options.get('table-name')?.[0],
        AttributeDefinitions: options.get('attribute-definitions')?.map(shorthand) as never,
        KeySchema: options.get('key-schema')?.map(shorthand) as never,
        BillingMode: options.get('billing-mode')?.[0] as never,
        DeletionProtectionEnabled: options.has('deletion-protection-enabled'),
      }),
    );
    expect(await checking.get(at, never)).toBeNull();
    expect(await checking.swap({ key: at, value: 1, expected: null }, never)).toMatchObject({ tag: 'stored' });
    await expect(client().send(new DeleteTableCommand({ TableName: table }))).rejects.toThrow(/protection/i);
  });

  test('many that start at once make one table', async () => {
    const all = Array.from({ length: 6 }, () => open());
    await Promise.all(all.map((store) => countUp(store, at, 3)));
    expect((await open().get(at, never))?.value).toEqual({ count: 18 });
  });

  test('the stores of one table do not see each other', async () => {
    const [one, other] = [open({ store: 'one' }), open({ store: 'other' })];
    await one.swap({ key: at, value: 1, expected: null }, never);
    expect(await other.get(at, never)).toBeNull();
    expect(await other.list('', never)).toEqual([]);
    expect(await other.swap({ key: at, value: 2, expected: null }, never)).toMatchObject({ tag: 'stored' });
    expect((await one.get(at, never))?.value).toBe(1);
  });

  test('a table with another key is foreign, and so is an item that is no row of ours', async () => {
    const there = client();
    await there.send(
      new CreateTableCommand({
        TableName: table,
        AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
        KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
        BillingMode: 'PAY_PER_REQUEST',
      }),
    );
    expect((await thrown(open().get(at, never))).code).toBe('control_foreign');

    table = `${table}_2`;
    const store = open();
    await store.swap({ key: at, value: 1, expected: null }, never);
    const put = (more: Readonly<Record<string, { readonly S: string } | { readonly N: string }>>): Promise<unknown> =>
      there.send(new PutItemCommand({ TableName: table, Item: { pk: { S: 'causeway' }, sk: { S: at }, ...more } }));
    await put({ theirs: { S: 'tr0ub4dor' } });
    const foreign = await thrown(store.get(at, never));
    expect([foreign.code, foreign.message.includes('tr0ub4dor')]).toEqual(['control_foreign', false]);
    expect((await thrown(store.list('', never))).code).toBe('control_foreign');
    await put({ version: { S: 'v' }, format: { N: '2' }, value: { S: '1' } });
    expect((await thrown(store.get(at, never))).message).toContain('format version 2, of a newer release');
    await put({ version: { S: 'v' }, format: { N: '1' }, value: { S: 'tr0ub4dor' } });
    const damaged = await thrown(store.get(at, never));
    expect([damaged.code, damaged.message.includes('tr0ub4dor')]).toEqual(['control_damaged', false]);
  });

  test('a row that was lost, or came back from a backup, gives no version out again', async () => {
    const store = open();
    const first = await store.swap({ key: at, value: 1, expected: null }, never);
    if (first.tag !== 'stored') throw new Error('not stored');
    const backup = { pk: { S: 'causeway' }, sk: { S: at }, version: { S: first.version }, format: { N: '1' }, value: { S: '1' } };
    const lost = await store.swap({ key: at, value: 2, expected: first.version }, never);
    if (lost.tag !== 'stored') throw new Error('not stored');
    const there = client();
    await there.send(new DeleteItemCommand({ TableName: table, Key: { pk: backup.pk, sk: backup.sk } }));
    expect(await store.swap({ key: at, value: 'sleeper', expected: lost.version }, never)).toEqual({ tag: 'conflict', current: null });
    await there.send(new PutItemCommand({ TableName: table, Item: backup }));
    expect(await open().swap({ key: at, value: 'another', expected: first.version }, never)).toMatchObject({ tag: 'stored' });
    expect(await store.swap({ key: at, value: 'sleeper', expected: lost.version }, never)).toMatchObject({ tag: 'conflict' });
  });

  test('a list goes on over the pages of 1 MB', async () => {
    const store = open();
    const text = randomBytes(45_000).toString('base64');
    const keys = Array.from({ length: 40 }, (_none, index) => `table/p/${String(index).padStart(2, '0')}` as ControlKey);
    for (const key of keys) await store.swap({ key, value: text, expected: null }, never);
    const rows = await store.list('table/p/', never);
    expect(rows.map(({ key }) => key)).toEqual(keys);
    expect(rows.every(({ value }) => value === text)).toBe(true);
  });

  test('a row that repeats itself is kept small, and one that is too large is refused by its size', async () => {
    const store = open();
    const wide = { schemas: Array.from({ length: 200 }, () => Array.from({ length: 300 }, (_none, index) => `column_${index}`)) };
    await store.swap({ key: at, value: wide, expected: null }, never);
    expect((await store.get(at, never))?.value).toEqual(wide);
    expect((await store.list('lease/', never))[0]?.value).toEqual(wide);
    const random = randomBytes(600_000).toString('base64');
    const error = await thrown(store.swap({ key: 'table/p/t' as ControlKey, value: random, expected: null }, never));
    expect(error.code).toBe('control_row_too_large');
    expect(await store.get('table/p/t' as ControlKey, never)).toBeNull();
  });

  test('the table that goes away under a store is asked for', async () => {
    const [making, checking] = [open(), open({ provision: 'check' })];
    await making.swap({ key: at, value: 1, expected: null }, never);
    await checking.get(at, never);
    const there = client();
    await there.send(new UpdateTableCommand({ TableName: table, DeletionProtectionEnabled: false }));
    await there.send(new DeleteTableCommand({ TableName: table }));
    expect((await thrown(checking.get(at, never))).code).toBe('control_misconfigured');
    expect((await thrown(checking.get(at, never))).message).toContain('aws dynamodb create-table');
    expect((await thrown(making.get(at, never))).code).toBe('control_misconfigured');
    expect(await making.get(at, never)).toBeNull();
  });

  test('no credentials are told as such', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', undefined);
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nowhere');
    vi.stubEnv('AWS_CONFIG_FILE', '/nowhere');
    const error = await thrown(open().get(at, never));
    expect([error.code, error.message]).toEqual(['control_credentials', expect.stringContaining('CredentialsProviderError')]);
  });

  test('no call goes to a store that was closed', async () => {
    const store = openAt(configOf());
    await store.get(at, never);
    await store[Symbol.asyncDispose]();
    expect((await thrown(store.get(at, never))).code).toBe('control_unavailable');
  });
});
