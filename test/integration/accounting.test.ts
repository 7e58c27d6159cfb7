// The judge itself: a copy that is right is acquitted, and every kind of fault that crashes could cause is found.
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { auditSchema, innocent, judge, type Verdict } from '../support/accounting.ts';
import { ledgerSchema, ledgerTables, openAccount, type WriterAccount } from '../support/ledger-writer.ts';
import { describeNewestPostgres, TestDatabase } from '../support/postgres.ts';

const keys: Readonly<Record<(typeof ledgerTables)[number], string>> = {
  'ledger.marks': 'writer, number',
  'ledger.accounts': 'id',
  'ledger.tokens': 'id',
  'ledger.papers': 'id',
  'ledger.totals': 'id',
  'ledger.notes': 'id',
};

describeNewestPostgres('the accounting checker', (major) => {
  let source: TestDatabase;
  let sink: TestDatabase;
  let sourceClient: pg.Client;
  let sinkClient: pg.Client;
  let account: WriterAccount;

  beforeAll(async () => {
    source = await TestDatabase.create(major);
    sink = await TestDatabase.create(major);
    sourceClient = await source.connect();
    sinkClient = await sink.connect();
    await sourceClient.query(ledgerSchema);
    await sinkClient.query(ledgerSchema);
    await sinkClient.query('CREATE SCHEMA causeway');
    for (const table of ledgerTables) {
      await sinkClient.query(
        `CREATE TABLE causeway."${table}" AS SELECT ${keys[table]}, ''::text COLLATE "C" AS cw_seq, false AS cw_deleted FROM ${table}`,
      );
    }
    await sinkClient.query(auditSchema);
  });

  beforeEach(async () => {
    for (const client of [sourceClient, sinkClient]) {
      await client.query(
        'TRUNCATE ledger.marks, ledger.accounts; INSERT INTO ledger.marks VALUES (1, 1), (1, 2); INSERT INTO ledger.accounts VALUES (7, 100, 2)',
      );
    }
    await sinkClient.query(`
      TRUNCATE audit.effects, causeway."ledger.marks", causeway."ledger.accounts";
      INSERT INTO causeway."ledger.marks" VALUES (1, 1, 'a', false), (1, 2, 'b', false);
      INSERT INTO causeway."ledger.accounts" VALUES (7, 'a', false);
      UPDATE causeway."ledger.accounts" SET cw_seq = 'b';
      INSERT INTO causeway."ledger.accounts" VALUES (8, 'b', true)`);
    account = openAccount(1);
    account.committed.add(1).add(2);
  });

  afterAll(async () => {
    await sourceClient.end();
    await sinkClient.end();
    await source.close();
    await sink.close();
  });

  test('acquits a copy that is right', async () => {
    expect(await judge(sourceClient, sinkClient, [account])).toEqual({ verdict: innocent, marks: 2, effects: 5 });
  });

  const faults: Readonly<Record<string, { readonly at: 'source' | 'sink'; readonly sql: string; readonly found: Partial<Verdict> }>> = {
    'a lost transaction': {
      at: 'sink',
      sql: 'DELETE FROM ledger.marks WHERE number = 2; UPDATE causeway."ledger.marks" SET cw_deleted = true, cw_seq = \'c\' WHERE number = 2',
      found: { missingMarks: ['1/2'], differentTables: ['ledger.marks: 2 rows at the source, 1 at the sink'] },
    },
    'a transaction that was rolled back': {
      at: 'sink',
      sql: 'INSERT INTO ledger.marks VALUES (1, 3); INSERT INTO causeway."ledger.marks" VALUES (1, 3, \'c\', false)',
      found: { surplusMarks: ['1/3'], differentTables: ['ledger.marks: 2 rows at the source, 3 at the sink'] },
    },
    'a commit that the source itself lost': {
      at: 'source',
      sql: 'DELETE FROM ledger.marks WHERE number = 2',
      found: { lostAtSource: ['1/2'], surplusMarks: ['1/2'], differentTables: ['ledger.marks: 1 rows at the source, 2 at the sink'] },
    },
    'an old value': {
      at: 'sink',
      sql: 'UPDATE ledger.accounts SET balance = 99',
      found: { differentTables: ['ledger.accounts: 1 rows at the source, 1 at the sink'] },
    },
    'an effect that came twice': {
      at: 'sink',
      sql: 'UPDATE causeway."ledger.accounts" SET cw_deleted = cw_deleted WHERE id = 7',
      found: { repeatedEffects: ['ledger.accounts {"id": 7} b'] },
    },
    'a sequence that fell': {
      at: 'sink',
      sql: 'UPDATE causeway."ledger.accounts" SET cw_seq = \'aa\' WHERE id = 7',
      found: { fallingSequences: ['ledger.accounts {"id": 7} b > aa'] },
    },
    'a register without its row': {
      at: 'sink',
      sql: 'UPDATE causeway."ledger.accounts" SET cw_deleted = false, cw_seq = \'c\' WHERE id = 8',
      found: { unmatchedRegisters: ['ledger.accounts {"f1": 8}'] },
    },
    'a row without a register': {
      at: 'sink',
      sql: 'UPDATE causeway."ledger.accounts" SET cw_deleted = true, cw_seq = \'c\' WHERE id = 7',
      found: { unmatchedRegisters: ['ledger.accounts {"f1": 7}'] },
    },
  };

  test.each(Object.entries(faults))('finds %s', async (_name, { at, sql, found }) => {
    await (at === 'source' ? sourceClient : sinkClient).query(sql);
    expect((await judge(sourceClient, sinkClient, [account])).verdict).toEqual({ ...innocent, ...found });
  });
});
