// What tables of a Postgres source have besides columns and key, at a Postgres sink.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { controlKeys, type TableRow } from '#core/control-rows.ts';
import type { Finding } from '#core/finding.ts';
import { tableIdOf, tableIdParts, type DescribedTable, type TableId } from '#core/schema.ts';
import type { Sink } from '#core/sink.ts';

import { configSchema } from '../../connectors/sink-postgres/config.ts';
import { connector } from '../../connectors/sink-postgres/index.ts';
import { connectors } from '../../connectors/registry.ts';
import { runCommandLine } from '../../src/cli/program.ts';
import { sequenceAt, upsertAt } from '../contract/sink.ts';
import { postgresSource } from '../support/postgres-source.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';
import { takePartition } from '../support/postgres-sink-context.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { realRuntime } from '../support/test-runtime.ts';

const signal = AbortSignal.timeout(300_000);

const TABLES = `
  CREATE DOMAIN public.amount AS numeric(10, 2) NOT NULL DEFAULT 1 CONSTRAINT "not negative" CHECK (VALUE >= 0);
  CREATE DOMAIN public."Small amount" AS public.amount CHECK (VALUE < 1000);
  CREATE DOMAIN public.email AS varchar(40) COLLATE "C" CHECK (VALUE LIKE '%@%');
  CREATE TYPE public.mood AS ENUM ('sad', 'glad');
  CREATE DOMAIN public.good_mood AS public.mood CHECK (VALUE <> 'sad');
  CREATE FUNCTION public.is_odd(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 2 = 1';
  CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := ''touched''; RETURN NEW; END';
  CREATE TABLE public.customers (
    id int GENERATED ALWAYS AS IDENTITY (START WITH 5 INCREMENT BY 5) PRIMARY KEY,
    mail public.email, owes public."Small amount", parts public.amount[], mood public.good_mood,
    code text CONSTRAINT customers_code UNIQUE, note text DEFAULT 'none', name text NOT NULL CHECK (name <> ''),
    loud text GENERATED ALWAYS AS (upper(name)) STORED);
  CREATE INDEX "lower name" ON public.customers (lower(name) text_pattern_ops DESC) INCLUDE (code) WITH (fillfactor = 70);
  CREATE UNIQUE INDEX customers_mail ON public.customers (mail) WHERE mail IS NOT NULL;
  CREATE INDEX customers_odd ON public.customers (id) WHERE public.is_odd(id);
  CREATE INDEX customers_loud ON public.customers (loud);
  CREATE TRIGGER "touch it" BEFORE INSERT OR UPDATE OF name ON public.customers FOR EACH ROW WHEN (new.code IS NULL) EXECUTE FUNCTION public.touch();
  CREATE TRIGGER quiet AFTER DELETE ON public.customers FOR EACH STATEMENT EXECUTE FUNCTION public.touch();
  ALTER TABLE public.customers DISABLE TRIGGER quiet;
  CREATE TABLE public.orders (
    id bigserial PRIMARY KEY, customer int NOT NULL REFERENCES public.customers (id) ON DELETE CASCADE DEFERRABLE,
    code text REFERENCES public.customers (code), during tsrange, EXCLUDE USING gist (during WITH &&));
  CREATE INDEX ON public.orders (customer);`;

describePostgres('companions', (major) => {
  let from: TestDatabase;
  let to: TestDatabase;
  const opened: Sink[] = [];

  beforeEach(async () => {
    from = await TestDatabase.create(major);
    to = await TestDatabase.create(major);
  });
  afterEach(async () => {
    for (const sink of opened.splice(0)) await sink[Symbol.asyncDispose]();
    await from.close();
    await to.close();
  });

  async function described(...tables: string[]): Promise<DescribedTable[]> {
    await using source = postgresSource({ url: from.url, pipeline: `c${from.name}`, tables: tables.length === 0 ? ['public.*'] : tables });
    const facts = await source.inspect(signal);
    expect(facts.refused).toEqual([]);
    return facts.tables.map(({ schema, companions }) => ({ ...schema, companions }));
  }

  function open(config: Readonly<Record<string, unknown>> = {}, target: (table: TableId) => TableId = (table) => table): Sink {
    const sink = connector.create({
      config: configSchema.parse({ kind: 'postgres', url: to.url, provision: 'create', ...config }),
      pipeline: 'p',
      sink: 's',
      partitions: 1,
      target,
      onRetry: () => undefined,
      context: { runtime: realRuntime(), logger: silentLogger },
    });
    opened.push(sink);
    return sink;
  }

  async function found(sink: Sink, tables: readonly DescribedTable[], id: string): Promise<Finding> {
    const finding = (await sink.check(tables, signal)).find((one) => one.id === id);
    if (finding === undefined) throw new Error(`no finding ${id}`);
    return finding;
  }

  async function indexes(database: TestDatabase, schema = 'public'): Promise<string[]> {
    const rows = await database.query<{ indexdef: string }>('SELECT indexdef FROM pg_indexes WHERE schemaname = $1 ORDER BY indexname', [
      schema,
    ]);
    return rows.map(({ indexdef }) => indexdef);
  }

  /** All that a promotion is about, as the server prints it. */
  async function shape(database: TestDatabase): Promise<unknown> {
    const one = async (text: string): Promise<unknown> => database.query(text);
    return {
      indexes: await indexes(database),
      constraints: await one(
        `SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid <> 0 ORDER BY 1, 2`,
      ),
      domains: await one(
        `SELECT t.typname, t.typnotnull, t.typdefault, format_type(t.typbasetype, t.typtypmod), pg_get_constraintdef(k.oid), k.conname
         FROM pg_type t LEFT JOIN pg_constraint k ON k.contypid = t.oid AND k.contype = 'c' WHERE t.typtype = 'd' AND t.typnamespace = 'public'::regnamespace ORDER BY 1, 6`,
      ),
      triggers: await one(`SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1`),
      columns: await one(
        `SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid)
         FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
         WHERE attrelid IN ('public.customers'::regclass, 'public.orders'::regclass) AND attnum > 0 ORDER BY 1, 2`,
      ),
      sequences: await one(
        `SELECT seqrelid::regclass::text, seqstart, seqincrement, seqmax, seqcache, seqcycle FROM pg_sequence ORDER BY 1`,
      ),
    };
  }

  test('domains and indexes are made, unique ones as plain, and what cannot be made stops nothing', async () => {
    await from.query(TABLES);
    const tables = await described();
    const sink = open();
    await sink.provision(tables, signal);
    expect(await indexes(to)).toEqual([
      `CREATE INDEX customers_code ON public.customers USING btree (code)`,
      `CREATE INDEX customers_mail ON public.customers USING btree (mail) WHERE (mail IS NOT NULL)`,
      expect.stringContaining('customers_pkey'),
      `CREATE INDEX "lower name" ON public.customers USING btree (lower(name) text_pattern_ops DESC) INCLUDE (code) WITH (fillfactor='70')`,
      `CREATE INDEX orders_customer_idx ON public.orders USING btree (customer)`,
      expect.stringMatching(/^CREATE INDEX orders_during_excl ON public.orders USING gist/),
      expect.stringContaining('orders_pkey'),
    ]);
    const types = await to.query<{ name: string; type: string }>(
      `SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 'public.customers'::regclass AND attnum > 0`,
    );
    expect(Object.fromEntries(types.map(({ name, type }) => [name, type]))).toMatchObject({
      mail: 'email',
      owes: '"Small amount"',
      parts: 'amount[]',
      mood: 'good_mood',
    });
    for (const table of tables) expect(await sink.differences(table, signal)).toEqual([]);
    const finding = await found(sink, tables, 'TP-014');
    expect(finding.level).toBe('warning');
    expect(finding.details).toEqual([
      'index customers_loud on public.customers is missing',
      'index customers_odd on public.customers is missing',
    ]);
    expect(finding.mend.join('\n')).toContain('--section=pre-data');
    expect(finding.mend.at(-1)).toBe(
      'CREATE INDEX CONCURRENTLY IF NOT EXISTS "customers_odd" ON "public"."customers" USING btree (id) WHERE public.is_odd(id);',
    );
    expect((await sink.check(tables, signal)).filter(({ level }) => level === 'error')).toEqual([]);

    // The domains hold what they say, and two rows with one mail pass.
    const customers = tables.find(({ table }) => table === tableIdOf('public', 'customers'));
    if (customers === undefined) throw new Error('no customers');
    const row = (id: string, owes: string): ReturnType<typeof upsertAt> =>
      upsertAt(customers, sequenceAt(1), [id, 'a@b', owes, '["1","2.5"]', 'glad', 'same', null, 'x']);
    expect(customers.columns.map(({ name }) => name)).toEqual(['id', 'mail', 'owes', 'parts', 'mood', 'code', 'note', 'name']);
    const partition = await takePartition(sink, 0, signal);
    const outcomes = await partition.apply(
      { rows: [row('1', '1'), row('2', '999'), row('3', '1000'), row('4', '-1')], progress: null },
      signal,
    );
    expect(outcomes.map(({ tag }) => tag)).toEqual(['applied', 'applied', 'rejected', 'rejected']);

    // The function comes, and the table holds rows: the statement is for a person, and is right.
    await to.query(`CREATE FUNCTION public.is_odd(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 2 = 1'`);
    await sink.provision(tables, signal);
    expect((await found(sink, tables, 'TP-014')).details).toHaveLength(2);
    await to.query(finding.mend.at(-1) ?? '');
    expect((await found(sink, tables, 'TP-014')).details).toEqual(['index customers_loud on public.customers is missing']);
  });

  test('provisioned twice, and by several at once, under other names', async () => {
    await from.query(TABLES);
    const tables = await described();
    const mapped = (table: TableId): TableId => tableIdOf('copy of', `the ${tableIdParts(table).name}`);
    await Promise.all([1, 2, 3].map(() => open({}, mapped).provision(tables, signal)));
    const sink = open({}, mapped);
    const made = await indexes(to, 'copy of');
    await sink.provision(tables, signal);
    expect(await indexes(to, 'copy of')).toEqual(made);
    expect(made).toHaveLength(7);
    expect(made).toContain(`CREATE INDEX customers_code ON "copy of"."the customers" USING btree (code)`);
    for (const table of tables) expect(await sink.differences(table, signal)).toEqual([]);
    await to.query(`CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`);
    await to.query(`CREATE FUNCTION public.is_odd(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 2 = 1'`);
    await to.query((await found(sink, tables, 'TP-015')).mend.join('\n'));
    expect((await found(sink, tables, 'TP-015')).mend).toEqual([]);
    const [refers] = await to.query<{ refers: string }>(
      `SELECT pg_get_constraintdef(oid) AS refers FROM pg_constraint WHERE contype = 'f' AND conname = 'orders_customer_fkey'`,
    );
    expect(refers?.refers).toContain('REFERENCES "copy of"."the customers"(id)');
  });

  test('an index whose name another table of the sink has is made under another one', async () => {
    await from.query(`CREATE SCHEMA other;
      CREATE TABLE public.t (id int PRIMARY KEY, v int); CREATE INDEX v_idx ON public.t (v);
      CREATE TABLE other.t (id int PRIMARY KEY, v int); CREATE INDEX v_idx ON other.t (v DESC)`);
    const mapped = (table: TableId): TableId => tableIdOf('copy', table.replace('.', '_'));
    const sink = open({}, mapped);
    const tables = await described('public.t', 'other.t');
    await sink.provision(tables, signal);
    await sink.provision(tables, signal);
    expect((await indexes(to, 'copy')).filter((text) => text.includes('v_idx'))).toHaveLength(2);
    expect((await found(sink, tables, 'TP-014')).level).toBe('ok');
  });

  test('after the drain, the statements of `check` make the replicated tables what the source has', async () => {
    await from.query(TABLES);
    await from.query(`ALTER DOMAIN public.email ADD CONSTRAINT short CHECK (length(VALUE) < 30) NOT VALID`);
    const tables = await described();
    const sink = open();
    await sink.provision(tables, signal);
    // The way of docs/promotion.md for functions.
    await to.query(`CREATE FUNCTION public.is_odd(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 2 = 1';
      CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := ''touched''; RETURN NEW; END'`);
    await to.query(`INSERT INTO public.customers (id, mail, owes, name) VALUES (5, 'a@b', 1, 'x'), (35, 'c@d', 1, 'y');
      INSERT INTO public.orders (id, customer) VALUES (1, 5), (7, 35)`);
    const finding = await found(sink, tables, 'TP-015');
    expect(finding.level).toBe('ok');
    await to.query(finding.mend.join('\n'));
    expect(await shape(to)).toEqual(await shape(from));
    expect((await found(sink, tables, 'TP-015')).mend).toEqual([]);
    const [order] = await to.query<{ id: string; customer: number }>(
      `WITH c AS (INSERT INTO public.customers (mail, owes, name) VALUES ('e@f', 1, 'z') RETURNING id, note)
       SELECT c.id AS customer, c.note FROM c`,
    );
    expect(order).toEqual({ customer: 40, note: 'touched' });
    expect(await to.query('INSERT INTO public.orders (customer) VALUES (40) RETURNING id')).toEqual([{ id: '8' }]);
    await expect(to.query('INSERT INTO public.orders (customer) VALUES (41)')).rejects.toMatchObject({ code: '23503' });
    await expect(to.query(`INSERT INTO public.customers (mail, owes, name) VALUES ('e@f', 1, 'w')`)).rejects.toMatchObject({
      code: '23505',
    });
  });

  test('a domain that cannot be made leaves its base type, and comes back with a promotion', async () => {
    await from.query(`CREATE FUNCTION public.is_odd(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 2 = 1';
      CREATE DOMAIN public.odd AS int CHECK (public.is_odd(VALUE)); CREATE DOMAIN public.label AS varchar(9);
      CREATE DOMAIN public.odd_label AS public.label CHECK (public.is_odd(length(VALUE)));
      CREATE TABLE public.t (id int PRIMARY KEY, o public.odd, os public.odd[], l public.odd_label)`);
    const tables = await described();
    const [table] = tables;
    if (table === undefined) throw new Error('no table');
    const sink = open();
    await sink.provision(tables, signal);
    const columns = async (): Promise<unknown> =>
      to.query(`SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attnum) AS types FROM pg_attribute
        WHERE attrelid = 'public.t'::regclass AND attnum > 0`);
    expect(await columns()).toEqual([{ types: 'integer integer integer[] label' }]);
    expect(await sink.differences(table, signal)).toEqual([]);
    const finding = await found(sink, tables, 'TP-014');
    expect(finding.details).toEqual([
      'column o of public.t has the type integer in place of the domain public.odd',
      'column os of public.t has the type integer[] in place of the domain public.odd[]',
      'column l of public.t has the type public.label in place of the domain public.odd_label',
    ]);
    const partition = await takePartition(sink, 0, signal);
    expect(await partition.apply({ rows: [upsertAt(table, sequenceAt(1), ['1', '3', '["5"]', 'abc'])], progress: null }, signal)).toEqual([
      { tag: 'applied' },
    ]);
    await to.query(`CREATE FUNCTION public.is_odd(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 2 = 1'`);
    // A domain that comes later does not make a difference of the columns that hold its base type.
    await to.query('CREATE DOMAIN public.odd AS int CHECK (public.is_odd(VALUE))');
    expect(await sink.differences(table, signal)).toEqual([]);
    await to.query((await found(sink, tables, 'TP-015')).mend.join('\n'));
    expect(await columns()).toEqual([{ types: 'integer odd odd[] odd_label' }]);
    // The sink takes the domain too, once it is there.
    expect(await sink.differences(table, signal)).toEqual([]);
    expect((await found(sink, tables, 'TP-014')).level).toBe('ok');
  });

  test('the inline register takes the base type where a tombstone has null', async () => {
    await from.query(`CREATE DOMAIN public.amount AS int NOT NULL CHECK (VALUE > 0);
      CREATE TABLE public.t (id public.amount PRIMARY KEY, v public.amount, w int UNIQUE)`);
    const tables = await described();
    const [table] = tables;
    if (table === undefined) throw new Error('no table');
    await to.query('CREATE DOMAIN public.amount AS int NOT NULL CHECK (VALUE > 0)');
    const sink = open({ register: 'inline' });
    await sink.provision(tables, signal);
    const partition = await takePartition(sink, 0, signal);
    const remove = {
      tag: 'delete',
      schema: table,
      key: upsertAt(table, sequenceAt(2), ['1', '1', '1']).key,
      sequence: sequenceAt(2),
    } as const;
    for (const change of [upsertAt(table, sequenceAt(1), ['1', '1', '1']), remove]) {
      expect(await partition.apply({ rows: [change], progress: null }, signal)).toEqual([{ tag: 'applied' }]);
    }
    expect(await sink.differences(table, signal)).toEqual([]);
    await to.query((await found(sink, tables, 'TP-015')).mend.join('\n'));
    expect(await to.query('SELECT * FROM public.t')).toEqual([]);
    expect((await indexes(to)).join()).toContain('CREATE UNIQUE INDEX t_w_key');
  });

  test('`provision: check` asks for the domains and the tables, and never stops for an index', async () => {
    await from.query(TABLES);
    const tables = await described();
    const sink = open({ provision: 'check' });
    const error: unknown = await sink.provision(tables, signal).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'sink_misconfigured' });
    const text = (error as Error).message;
    expect(text).toContain('CREATE INDEX IF NOT EXISTS "customers_mail"');
    const statements = text.slice(text.indexOf('\n')).split(';\n');
    await to.query(statements.filter((statement) => !/customers_(odd|loud)/.test(statement)).join(';\n'));
    await to.query('DROP INDEX public.customers_code');
    await sink.provision(tables, signal);
    expect((await found(sink, tables, 'TP-014')).details.join()).toContain('customers_code');
  });

  test('an index or trigger made at the source changes what is told, and no fingerprint', async () => {
    await from.query('CREATE TABLE public.t (id int PRIMARY KEY, v int)');
    await using source = postgresSource({ url: from.url, pipeline: `c${from.name}`, tables: ['public.t'] });
    const look = async (): Promise<{
      readonly fingerprint: { readonly hash: string };
      readonly companions?: { readonly hash: string } | undefined;
    }> => {
      const [table] = (await source.inspect(signal)).tables;
      if (table === undefined) throw new Error('no table');
      return table;
    };
    const before = await look();
    expect(await look()).toEqual(before);
    await from.query('CREATE INDEX ON public.t (v)');
    const after = await look();
    expect(after.fingerprint).toEqual(before.fingerprint);
    expect(after.companions?.hash).not.toBe(before.companions?.hash);
  });

  test('indexes and triggers of a partitioned table are told once, as the root has them', async () => {
    await from.query(`CREATE TABLE public.p (id int, day int, v int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
      CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (10);
      CREATE INDEX p_v ON public.p (v); CREATE UNIQUE INDEX p_u ON public.p (v, day);
      CREATE TABLE public.r (id int PRIMARY KEY, i int, d int, FOREIGN KEY (i, d) REFERENCES public.p)`);
    const tables = await described('public.p', 'public.r');
    const sink = open();
    await sink.provision(tables, signal);
    expect((await found(sink, tables, 'TP-014')).level).toBe('ok');
    await to.query((await found(sink, tables, 'TP-015')).mend.join('\n'));
    expect((await indexes(to)).slice(0, 3)).toEqual([
      expect.stringContaining('p_pkey'),
      'CREATE UNIQUE INDEX p_u ON public.p USING btree (v, day)',
      'CREATE INDEX p_v ON public.p USING btree (v)',
    ]);
    expect(await to.query(`SELECT 1 AS one FROM pg_constraint WHERE contype = 'f'`)).toEqual([{ one: 1 }]);
  });

  test('`check` prints the statements when the source is gone', async () => {
    await from.query(TABLES);
    const tables = await described();
    await open().provision(tables, signal);
    const folder = mkdtempSync(join(tmpdir(), 'causeway-companions-'));
    try {
      const file = join(folder, 'causeway.yaml');
      writeFileSync(
        file,
        `control: { kind: embedded, path: ${folder}/control.db }
pipelines:
  p:
    source: { kind: postgres, url: "postgres://u@127.0.0.1:1/none", tables: [public.*] }
    log: { kind: embedded, path: ${folder}/log.db }
    sinks: { s: { kind: postgres, url: "${to.url}", provision: create } }
`,
      );
      const control = await connectors.control['embedded']?.();
      if (control === undefined) throw new Error('no control store');
      {
        const config = { kind: 'embedded', path: join(folder, 'control.db') };
        await using store = control.create({ config, leaseTtlMs: 15_000, context: { runtime: realRuntime(), logger: silentLogger } });
        for (const { companions, ...schema } of tables) {
          const row: TableRow = {
            ...{ table: schema.table, state: 'streaming', reason: null, schemas: [schema], reconcileWanted: 0, companions },
            fingerprint: { hash: 'x', facts: null },
          };
          await store.swap({ key: controlKeys.table('p', schema.table), value: row, expected: null }, signal);
        }
      }
      const said = { out: '', err: '' };
      const io = { stdout: (text: string) => void (said.out += text), stderr: (text: string) => void (said.err += text), env: {}, signal };
      await runCommandLine(['check', '--only', 'sink', '-c', file], io);
      expect(said.out).toContain('compared with what capture last stored');
      expect(said.out).toMatch(/^ +ALTER TABLE "public"\."orders" ADD CONSTRAINT "orders_customer_fkey" FOREIGN KEY/m);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
