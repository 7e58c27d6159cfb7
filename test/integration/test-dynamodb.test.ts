// The DynamoDB that the tests of it stand on.
import { randomUUID } from 'node:crypto';
import {
  BatchExecuteStatementCommand,
  BatchGetItemCommand,
  CreateTableCommand,
  DeleteItemCommand,
  DynamoDBClient,
  PutItemCommand,
} from '@aws-sdk/client-dynamodb';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { effectsOf, itemsOf, rememberEffects } from '../support/dynamodb-effects.ts';
import { DynamoDbLocal } from '../support/dynamodb-local.ts';
import { DynamoDbProxy } from '../support/dynamodb-proxy.ts';
import { impossibleEffects } from '../support/impossible-effects.ts';
import { describeOwn, describeShared, sharedService } from '../support/services.ts';

const local = { region: 'eu-west-1', accessKeyId: 'test' };
const clientOf = (endpoint: string): DynamoDBClient =>
  new DynamoDBClient({ endpoint, region: 'eu-west-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' }, maxAttempts: 1 });

async function createTable(client: DynamoDBClient): Promise<string> {
  const TableName = randomUUID();
  await client.send(
    new CreateTableCommand({
      TableName,
      BillingMode: 'PAY_PER_REQUEST',
      KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
      AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
    }),
  );
  return TableName;
}

describeShared('dynamodb', 'the shared DynamoDB', () => {
  test('refuses what its conditions refuse, in a batch of statements too', async () => {
    const client = clientOf((await sharedService('dynamodb')).endpoint);
    const table = await createTable(client);
    const put = new PutItemCommand({
      TableName: table,
      Item: { id: { S: 'a' }, sequence: { N: '2' } },
      ConditionExpression: 'attribute_not_exists(id)',
    });
    await client.send(put);
    await expect(client.send(put)).rejects.toMatchObject({ name: 'ConditionalCheckFailedException' });
    const update = (sequence: number): { Statement: string } => ({
      Statement: `UPDATE "${table}" SET sequence = ${sequence} WHERE id = 'a' AND sequence < ${sequence}`,
    });
    const refused = await client.send(new BatchExecuteStatementCommand({ Statements: [update(1)] }));
    expect(refused.Responses?.map(({ Error: error }) => error?.Code)).toEqual(['ConditionalCheckFailed']);
    const taken = await client.send(new BatchExecuteStatementCommand({ Statements: [update(3)] }));
    expect(taken.Responses?.map(({ Error: error }) => error)).toEqual([undefined]);
    client.destroy();
  });
});

describeOwn('dynamodb', 'a DynamoDB of its own', () => {
  test('answers', async () => {
    await using server = await DynamoDbLocal.create();
    const client = clientOf(server.endpoint);
    await createTable(client);
    client.destroy();
  });
});

describeShared('dynamodb', 'the proxy before DynamoDB', () => {
  let proxy: DynamoDbProxy;
  let client: DynamoDBClient;
  let table: string;
  beforeEach(async () => {
    const { endpoint } = await sharedService('dynamodb');
    proxy = await DynamoDbProxy.create(endpoint);
    client = clientOf(proxy.endpoint);
    table = await createTable(client);
  });
  afterEach(async () => {
    client.destroy();
    await proxy[Symbol.asyncDispose]();
  });

  const put = (id: string, n = '1'): PutItemCommand => new PutItemCommand({ TableName: table, Item: { id: { S: id }, n: { N: n } } });
  const insert = (id: string): { Statement: string } => ({ Statement: `INSERT INTO "${table}" VALUE {'id': '${id}'}` });
  const ids = async (): Promise<readonly (string | undefined)[]> =>
    (await itemsOf({ ...local, endpoint: proxy.endpoint }, table)).map(({ id }) => id?.S).sort();

  test('answers errors as the service spells them, and nothing takes effect', async () => {
    const throttled = ['ProvisionedThroughputExceededException', 'RequestLimitExceeded', 'ThrottlingException'] as const;
    for (const name of throttled) {
      proxy.onRequest = () => ({ tag: 'error', name });
      const error: unknown = await client.send(put('a')).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ name, $metadata: { httpStatusCode: 400 } });
      const { ThrottlingReasons, throttlingReasons } = error as Record<string, unknown>;
      expect(ThrottlingReasons ?? throttlingReasons).toMatchObject([{ reason: 'TableWriteKeyRangeThroughputExceeded' }]);
    }
    for (const [name, httpStatusCode] of [
      ['InternalServerError', 500],
      ['ServiceUnavailable', 503],
      ['TransactionConflictException', 400],
    ] as const) {
      proxy.onRequest = () => ({ tag: 'error', name });
      await expect(client.send(put('a'))).rejects.toMatchObject({ name, $metadata: { httpStatusCode } });
    }
    expect(proxy.heal()).toBe(6);
    expect(await ids()).toEqual([]);
  });

  test('fails statements of a batch, and the others take effect', async () => {
    proxy.onRequest = () => ({ tag: 'statements', code: 'ThrottlingError', strikes: (place) => place === 1 });
    const batch = new BatchExecuteStatementCommand({ Statements: ['a', 'b', 'c'].map(insert) });
    const { Responses } = await client.send(batch);
    expect(Responses?.map((one) => one.Error?.Code)).toEqual([undefined, 'ThrottlingError', undefined]);
    proxy.onRequest = () => ({ tag: 'statements behind the effect', code: 'InternalServerError', strikes: () => true });
    const second = await client.send(new BatchExecuteStatementCommand({ Statements: ['d'].map(insert) }));
    expect(second.Responses?.map((one) => one.Error?.Code)).toEqual(['InternalServerError']);
    proxy.heal();
    expect(await ids()).toEqual(['a', 'c', 'd']);
  });

  test('leaves keys of a batch unprocessed', async () => {
    for (const id of ['a', 'b']) await client.send(put(id));
    proxy.onRequest = () => ({ tag: 'unprocessed', strikes: (place) => place === 0 });
    const Keys = ['a', 'b'].map((id) => ({ id: { S: id } }));
    const read = await client.send(new BatchGetItemCommand({ RequestItems: { [table]: { Keys } } }));
    expect(read.Responses?.[table]?.map(({ id }) => id?.S)).toEqual(['b']);
    expect(read.UnprocessedKeys?.[table]?.Keys).toEqual([{ id: { S: 'a' } }]);
  });

  test('loses replies behind their effect, cuts before it, and holds requests back', async () => {
    proxy.onRequest = () => ({ tag: 'lost reply' });
    await expect(client.send(put('lost'))).rejects.toMatchObject({ code: 'ECONNRESET' });
    proxy.onRequest = () => ({ tag: 'cut' });
    await expect(client.send(put('cut'))).rejects.toMatchObject({ code: 'ECONNRESET' });
    const held = Promise.withResolvers<null>();
    proxy.onRequest = ({ writes }) => (writes ? held.promise : null);
    const late = client.send(put('held'));
    expect(await ids()).toEqual(['lost']);
    held.resolve(null);
    await late;
    proxy.onRequest = ({ writes }) => (writes ? { tag: 'silence' } : null);
    const silent = client.send(put('silent')).catch((error: unknown) => error);
    await expect.poll(ids).toEqual(['held', 'lost', 'silent']);
    proxy.heal();
    expect(await silent).toMatchObject({ code: 'ECONNRESET' });
  });

  test('and the effects on a table are told one by one', async () => {
    const place = { ...local, endpoint: proxy.endpoint };
    await rememberEffects(place, table);
    const sequence = (value: number): { B: Uint8Array } => ({ B: new Uint8Array([value]) });
    for (const [id, at] of [
      ['a', 1],
      ['a', 3],
      ['b', 1],
      ['a', 2],
      ['b', 1],
    ] as const) {
      await client.send(
        new PutItemCommand({ TableName: table, Item: { id: { S: id }, cw_seq: sequence(at), n: { N: String(Math.random()) } } }),
      );
    }
    await client.send(new DeleteItemCommand({ TableName: table, Key: { id: { S: 'a' } } }));
    const effects = await effectsOf(place, table);
    expect(effects.filter(({ key }) => key.includes('"a"')).map((effect) => effect.sequence)).toEqual(['01', '03', '02', null]);
    const a = '{"id":{"S":"a"}}';
    expect(impossibleEffects(effects)).toEqual({ repeated: ['{"id":{"S":"b"}} 01'], falling: [`${a} 03 > 02`], gone: [a] });
  });
});
