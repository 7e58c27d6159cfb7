// A policy that hides rows from our role has to be an error, at the source and at a sink: fewer rows would look like deleted ones
// (counterexample 21).
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { TableId } from '#core/schema.ts';
import { contractColumn, contractSchema, passFloor, sequenceAt, upsertAt } from '../contract/sink.ts';
import { postgresSink, takePartition } from '../support/postgres-sink-context.ts';
import { postgresSource } from '../support/postgres-source.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';

const signal = AbortSignal.timeout(110_000);

describePostgres('row-level security', (major) => {
  let database: TestDatabase;
  let role: string;

  beforeEach(async () => {
    database = await TestDatabase.create(major);
    role = `role_${database.name}`;
    await database.query(
      `CREATE ROLE ${role} LOGIN REPLICATION PASSWORD 'p'; CREATE TABLE orders (id int8 PRIMARY KEY, a text);
       INSERT INTO orders VALUES (1, 'hidden'); GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role}; GRANT ALL ON DATABASE ${database.name} TO ${role}`,
    );
  });
  afterEach(async () => {
    await database.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    await database.close();
  });

  const hide = (): Promise<unknown> =>
    database.query('ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON orders USING (id > 1)');

  test('of the source: a table whose rows are hidden is never taken for an empty one', async () => {
    await hide();
    await using source = postgresSource({ url: database.urlAs(role, 'p'), pipeline: database.name, tables: ['public.orders'] });
    await expect(source.inspect(signal)).rejects.toMatchObject({ code: 'source_permission' });
    expect((await source.check(signal)).find(({ id }) => id === 'PG-006')).toMatchObject({ level: 'error' });
    await database.query(`ALTER ROLE ${role} BYPASSRLS`);
    expect((await source.inspect(signal)).tables.map(({ holdsRows }) => holdsRows)).toEqual([true]);
  });

  for (const register of ['sidecar', 'inline']) {
    test(`of a sink: nothing is written, swept or read past it (${register})`, async () => {
      const schema = contractSchema('public.orders' as TableId, [
        contractColumn('id', 'bigint', { tag: 'int', bits: 64, unsigned: false }, false),
        contractColumn('a', 'text', { tag: 'text' }),
      ]);
      await using owner = postgresSink(database.url, { register });
      await owner.provision([schema], signal);
      await owner.claim({ owner: 'o', known: false }, signal);
      await database.query(`GRANT ALL ON SCHEMA causeway TO ${role}; GRANT ALL ON ALL TABLES IN SCHEMA causeway TO ${role}`);
      await hide();
      await using sink = postgresSink(database.urlAs(role, 'p'), { register, provision: 'check' });
      await using partition = await takePartition(sink, 0, signal);
      const rows = [upsertAt(schema, sequenceAt(1), ['1', 'x'])];
      await expect(partition.apply({ rows, progress: null }, signal)).rejects.toMatchObject({ code: 'sink_misconfigured' });
      await expect(sink.holdsRows(schema, signal)).rejects.toMatchObject({ code: 'sink_misconfigured' });
      const floor = { table: schema.table, sequence: sequenceAt(2) };
      await passFloor(sink, floor, signal, partition);
      await expect(sink.sweep(schema, floor, signal)).rejects.toMatchObject({
        code: 'sink_misconfigured',
      });
      expect(await database.query('SELECT a FROM orders')).toEqual([{ a: 'hidden' }]);
    });
  }
});
