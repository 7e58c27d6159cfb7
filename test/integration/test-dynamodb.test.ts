// The DynamoDB that the tests of it stand on.
import { randomUUID } from 'node:crypto';
import { DynamoDBClient, CreateTableCommand, PutItemCommand, BatchExecuteStatementCommand } from '@aws-sdk/client-dynamodb';
import { expect, test } from 'vitest';
import { DynamoDbLocal } from '../support/dynamodb-local.ts';
import { describeOwn, describeShared, sharedService } from '../support/services.ts';

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
