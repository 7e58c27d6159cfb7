// The rows that are written at the source: seeded, so that every run writes the same ones.
import type pg from 'pg';

/** About 200 bytes of values a row. */
export const columns = `id bigint PRIMARY KEY, account integer NOT NULL, status text NOT NULL, amount numeric(12,2) NOT NULL,
  changed_at timestamptz NOT NULL, payload text NOT NULL`;

/** Rows of the last transaction: once all of them are at the sink, so is all before, as their keys reach every partition of the log. */
export const finishRows = 64;

const seed = 20_260;

/** 60 % inserts, 30 % updates, 10 % deletes; `sent` is what the probes of the latency runs write. */
export const tables = `
CREATE SCHEMA bench;
CREATE TABLE bench.item (${columns});
CREATE TABLE bench.finish (id integer PRIMARY KEY);
CREATE TABLE bench.pulse (id integer PRIMARY KEY)`;

const procedures = `
CREATE FUNCTION bench.pick(k bigint, i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT abs(hashint8extended(k * 1000003 + i, ${seed})) $$;
CREATE FUNCTION bench.words(id bigint, k bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT repeat(md5(id::text || '/' || k::text), 4) $$;
-- Transaction k of a thousand rows: its own block of ids, of which the first hundred go ten transactions later.
CREATE PROCEDURE bench.write_blocks(first bigint, last bigint) LANGUAGE plpgsql AS $$
BEGIN
  FOR k IN first..last LOOP
    INSERT INTO bench.item SELECT k * 1000 + j, bench.pick(k, j) % 100000, 'open', (bench.pick(k, j) % 1000000) / 100.0,
      timestamptz '2026-01-01' + k * interval '1 second', bench.words(k * 1000 + j, k)
      FROM generate_series(0, CASE WHEN k <= 10 THEN 699 ELSE 599 END) j;
    UPDATE bench.item SET status = 'paid', amount = amount + 1, payload = bench.words(id, k)
      WHERE id IN (SELECT (1 + bench.pick(k, i) % k) * 1000 + 100 + i FROM generate_series(0, 299) i);
    DELETE FROM bench.item WHERE id BETWEEN (k - 10) * 1000 AND (k - 10) * 1000 + 99;
    COMMIT;
  END LOOP;
END $$;
-- The same mixture, each row in a transaction of its own.
CREATE PROCEDURE bench.write_rows(blocks bigint) LANGUAGE plpgsql AS $$
BEGIN
  FOR k IN 1..blocks LOOP
    FOR i IN 0..9 LOOP
      IF i < 6 OR k = 1 THEN
        INSERT INTO bench.item VALUES (k * 10 + i, bench.pick(k, i) % 100000, 'open', (bench.pick(k, i) % 1000000) / 100.0,
          timestamptz '2026-01-01' + k * interval '1 second', bench.words(k * 10 + i, k));
      ELSIF i < 9 THEN
        UPDATE bench.item SET status = 'paid', amount = amount + 1, payload = bench.words(id, k)
          WHERE id = (1 + bench.pick(k, i) % (k - 1)) * 10 + 1 + i % 5;
      ELSE
        DELETE FROM bench.item WHERE id = (k - 1) * 10;
      END IF;
      COMMIT;
    END LOOP;
  END LOOP;
END $$`;

export async function makeTables(client: pg.Client): Promise<void> {
  await client.query(tables);
  await client.query(procedures);
}

/** Returns how many row changes were written. Durability of the load itself is not what is measured. */
export async function writeBacklog(client: pg.Client, kind: 'thousands' | 'single', rows: number): Promise<number> {
  await client.query('SET synchronous_commit = off');
  if (kind === 'thousands') await client.query(`CALL bench.write_blocks(1, ${Math.ceil(rows / 1_000)})`);
  else await client.query(`CALL bench.write_rows(${Math.ceil(rows / 10)})`);
  await client.query('SET synchronous_commit = on');
  await client.query(`INSERT INTO bench.finish SELECT generate_series(1, ${finishRows})`);
  return kind === 'thousands' ? Math.ceil(rows / 1_000) * 1_000 : Math.ceil(rows / 10) * 10;
}

/** What `writeRows` fills. */
export const filledTable = 'bench.item';

/** Rows that are there before a pipeline begins. Durability of the load itself is not what is measured. */
export async function writeRows(client: pg.Client, rows: number): Promise<void> {
  await client.query('SET synchronous_commit = off');
  await client.query(
    `INSERT INTO ${filledTable} SELECT id, bench.pick(id, 1) % 100000, 'open', (bench.pick(id, 2) % 1000000) / 100.0,
       timestamptz '2026-01-01' + id * interval '1 second', bench.words(id, id)
     FROM generate_series(1, ${rows}) id`,
  );
  await client.query('SET synchronous_commit = on');
  await client.query(`VACUUM ANALYZE ${filledTable}`);
}

/** One transaction; about a kilobyte a row. */
export async function writeLargeTransaction(client: pg.Client, rows: number): Promise<void> {
  await client.query(
    `INSERT INTO bench.item SELECT id, id % 100000, 'open', (id % 1000000) / 100.0, timestamptz '2026-01-01', repeat(md5(id::text), 30)
     FROM generate_series(1, ${rows}) id`,
  );
  await client.query(`INSERT INTO bench.finish SELECT generate_series(1, ${finishRows})`);
}
