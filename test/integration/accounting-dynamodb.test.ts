// The judge of a ledger that is copied to DynamoDB: a copy that is right is acquitted, and every kind of fault is found.
import { randomBytes } from 'node:crypto';
import { CreateTableCommand, DeleteItemCommand, DynamoDBClient, PutItemCommand, type AttributeValue } from '@aws-sdk/client-dynamodb';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { judgeItems } from '../support/accounting-dynamodb.ts';
import { innocent, type Verdict } from '../support/accounting.ts';
import { rememberEffects, type Place } from '../support/dynamodb-effects.ts';
import { ledgerSchema, ledgerTables, openAccount } from '../support/ledger-writer.ts';
import { describeNewestPostgres, TestDatabase } from '../support/postgres.ts';
import { describeShared, sharedService } from '../support/services.ts';

type Item = Record<string, AttributeValue>;

const account = openAccount(1);
account.committed.add(1).add(2);
const live = (at: number, columns: Item): Item => ({ ...columns, cw_seq: { B: new Uint8Array(24).fill(at) } });
const dead = (at: number, columns: Item): Item => live(at, { ...columns, cw_deleted: { BOOL: true } });
const mark = (number: number): Item => ({ writer: { N: '1' }, number: { N: String(number) } });
const money = (balance: number): Item => ({ id: { N: '7' }, balance: { N: String(balance) }, marked_by: { N: '2' } });
const hex = (at: number): string => at.toString(16).padStart(2, '0').repeat(24);

describeShared('dynamodb', 'a ledger at DynamoDB', () => {
  describeNewestPostgres('is judged', (major) => {
    let source: TestDatabase;
    let sourceClient: pg.Client;
    let client: DynamoDBClient;
    let place: Place;

    beforeAll(async () => {
      source = await TestDatabase.create(major);
      sourceClient = await source.connect();
      await sourceClient.query(ledgerSchema);
      await sourceClient.query('INSERT INTO ledger.marks VALUES (1, 1), (1, 2); INSERT INTO ledger.accounts VALUES (7, 100, 2)');
    });
    afterAll(async () => {
      await sourceClient.end();
      await source.close();
    });

    // The local store keeps the tables of each access key apart, so that each test has the ledger's names for itself.
    beforeEach(async () => {
      const { endpoint } = await sharedService('dynamodb');
      place = { endpoint, region: 'eu-west-1', accessKeyId: `judge${randomBytes(6).toString('hex')}` };
      client = new DynamoDBClient({ ...place, credentials: { accessKeyId: place.accessKeyId, secretAccessKey: 'test' } });
      for (const TableName of ledgerTables) {
        const names = TableName === 'ledger.marks' ? ['writer', 'number'] : ['id'];
        await client.send(
          new CreateTableCommand({
            TableName,
            BillingMode: 'PAY_PER_REQUEST',
            KeySchema: names.map((AttributeName, at) => ({ AttributeName, KeyType: at === 0 ? 'HASH' : 'RANGE' })),
            AttributeDefinitions: names.map((AttributeName) => ({ AttributeName, AttributeType: 'N' })),
          }),
        );
        await rememberEffects(place, TableName);
      }
      await put('marks', live(1, mark(1)), live(2, mark(2)));
      await put('accounts', live(1, money(0)), live(2, money(100)), dead(2, { id: { N: '8' } }));
    });
    afterEach(() => client.destroy());

    const put = async (table: string, ...items: readonly Item[]): Promise<void> => {
      for (const Item of items) await client.send(new PutItemCommand({ TableName: `ledger.${table}`, Item }));
    };

    test('innocent where it is right', async () => {
      expect(await judgeItems(sourceClient, place, [account])).toEqual({ verdict: innocent, marks: 2, effects: 5 });
    });

    const faults: Readonly<Record<string, { readonly make: () => Promise<unknown>; readonly found: Partial<Verdict> }>> = {
      'a lost transaction': {
        make: () => put('marks', dead(3, mark(2))),
        found: { missingMarks: ['1/2'], differentTables: ['ledger.marks: 2 rows at the source, 1 at the sink'] },
      },
      'a transaction that was rolled back': {
        make: () => put('marks', live(3, mark(3))),
        found: { surplusMarks: ['1/3'], differentTables: ['ledger.marks: 2 rows at the source, 3 at the sink'] },
      },
      'an old value': {
        make: () => put('accounts', live(3, money(99))),
        found: { differentTables: ['ledger.accounts: 1 rows at the source, 1 at the sink'] },
      },
      'an effect that came twice': {
        make: () => put('accounts', live(2, money(99)), live(2, money(100))),
        found: { repeatedEffects: [`ledger.accounts {"id":{"N":"7"}} ${hex(2)}`, `ledger.accounts {"id":{"N":"7"}} ${hex(2)}`] },
      },
      'a sequence that fell': {
        make: () => put('accounts', live(1, money(100))),
        found: { fallingSequences: [`ledger.accounts {"id":{"N":"7"}} ${hex(2)} > ${hex(1)}`] },
      },
      'a tombstone that is gone': {
        make: () => client.send(new DeleteItemCommand({ TableName: 'ledger.accounts', Key: { id: { N: '8' } } })),
        found: { unmatchedRegisters: ['ledger.accounts {"id":{"N":"8"}} is gone'] },
      },
      'a tombstone that still has a value': {
        make: () => put('notes', dead(3, { id: { N: '1' }, marked_by: { N: '2' } })),
        found: {
          unmatchedRegisters: [expect.stringMatching(/^ledger\.notes .*marked_by/)],
        },
      },
    };

    describe('guilty of', () => {
      test.each(Object.entries(faults))('%s', async (_name, { make, found }) => {
        await make();
        expect((await judgeItems(sourceClient, place, [account])).verdict).toEqual({ ...innocent, ...found });
      });
    });
  });
});
