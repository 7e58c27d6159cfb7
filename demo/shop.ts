// A small shop that is never quiet: its tables, and clerks who write to them.
import type pg from 'pg';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '../test/support/random.ts';

export const tables = ['shop.customers', 'shop.orders', 'shop.order_lines', 'shop.documents', 'shop.pulse'] as const;

export const schema = `
CREATE SCHEMA shop;
CREATE TYPE shop.order_state AS ENUM ('placed', 'paid', 'sent', 'returned');

CREATE TABLE shop.customers (
  id bigint PRIMARY KEY,
  email text NOT NULL,
  joined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  balance numeric(20, 4) NOT NULL DEFAULT 0,
  tags text[] NOT NULL DEFAULT '{}',
  profile jsonb
);
CREATE TABLE shop.orders (
  customer_id bigint REFERENCES shop.customers ON DELETE CASCADE ON UPDATE CASCADE,
  number int,
  state shop.order_state NOT NULL DEFAULT 'placed',
  placed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  total numeric(12, 2) NOT NULL,
  PRIMARY KEY (customer_id, number)
);
CREATE TABLE shop.order_lines (
  customer_id bigint,
  number int,
  line smallint,
  sku text NOT NULL,
  quantity int NOT NULL,
  price numeric NOT NULL,
  discounts real[],
  PRIMARY KEY (customer_id, number, line),
  FOREIGN KEY (customer_id, number) REFERENCES shop.orders ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE shop.documents (
  id uuid PRIMARY KEY,
  customer_id bigint NOT NULL,
  title text NOT NULL,
  body text NOT NULL,
  attributes jsonb NOT NULL,
  seen_on date[],
  digest bytea NOT NULL
);
-- An update that leaves a large text as it is does not show that text in the log, unless the old row is in the log whole.
-- With it every change can stand alone, whatever came before it at the copy.
ALTER TABLE shop.documents REPLICA IDENTITY FULL;

-- What the lag is measured with: rows that are written at one side and looked for at the other.
CREATE TABLE shop.pulse (id bigint PRIMARY KEY, sent_at timestamptz NOT NULL DEFAULT clock_timestamp());
`;

export interface Written {
  transactions: number;
  /** Rows that the statements named; what a foreign key's cascade changed comes on top. */
  rows: number;
}

/** Ids of one clerk's customers; another clerk never touches them, so that clerks do not wait for each other. */
const idsOfClerk = 1_000_000;
const customersAtOnce = 20;

/** Each with three orders of two lines. */
const customersBefore = 5_000;

/** What the shop holds before anybody copies it: 200,000 rows where there are four clerks. */
export async function fill(client: pg.Client, clerks: number): Promise<void> {
  const write: Write = async (text, values) => {
    await client.query(text, [...values]);
  };
  for (let number = 1; number <= clerks; number += 1) await welcome(write, number * idsOfClerk, customersBefore);
}

/**
 * Serves customers until the signal: new ones with orders and lines, payments, letters, changed numbers, deletions, and now and
 * then a transaction that is rolled back and must never be seen at the copy. Keeps to about `rowsPerSecond`.
 */
export async function clerk(
  client: pg.Client,
  options: { readonly number: number; readonly seed: number; readonly rowsPerSecond: number; readonly written: Written },
  signal: AbortSignal,
): Promise<void> {
  const random = seededRandom(options.seed * 1_000 + options.number);
  const first = options.number * idsOfClerk;
  let next = first + customersBefore;
  let oldest = first;
  const startedAt = performance.now();
  let rows = 0;

  while (!signal.aborted) {
    const draw = random();
    const within = (share: number): boolean => draw < share;
    await client.query('BEGIN');
    let touched = 0;
    const write = async (text: string, values: readonly unknown[]): Promise<void> => {
      touched += (await client.query(text, [...values])).rowCount ?? 0;
    };
    if (within(0.3) || next - oldest < 5 * customersAtOnce) {
      await welcome(write, next);
      next += customersAtOnce;
    } else if (within(0.75)) {
      await serve(write, oldest + Math.floor(random() * (next - oldest - customersAtOnce)));
    } else if (within(0.9)) {
      await file(write, oldest, next);
    } else if (within(0.95)) {
      // The customer moves to another number, and takes all orders and lines along.
      await write('UPDATE shop.customers SET id = id + $1 WHERE id = $2', [
        idsOfClerk / 2,
        oldest + Math.floor(random() * (next - oldest)),
      ]);
    } else {
      await write('DELETE FROM shop.customers WHERE id >= $1 AND id < $2', [oldest, oldest + 5]);
      oldest += 5;
    }
    const regretted = random() < 0.03;
    await client.query(regretted ? 'ROLLBACK' : 'COMMIT');
    if (!regretted) {
      rows += touched;
      options.written.rows += touched;
      options.written.transactions += 1;
    }
    const dueMs = (rows / options.rowsPerSecond) * 1_000;
    await sleep(Math.max(0, dueMs - (performance.now() - startedAt)), undefined, { signal }).catch(() => undefined);
  }
}

type Write = (text: string, values: readonly unknown[]) => Promise<void>;

async function welcome(write: Write, first: number, customers = customersAtOnce): Promise<void> {
  const last = first + customers - 1;
  await write(
    `INSERT INTO shop.customers (id, email, balance, tags, profile)
     SELECT id, 'c' || id || '@example.org', round((random() * 1000)::numeric, 4), ARRAY['new', 'tier ' || id % 3, NULL],
            jsonb_build_object('score', random(), 'notes', jsonb_build_array(id, NULL, 'ü€😀"\\'), 'big', 12345678901234567890)
     FROM generate_series($1::bigint, $2) id
     ON CONFLICT DO NOTHING`,
    [first, last],
  );
  await write(
    `INSERT INTO shop.orders (customer_id, number, total)
     SELECT id, number, round((random() * 500)::numeric, 2) FROM generate_series($1::bigint, $2) id, generate_series(1, 3) number
     ON CONFLICT DO NOTHING`,
    [first, last],
  );
  await write(
    `INSERT INTO shop.order_lines
     SELECT id, number, line, 'sku-' || (random() * 1000)::int, line * 2, (random() * 100)::numeric, ARRAY[random(), NULL, 0.1]::real[]
     FROM generate_series($1::bigint, $2) id, generate_series(1, 3) number, generate_series(1, 2) line
     ON CONFLICT DO NOTHING`,
    [first, last],
  );
}

async function serve(write: Write, first: number): Promise<void> {
  await write(
    `UPDATE shop.customers SET balance = balance + 0.0001, tags = tags || 'seen'::text, profile = profile || '{"seen": true}' WHERE id >= $1 AND id < $2`,
    [first, first + 10],
  );
  await write(
    `UPDATE shop.orders SET state = (enum_range(NULL::shop.order_state))[1 + (random() * 3)::int], total = total + 0.01
     WHERE customer_id >= $1 AND customer_id < $2`,
    [first, first + 10],
  );
  await write('DELETE FROM shop.order_lines WHERE customer_id = $1 AND line = 2', [first]);
}

async function file(write: Write, oldest: number, next: number): Promise<void> {
  await write(
    `INSERT INTO shop.documents
     SELECT gen_random_uuid(), $1::bigint + (random() * ($2::bigint - $1::bigint))::int, 'letter ' || n, text, jsonb_build_object('pages', n, 'length', length(text)),
            ARRAY[current_date, NULL], sha256(text::bytea)
     FROM generate_series(1, 4) n, LATERAL (SELECT string_agg(md5(random()::text || i || n), '') AS text FROM generate_series(1, 200) i) body`,
    [oldest, next],
  );
  // The large body stays as it is.
  await write(`UPDATE shop.documents SET title = title || '!', seen_on = seen_on || current_date WHERE customer_id BETWEEN $1 AND $2`, [
    oldest,
    oldest + Math.ceil((next - oldest) / 20),
  ]);
}
