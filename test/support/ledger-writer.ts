// Writers for tests with crashes: each transaction leaves a unique mark beside updates, deletions and key changes, and each
// writer keeps account of what was answered. accounting.ts judges what arrived.
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { seededRandom } from './random.ts';

export const ledgerTables = ['ledger.marks', 'ledger.accounts', 'ledger.tokens', 'ledger.papers', 'ledger.totals', 'ledger.notes'] as const;

const accountsOfWriter = 40;
const tokensOfWriter = 10;
const papersOfWriter = 6;
const totals = 5;
const notesOfWriter = 100;
const keysOfWriter = 1_000;

export const ledgerSchema = `
CREATE SCHEMA ledger;
-- One row for each transaction: what was committed, and nothing else, has its mark.
CREATE TABLE ledger.marks (writer int, number bigint, PRIMARY KEY (writer, number));
-- Rows that come, change and go.
CREATE TABLE ledger.accounts (id int PRIMARY KEY, balance bigint NOT NULL, marked_by bigint NOT NULL);
-- Rows whose key changes back and forth, so that each of two keys is deleted and made again.
CREATE TABLE ledger.tokens (id int PRIMARY KEY, moves bigint NOT NULL);
-- Rows with a large text that most updates leave alone and the log then leaves out.
CREATE TABLE ledger.papers (id int PRIMARY KEY, body text NOT NULL, revision bigint NOT NULL);
ALTER TABLE ledger.papers ALTER COLUMN body SET STORAGE EXTERNAL;
-- Rows that all writers change: here the order of commits decides the value.
CREATE TABLE ledger.totals (id int PRIMARY KEY, changes bigint NOT NULL, marked_by bigint NOT NULL);
-- Rows that go away all at once, by a TRUNCATE now and then.
CREATE TABLE ledger.notes (id int PRIMARY KEY, marked_by bigint NOT NULL);
`;

export interface WriterAccount {
  readonly writer: number;
  /** Transactions whose COMMIT was answered. */
  readonly committed: Set<number>;
  lastNumber: number;
}

export function openAccount(writer: number): WriterAccount {
  return { writer, committed: new Set(), lastNumber: 0 };
}

export interface WriterOptions {
  readonly connect: () => Promise<pg.Client>;
  readonly seed: number;
  readonly transactionsPerSecond: number;
}

/** Writes until the signal. A server that is away is waited for; a transaction that was under way then is left undecided. */
export async function writer(account: WriterAccount, options: WriterOptions, signal: AbortSignal): Promise<void> {
  const random = seededRandom(options.seed);
  while (!signal.aborted) {
    try {
      await session(account, options, random, signal);
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
      await pause(100, signal);
    }
  }
}

async function session(account: WriterAccount, options: WriterOptions, random: () => number, signal: AbortSignal): Promise<void> {
  const client = await options.connect();
  try {
    await open(client, account.writer);
    while (!signal.aborted) {
      const startedMs = performance.now();
      await transaction(client, account, random);
      await pause(1_000 / options.transactionsPerSecond - (performance.now() - startedMs), signal);
    }
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Makes the writer's rows, once. */
async function open(client: pg.Client, writer: number): Promise<void> {
  const base = writer * keysOfWriter;
  await client.query(`
    INSERT INTO ledger.accounts SELECT id, 0, 0 FROM generate_series(${base}, ${base + accountsOfWriter - 1}) id ON CONFLICT DO NOTHING;
    INSERT INTO ledger.papers
    SELECT id, (SELECT string_agg(md5(id::text || i), '') FROM generate_series(1, 150) i), 0
    FROM generate_series(${base}, ${base + papersOfWriter - 1}) id ON CONFLICT DO NOTHING;
    INSERT INTO ledger.totals SELECT id, 0, 0 FROM generate_series(0, ${totals - 1}) id ON CONFLICT DO NOTHING;
    INSERT INTO ledger.tokens
    SELECT id, 0 FROM generate_series(${base}, ${base + 2 * tokensOfWriter - 2}, 2) id
    WHERE NOT EXISTS (SELECT FROM ledger.tokens WHERE id BETWEEN ${base} AND ${base + keysOfWriter - 1})`);
}

async function transaction(client: pg.Client, account: WriterAccount, random: () => number): Promise<void> {
  const { writer } = account;
  account.lastNumber += 1;
  const number = account.lastNumber;
  const base = writer * keysOfWriter;
  const among = (count: number): number => base + Math.floor(random() * count);
  const isRegretted = random() < 0.05;

  await client.query('BEGIN');
  await client.query('INSERT INTO ledger.marks VALUES ($1, $2)', [writer, number]);
  const first = among(accountsOfWriter - 3);
  await client.query('UPDATE ledger.accounts SET balance = balance + 1, marked_by = $1 WHERE id BETWEEN $2 AND $3', [
    number,
    first,
    first + 3,
  ]);
  if (random() < 0.2) await client.query('DELETE FROM ledger.accounts WHERE id = $1', [first]);
  if (random() < 0.2) {
    await client.query(
      `INSERT INTO ledger.accounts VALUES ($1, 0, $2)
       ON CONFLICT (id) DO UPDATE SET balance = ledger.accounts.balance - 1, marked_by = excluded.marked_by`,
      [among(accountsOfWriter), number],
    );
  }
  const token = base + 2 * Math.floor(random() * tokensOfWriter);
  await client.query('UPDATE ledger.tokens SET id = id # 1, moves = moves + 1 WHERE id IN ($1::int, $1::int + 1)', [token]);
  const paper = among(papersOfWriter);
  const draw = random();
  if (draw < 0.8) await client.query('UPDATE ledger.papers SET revision = revision + 1 WHERE id = $1', [paper]);
  else if (draw < 0.9)
    await client.query('UPDATE ledger.papers SET body = left(md5($2::text) || body, 4800), revision = revision + 1 WHERE id = $1', [
      paper,
      number,
    ]);
  else {
    await client.query('DELETE FROM ledger.papers WHERE id = $1', [paper]);
    await client.query('INSERT INTO ledger.papers VALUES ($1, repeat(md5($2::text), 150), 0)', [paper, number]);
  }
  // Late, as every writer wants these rows.
  await client.query('UPDATE ledger.totals SET changes = changes + 1, marked_by = $2 WHERE id = $1', [
    Math.floor(random() * totals),
    number,
  ]);
  // Last: a truncate waits for all who hold the table, and they wait for nothing behind it.
  if (random() < 0.01) await client.query('TRUNCATE ledger.notes');
  else {
    await client.query('INSERT INTO ledger.notes VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET marked_by = excluded.marked_by', [
      among(notesOfWriter),
      number,
    ]);
  }
  await client.query(isRegretted ? 'ROLLBACK' : 'COMMIT');
  if (!isRegretted) account.committed.add(number);
}

/** SQLSTATE classes 08 (connection) and 57 (shut down, terminated), and what the socket says. */
function isConnectionLoss(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error ? String(error.code) : '';
  return /^(08|57)/.test(code) || /^E[A-Z]+$/.test(code) || code === '';
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms > 0) await sleep(ms, undefined, { signal }).catch(() => undefined);
}
