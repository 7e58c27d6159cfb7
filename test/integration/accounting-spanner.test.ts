// The judge of a ledger that is copied to Spanner: a copy that is right is acquitted, and every kind of fault is found.
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { innocent, type Verdict } from '../support/accounting.ts';
import { judgeSpanner, versionTables, type SpannerHistory } from '../support/accounting-spanner.ts';
import { ledgerSchema, openAccount } from '../support/ledger-writer.ts';
import { describeNewestPostgres, TestDatabase } from '../support/postgres.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { endTransaction, registersIn, sessionIn } from '../support/spanner-commits.ts';
import { storeTime, streamStatement, type SpannerEffect } from '../support/spanner-effects.ts';
import { SpannerProxy } from '../support/spanner-proxy.ts';
import { SpannerHost } from '../support/spanner-sink-context.ts';

type Config = Awaited<ReturnType<SpannerHost['database']>>;
type Cell = { readonly stringValue: string } | { readonly boolValue: boolean };
type Row = Readonly<Record<string, Cell>>;
type Mutation = Readonly<Record<string, unknown>>;

const account = openAccount(1);
account.committed.add(1).add(2);
const text = (value: number | string): Cell => ({ stringValue: String(value) });
const write = (kind: 'insert' | 'replace' | 'update', table: string, row: Row): Mutation => ({
  [kind]: { table, columns: Object.keys(row), values: [{ values: Object.values(row) }] },
});
const erase = (table: string, ...key: readonly number[]): Mutation => ({
  delete: { table, keySet: { keys: [{ values: key.map(text) }] } },
});
const register = (table: string, key: Row, at: number, deleted = false): Mutation =>
  write('replace', `cw_v_${table}`, {
    ...key,
    cw_seq: text(Buffer.alloc(24, at).toString('base64')),
    cw_deleted: { boolValue: deleted },
  });
const mark = (number: number): Row => ({ writer: text(1), number: text(number) });
const id = (value: number): Row => ({ id: text(value) });
const money = (balance: number): Row => ({ ...id(7), balance: text(balance), marked_by: text(2) });
const hex = (at: number): string => at.toString(16).padStart(2, '0').repeat(24);

describeShared('spanner', 'a ledger at Spanner', () => {
  describeNewestPostgres('is judged', (major) => {
    let source: TestDatabase;
    let sourceClient: pg.Client;
    let host: SpannerHost;
    let config: Config;
    let history: SpannerHistory;

    beforeAll(async () => {
      source = await TestDatabase.create(major);
      sourceClient = await source.connect();
      await sourceClient.query(ledgerSchema);
      await sourceClient.query('INSERT INTO ledger.marks VALUES (1, 1), (1, 2); INSERT INTO ledger.accounts VALUES (7, 100, 2)');
      host = await SpannerHost.create((await sharedService('spanner')).endpoint);
    });
    afterAll(async () => {
      await host[Symbol.asyncDispose]();
      await sourceClient.end();
      await source.close();
    });

    beforeEach(async () => {
      config = await host.database('GOOGLE_STANDARD_SQL');
      await host.ddl(
        config,
        'CREATE TABLE marks (writer INT64 NOT NULL, number INT64 NOT NULL) PRIMARY KEY (writer, number)',
        'CREATE TABLE accounts (id INT64 NOT NULL, balance INT64, marked_by INT64) PRIMARY KEY (id)',
        'CREATE TABLE tokens (id INT64 NOT NULL, moves INT64) PRIMARY KEY (id)',
        'CREATE TABLE papers (id INT64 NOT NULL, body STRING(MAX), revision INT64) PRIMARY KEY (id)',
        'CREATE TABLE totals (id INT64 NOT NULL, changes INT64, marked_by INT64) PRIMARY KEY (id)',
        'CREATE TABLE notes (id INT64 NOT NULL, marked_by INT64) PRIMARY KEY (id)',
        ...versionTables.map((name) => {
          const key = name === 'cw_v_marks' ? ['writer', 'number'] : ['id'];
          const columns = key.map((column) => `${column} INT64 NOT NULL`).join(', ');
          return `CREATE TABLE ${name} (${columns}, cw_seq BYTES(MAX) NOT NULL, cw_deleted BOOL NOT NULL) PRIMARY KEY (${key.join(', ')})`;
        }),
        streamStatement(versionTables),
      );
      history = { ...host.asked(config), since: await storeTime(host.asked(config)), acknowledged: [] };
      await commit(write('insert', 'marks', mark(1)), register('marks', mark(1), 1));
      await commit(write('insert', 'marks', mark(2)), register('marks', mark(2), 2));
      await commit(write('insert', 'accounts', money(0)), register('accounts', id(7), 1));
      await commit(write('replace', 'accounts', money(100)), register('accounts', id(7), 2), register('accounts', id(8), 2, true));
    });
    afterEach(() => host.drop(config));

    const commit = async (...mutations: readonly Mutation[]): Promise<void> => {
      const { client, database } = history;
      const [session] = await client.createSession({ database });
      await client.commit({ session: session.name ?? '', singleUseTransaction: { readWrite: {} }, mutations: [...mutations] });
      await client.deleteSession({ name: session.name ?? '' });
    };

    test('innocent where it is right', async () => {
      expect(await judgeSpanner(sourceClient, history, [account])).toEqual({ verdict: innocent, marks: 2, effects: 5 });
    });

    const faults: Readonly<Record<string, { readonly make: () => Promise<unknown>; readonly found: Partial<Verdict> }>> = {
      'a lost transaction': {
        make: () => commit(erase('marks', 1, 2), register('marks', mark(2), 3, true)),
        found: { missingMarks: ['1/2'], differentTables: ['ledger.marks: 2 rows at the source, 1 at the sink'] },
      },
      'a transaction that was rolled back': {
        make: () => commit(write('insert', 'marks', mark(3)), register('marks', mark(3), 3)),
        found: { surplusMarks: ['1/3'], differentTables: ['ledger.marks: 2 rows at the source, 3 at the sink'] },
      },
      'an old value': {
        make: () => commit(write('replace', 'accounts', money(99)), register('accounts', id(7), 3)),
        found: { differentTables: ['ledger.accounts: 1 rows at the source, 1 at the sink'] },
      },
      'an effect that came twice': {
        make: () => commit(register('accounts', id(7), 2)),
        found: { repeatedEffects: [`ledger.accounts {"id":"7"} ${hex(2)}`] },
      },
      'a sequence that fell, and rose again': {
        make: async () => {
          await commit(register('accounts', id(7), 1));
          await commit(register('accounts', id(7), 2));
        },
        found: { fallingSequences: [`ledger.accounts {"id":"7"} ${hex(2)} > ${hex(1)}`] },
      },
      'a tombstone that is gone': {
        make: () => commit(erase('cw_v_accounts', 8)),
        found: { unmatchedRegisters: ['ledger.accounts {"id":"8"} is gone'] },
      },
      'a deleted row that came back': {
        make: () => commit(write('insert', 'accounts', { ...money(1), ...id(8) })),
        found: {
          differentTables: ['ledger.accounts: 1 rows at the source, 2 at the sink'],
          unmatchedRegisters: ['ledger.accounts {"id":"8"}'],
        },
      },
      'a live register without its row': {
        make: () => commit(erase('accounts', 7)),
        found: {
          differentTables: ['ledger.accounts: 1 rows at the source, 0 at the sink'],
          unmatchedRegisters: ['ledger.accounts {"id":"7"}'],
        },
      },
      'a register without a sequence': {
        make: () => commit(write('replace', 'cw_v_accounts', { ...id(7), cw_seq: text(''), cw_deleted: { boolValue: false } })),
        found: {
          fallingSequences: [`ledger.accounts {"id":"7"} ${hex(2)} > `],
          unmatchedRegisters: ['ledger.accounts {"id":"7"} has no sequence'],
        },
      },
    };

    describe('guilty of', () => {
      test.each(Object.entries(faults))('%s', async (_name, { make, found }) => {
        await make();
        expect((await judgeSpanner(sourceClient, history, [account])).verdict).toEqual({ ...innocent, ...found });
      });
    });

    describe('and the store is guilty of', () => {
      test('an effect that it acknowledged, and does not have', async () => {
        const lost: SpannerEffect = { table: 'cw_v_accounts', key: '{"id":"7"}', sequence: hex(3) };
        const kept: SpannerEffect = { ...lost, sequence: hex(1) };
        const { verdict } = await judgeSpanner(sourceClient, { ...history, acknowledged: [kept, lost] }, [account]);
        expect(verdict).toEqual({
          ...innocent,
          unmatchedRegisters: [`ledger.accounts {"id":"7"} ${hex(3)} was acknowledged, and took no effect: a defect of the store`],
        });
      });

      test('a register that its change stream does not tell of', async () => {
        const since = await storeTime(history);
        const { verdict } = await judgeSpanner(sourceClient, { ...history, since }, [account]);
        expect(verdict.unmatchedRegisters).toContain(
          `ledger.accounts {"id":"7"} ends with nothing in the change stream, and has ${hex(2)}: a defect of the store`,
        );
      });
    });
  });

  describe('the proxy before it', () => {
    const FAILED_PRECONDITION = 9;
    const UNAVAILABLE = 14;

    test('strikes before the effect and behind it, and tells what was acknowledged', async () => {
      const { endpoint } = await sharedService('spanner');
      await using host = await SpannerHost.create(endpoint);
      await using proxy = await SpannerProxy.create(endpoint);
      await using through = await SpannerHost.create(proxy.endpoint);
      const config = await host.database('GOOGLE_STANDARD_SQL');
      await host.ddl(config, 'CREATE TABLE cw_v_t (id INT64 NOT NULL, cw_seq BYTES(MAX), cw_deleted BOOL) PRIMARY KEY (id)');
      const acknowledged: SpannerEffect[] = [];
      proxy.onCommitted = (request) => acknowledged.push(...registersIn(request));
      const { client, database } = through.asked(config);
      const [{ name }] = await client.createSession({ database });
      const commit = async (at: number): Promise<unknown> =>
        await client
          .commit(
            { session: name ?? '', singleUseTransaction: { readWrite: {} }, mutations: [register('t', id(at), at)] },
            { timeout: 10_000, retry: { retryCodes: [] } },
          )
          .then(
            () => 'done',
            (error: unknown) => (error as { readonly code?: unknown }).code,
          );
      expect(await commit(1)).toBe('done');
      proxy.onRequest = () => ({ effect: 'none', status: UNAVAILABLE });
      expect(await commit(2)).toBe(UNAVAILABLE);
      proxy.onRequest = () => ({ effect: 'behind', status: UNAVAILABLE });
      expect(await commit(3)).toBe(UNAVAILABLE);
      expect(proxy.heal()).toBe(2);
      expect(await commit(4)).toBe('done');
      expect(acknowledged).toEqual([1, 3, 4].map((at) => ({ table: 'cw_v_t', key: `{"id":"${at}"}`, sequence: hex(at) })));
      const [{ rows }] = await client.executeSql({ session: name ?? '', sql: 'SELECT id FROM cw_v_t ORDER BY id' });
      expect(rows?.map(({ values }) => values?.[0]?.stringValue)).toEqual(['1', '3', '4']);
      await host.drop(config);
    });

    test('ends the transaction of a session in place of deleting both', async () => {
      const { endpoint } = await sharedService('spanner');
      await using host = await SpannerHost.create(endpoint);
      await using proxy = await SpannerProxy.create(endpoint);
      await using through = await SpannerHost.create(proxy.endpoint);
      const config = await host.database('GOOGLE_STANDARD_SQL');
      proxy.onDeleteSession = (request) => endTransaction(host.asked(config).client, sessionIn(request));
      const { client, database } = through.asked(config);
      const [{ name }] = await client.createSession({ database });
      const [{ id: transactionId }] = await client.beginTransaction({ session: name ?? '', options: { readWrite: {} } });
      await client.deleteSession({ name: name ?? '' });
      expect(await host.sessions(config)).toEqual([name]);
      const late = client.commit(
        { session: name ?? '', transactionId: transactionId ?? '' },
        { timeout: 10_000, retry: { retryCodes: [] } },
      );
      await expect(late).rejects.toMatchObject({ code: FAILED_PRECONDITION });
      await host.drop(config);
    });
  });
});
