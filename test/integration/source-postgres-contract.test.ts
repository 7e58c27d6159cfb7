import type pg from 'pg';
import { type ItemChange, sourceContract } from '../contract/source.ts';
import { postgresSource } from '../support/postgres-source.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';

describePostgres('the Postgres source', (major) => {
  sourceContract('postgres', async () => {
    const database = await TestDatabase.create(major);
    const client = await database.connect();
    await client.query('CREATE TABLE items (id text PRIMARY KEY, value text)');
    return {
      source: () => postgresSource({ url: database.url, pipeline: database.name, tables: ['public.items'] }),
      commit: (rows) => commit(client, rows),
      [Symbol.asyncDispose]: async () => {
        await client.end();
        await database.close();
      },
    };
  });
});

async function commit(client: pg.Client, rows: readonly ItemChange[]): Promise<void> {
  await client.query('BEGIN');
  for (const row of rows) {
    if (row.op === 'insert') await client.query('INSERT INTO items VALUES ($1, $2)', [row.id, row.value]);
    else if (row.op === 'update') await client.query('UPDATE items SET value = $2 WHERE id = $1', [row.id, row.value]);
    else if (row.op === 'delete') await client.query('DELETE FROM items WHERE id = $1', [row.id]);
    else await client.query('TRUNCATE items');
  }
  await client.query('COMMIT');
}
