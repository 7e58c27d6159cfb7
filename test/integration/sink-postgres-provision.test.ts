import { afterEach, beforeEach, expect, it } from 'vitest';

import { CausewayError } from '#core/errors.ts';
import type { Finding } from '#core/finding.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { Sink } from '#core/sink.ts';

import { contractColumn, contractSchema, passFloor, scanned, sequenceAt, upsertAt } from '../contract/sink.ts';
import { moodLabels } from '../support/canonical-values.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';
import { postgresSink, takePartition } from '../support/postgres-sink-context.ts';

const never = new AbortController().signal;
const id = contractColumn('id', 'bigint', { tag: 'int', bits: 64, unsigned: false }, false);
const plain = contractSchema('app.orders' as TableId, [id, contractColumn('a', 'text', { tag: 'text' }, false)]);

describePostgres('sink-postgres provision and check', (major) => {
  let database: TestDatabase;
  let opened: Sink[];

  beforeEach(async () => {
    database = await TestDatabase.create(major);
    opened = [];
  });
  afterEach(async () => {
    for (const sink of opened) await sink[Symbol.asyncDispose]();
    await database.close();
  });

  const open = (config = {}): Sink => {
    const sink = postgresSink(database.url, config);
    opened.push(sink);
    return sink;
  };
  const refusal = async (work: Promise<unknown>): Promise<CausewayError> => {
    const error = await work.then(
      () => null,
      (reason: unknown) => reason,
    );
    if (error instanceof CausewayError) return error;
    throw new Error('not a CausewayError', { cause: error });
  };

  it.each(['sidecar', 'inline'])('`check` changes nothing and prints statements that mend it (%s)', async (register) => {
    const sink = open({ provision: 'check', register });
    const error = await refusal(sink.provision([plain], never));
    expect(error.code).toBe('sink_misconfigured');
    const tables = await database.query("SELECT 1 FROM pg_namespace WHERE nspname IN ('causeway', 'app')");
    expect(tables).toEqual([]);
    const finding = (await sink.check([plain], never)).find((one) => one.id === 'TP-004');
    expect(finding?.level).toBe('error');
    await database.query(error.message.slice(error.message.indexOf('\n')));
    await sink.provision([plain], never);
    expect(await sink.differences(plain, never)).toEqual([]);
    const partition = await takePartition(sink, 0, never);
    const rows = [upsertAt(plain, sequenceAt(1), ['1', 'x'])];
    expect(await partition.apply({ rows, progress: null }, never)).toEqual([{ tag: 'applied' }]);
    expect((await sink.check([plain], never)).filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('of a table that is there already `check` asks for its primary key only: the version table will be made', async () => {
    await database.query('CREATE SCHEMA app; CREATE TABLE app.orders (id bigint NOT NULL, a text)');
    const sink = open({ provision: 'create' });
    const keyFinding = async (): Promise<Finding | undefined> => (await sink.check([plain], never)).find((one) => one.id === 'TP-006');
    const finding = await keyFinding();
    expect(finding?.details).toEqual(['table app.orders has no primary key']);
    for (const statement of finding?.mend ?? []) await database.query(statement);
    expect((await keyFinding())?.level).toBe('ok');
  });

  it('`create` makes enums, keeps domains where the target has them, and takes their base type where not', async () => {
    const mood = { tag: 'enum', labels: moodLabels } as const;
    const schema = contractSchema('app.people' as TableId, [
      id,
      contractColumn('m', 'app."Mood"', mood),
      contractColumn('ms', 'app."Mood"[]', { tag: 'array', element: mood }),
      contractColumn('kept', 'public.positive', { tag: 'int', bits: 32, unsigned: false }),
      contractColumn('plain', 'public.email', { tag: 'text' }),
    ]);
    await database.query('CREATE DOMAIN public.positive AS integer CHECK (VALUE > 0)');
    const sink = open();
    await sink.provision([schema], never);
    expect(await sink.differences(schema, never)).toEqual([]);
    const partition = await takePartition(sink, 0, never);
    const rows = [
      ...moodLabels.map((label, at) => upsertAt(schema, sequenceAt(1), [String(at), label, JSON.stringify([label, null]), '1', 'x'])),
      upsertAt(schema, sequenceAt(1), ['98', 'unheard of', null, '1', 'x']),
      upsertAt(schema, sequenceAt(1), ['99', null, null, '-1', 'x']),
    ];
    const outcomes = await partition.apply({ rows, progress: null }, never);
    expect(outcomes.map(({ tag }) => tag)).toEqual([...moodLabels.map(() => 'applied'), 'rejected', 'rejected']);
    const stored = await database.query<{ m: string }>('SELECT m::text AS m FROM app.people ORDER BY id');
    expect(stored.map(({ m }) => m)).toEqual([...moodLabels]);
    await database.query(`ALTER TYPE app."Mood" RENAME VALUE 'sad' TO 'gone'`);
    expect((await sink.differences(schema, never)).join()).toContain('lacks 1 labels');
  });

  it('a type that the target does not know is refused, with the way to make it', async () => {
    const schema = contractSchema('app.shapes' as TableId, [
      id,
      contractColumn('g', 'public.geometry', { tag: 'other', name: 'public.geometry' }),
    ]);
    const error = await refusal(open().provision([schema], never));
    expect(error.code).toBe('sink_misconfigured');
    expect(error.message).toContain('pre-data');
    const finding = (await open().check([schema], never)).find((one) => one.id === 'TP-004');
    expect(finding).toMatchObject({ level: 'error' });
    expect(finding?.details.join()).toContain('public.geometry');
  });

  it('a table that another sink writes is refused, and so is another register', async () => {
    await open().provision([plain], never);
    const other = contractSchema('app.other' as TableId, plain.columns);
    expect((await refusal(open({ register: 'inline' }).provision([plain], never))).message).toContain('sidecar');
    expect((await refusal(open({ schema: 'elsewhere' }).provision([plain], never))).message).toContain('belongs to the pipeline p, sink s');
    await database.query(`INSERT INTO causeway.sink_table VALUES ('q', 'z', 'app.other', 'app.other', 'sidecar')`);
    expect((await refusal(open().provision([other], never))).message).toContain('pipeline q');
  });

  it('names with quotes, blanks and the register’s own names are only names', async () => {
    const odd: TableSchema = contractSchema('a "b.c d"' as TableId, [
      contractColumn('seq', 'text', { tag: 'text' }, false),
      contractColumn('deleted', 'boolean', { tag: 'bool' }, false),
      contractColumn('u', 'text', { tag: 'text' }),
      contractColumn('ord"; DROP', 'text', { tag: 'text' }),
    ]);
    const sink = open();
    await sink.provision([odd], never);
    const partition = await takePartition(sink, 0, never);
    const rows = [upsertAt(odd, sequenceAt(1), ["it's", 'true', 'x', 'y'])];
    expect(await partition.apply({ rows, progress: null }, never)).toEqual([{ tag: 'applied' }]);
    expect(await partition.apply({ rows, progress: null }, never)).toEqual([{ tag: 'stale' }]);
    const floor = { table: odd.table, sequence: sequenceAt(2) };
    await passFloor(sink, floor, never);
    expect(await sink.sweep(odd, floor, never)).toEqual({ rows: 1 });
  });

  it('a text key of another collation finds its rows', async () => {
    const schema = contractSchema('app.words' as TableId, [
      contractColumn('w', 'text', { tag: 'text' }, false),
      contractColumn('v', 'text', { tag: 'text' }),
    ]);
    await database.query('CREATE SCHEMA app; CREATE TABLE app.words (w text COLLATE "POSIX" PRIMARY KEY, v text)');
    const sink = open();
    await sink.provision([schema], never);
    const partition = await takePartition(sink, 0, never);
    const rows = ['b', 'B', 'a'].map((word) => upsertAt(schema, sequenceAt(1), [word, 'x']));
    expect(await partition.apply({ rows, progress: null }, never)).toEqual(rows.map(() => ({ tag: 'applied' })));
    const words: unknown[] = [];
    for await (const page of sink.scan(schema, { from: ['B'], to: ['b'] }, never)) words.push(...page.map(({ row }) => row?.[0]));
    expect(words).toEqual(['B', 'a']);
    const floor = { table: schema.table, sequence: sequenceAt(2) };
    await passFloor(sink, floor, never);
    expect(await sink.sweep(schema, floor, never)).toEqual({ rows: 3 });
  });

  it('`check` names what other rows’ order would violate, with the statements for now and for later', async () => {
    const sink = open();
    await sink.provision([plain], never);
    await database.query(`CREATE TABLE app.parent (id bigint PRIMARY KEY);
      ALTER TABLE app.orders ADD CONSTRAINT par FOREIGN KEY (id) REFERENCES app.parent, ADD CONSTRAINT uni UNIQUE (a),
        ADD COLUMN extra int NOT NULL`);
    const errors = (await sink.check([plain], never)).filter(({ level }) => level === 'error');
    expect(errors.map((one) => one.id)).toEqual(['TP-005', 'TP-007', 'TP-008']);
    expect(errors.flatMap(({ details }) => details).join()).toContain('ADD CONSTRAINT par FOREIGN KEY (id) REFERENCES app.parent(id)');
    for (const statement of errors.flatMap(({ mend }) => mend)) await database.query(statement);
    expect((await sink.check([plain], never)).filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('`evolve` under `provision: check` prints the statement and holds the table', async () => {
    await open().provision([plain], never);
    const added = [contractColumn('b', 'text', { tag: 'text' })];
    const after = contractSchema(plain.table, [...plain.columns, ...added]);
    const sink = open({ provision: 'check' });
    const error = await refusal(sink.evolve(after, { tag: 'additive', added }, never));
    expect(error.code).toBe('schema_blocked');
    await database.query(error.message.slice(error.message.indexOf('\n')));
    await sink.evolve(after, { tag: 'additive', added }, never);
    expect(await sink.differences(after, never)).toEqual([]);
  });

  it.each(['sidecar', 'inline'])(
    'a table that lost a column is swept all the same, and read once it has it again (%s)',
    async (register) => {
      const sink = open({ register });
      await sink.provision([plain], never);
      const partition = await takePartition(sink, 0, never);
      await partition.apply({ rows: [upsertAt(plain, sequenceAt(1), ['1', 'x'])], progress: null }, never);
      await database.query('ALTER TABLE app.orders DROP COLUMN a');
      const other = open({ register });
      const scan = async (): Promise<number> => {
        let rows = 0;
        for await (const page of other.scan(plain, { from: null, to: null }, never)) rows += page.length;
        return rows;
      };
      const error = await refusal(scan());
      expect(error.code).toBe('sink_misconfigured');
      expect(error.message).toContain('add it again (`causeway check --only sink` prints the statement)');
      expect(await other.holdsRows(plain, never)).toBe(true);
      const floor = { table: plain.table, sequence: sequenceAt(2) };
      await passFloor(sink, floor, never);
      expect(await other.sweep(plain, floor, never)).toEqual({ rows: 1 });
      expect(await other.holdsRows(plain, never)).toBe(false);
      const statements = (await other.check([plain], never)).flatMap(({ mend }) => mend).filter((mend) => mend.includes('ADD COLUMN'));
      for (const statement of statements) await database.query(statement);
      expect(await scan()).toBe(1);
    },
  );

  it('a sink of a release without reports gets their table, or is told how to make it, and can be removed without it', async () => {
    await open().provision([plain], never);
    const partition = await takePartition(open(), 0, never);
    await partition[Symbol.asyncDispose]();
    await database.query('DROP TABLE causeway.sink_report');
    const claim = { owner: 'o', known: true };
    const error = await refusal(open({ provision: 'check' }).claim(claim, never));
    expect(error.code).toBe('sink_misconfigured');
    const [statement = ''] = /CREATE TABLE "causeway".sink_report [^;]+;/.exec(error.message) ?? [];
    const told = async (): Promise<readonly string[]> => {
      const findings = await open({ provision: 'check' }).check([plain], never);
      return findings.flatMap(({ mend }) => mend).filter((mend) => mend.includes('sink_report'));
    };
    expect(await told()).toEqual([statement]);
    await database.query(statement);
    expect(await told()).toEqual([]);
    await open({ provision: 'check' }).claim(claim, never);
    await database.query('DROP TABLE causeway.sink_report');
    await open().claim(claim, never);
    await database.query('DROP TABLE causeway.sink_report');
    expect((await open().remove(['o'], never)).join()).toContain('progress of 1 partitions');
  });

  it('a version without its row is a key without a row, whatever it says, to a scan and to a read alike', async () => {
    const sink = open();
    await sink.provision([plain], never);
    const partition = await takePartition(sink, 0, never);
    await partition.apply({ rows: ['1', '2'].map((key) => upsertAt(plain, sequenceAt(3), [key, 'x'])), progress: null }, never);
    await database.query('DELETE FROM app.orders WHERE id = 1');
    const found = await scanned(sink, plain, never);
    expect(found.map(({ sequence, row }) => [sequence, row])).toEqual([
      [sequenceAt(3), null],
      [sequenceAt(3), ['2', 'x']],
    ]);
    const read = await sink.read(
      plain,
      found.map(({ key }) => key),
      never,
    );
    expect(new Set(read)).toEqual(new Set(found));
  });

  it('`remove` says that its empty tables stay, once nothing else is in them', async () => {
    const one = open();
    await one.provision([plain], never);
    const partition = await takePartition(one, 0, never);
    await partition[Symbol.asyncDispose]();
    await database.query("INSERT INTO causeway.sink_table VALUES ('another', 's', 'x.y', 'x.y', 'inline')");
    expect((await one.remove(['o'], never)).join()).not.toContain('DROP SCHEMA');
    await database.query('DELETE FROM causeway.sink_table');
    const [said = ''] = await one.remove(['o'], never);
    const statement = /DROP SCHEMA .*;/.exec(said)?.[0] ?? '';
    await database.query(statement);
    expect(await database.query("SELECT FROM pg_namespace WHERE nspname = 'causeway'")).toEqual([]);
  });

  it('a sweep that was broken off goes on where it stopped', async () => {
    const sink = open({ batchRows: 20_000 });
    await sink.provision([plain], never);
    const partition = await takePartition(sink, 0, never);
    const rows = Array.from({ length: 12_000 }, (_, at) => upsertAt(plain, sequenceAt(1), [String(at), 'x']));
    await partition.apply({ rows, progress: null }, never);
    const controller = new AbortController();
    const floor = { table: plain.table, sequence: sequenceAt(2) };
    await passFloor(sink, floor, never);
    const blocker = await database.connect();
    await blocker.query('BEGIN');
    await blocker.query('SELECT 1 FROM causeway."app.orders" WHERE id = 7000 FOR UPDATE');
    const first = sink.sweep(plain, floor, controller.signal).catch((error: unknown) => error);
    for (let waits = '0'; waits === '0';) {
      waits =
        (
          await database.query<{ n: string }>(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
          )
        )[0]?.n ?? '0';
    }
    controller.abort(new Error('enough'));
    expect(await first).toMatchObject({ message: 'enough' });
    expect((await sink.sweeps(never)).size).toBe(0);
    await blocker.end();
    expect((await open().sweep(plain, floor, never)).rows).toBe(7_000);
    expect(await sink.holdsRows(plain, never)).toBe(false);
    expect((await sink.sweeps(never)).get(plain.table)).toBe(sequenceAt(2));
  });
});
