import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { type CausewayError, codeOf } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { RowChange, Sink, SinkPartition } from '#core/sink.ts';

import { contractColumn, contractSchema, deleteAt, partialAt, progressAt, scanned, sequenceAt, upsertAt } from '../contract/sink.ts';
import { describePostgres, TestDatabase } from '../support/postgres.ts';
import { postgresSink, takePartition } from '../support/postgres-sink-context.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { thrown } from '../support/thrown.ts';

const never = new AbortController().signal;

const schema: TableSchema = contractSchema('public.orders' as TableId, [
  contractColumn('id', 'bigint', { tag: 'int', bits: 64, unsigned: false }, false),
  contractColumn('a', 'text', { tag: 'text' }),
  contractColumn('n', 'integer', { tag: 'int', bits: 32, unsigned: false }),
]);
const rows = [upsertAt(schema, sequenceAt(5), ['1', 'x', '1']), deleteAt(schema, sequenceAt(5), '2')];

describePostgres('sink-postgres under faults', (major) => {
  let database: TestDatabase;
  let opened: AsyncDisposableStack;

  beforeEach(async () => {
    opened = new AsyncDisposableStack();
    database = opened.use(await TestDatabase.create(major));
  });
  afterEach(() => opened.disposeAsync());

  const open = (url = database.url, config = {}): Sink => opened.use(postgresSink(url, config));
  const ready = async (config = {}): Promise<{ sink: Sink; partition: SinkPartition }> => {
    const sink = open(database.url, config);
    await sink.provision([schema], never);
    return { sink, partition: await takePartition(sink, 0, never) };
  };

  /** Sessions of this database that wait for a lock. */
  const lockWaits = async (): Promise<number> => {
    const [row] = await database.query<{ n: string }>(
      "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
    );
    return Number(row?.n);
  };

  describe('a connection that fails around the commit', () => {
    const throughProxy = async (config = {}): Promise<{ proxy: TcpProxy; sink: Sink; partition: SinkPartition }> => {
      const url = new URL(database.url);
      const proxy = opened.use(await TcpProxy.create({ host: url.hostname, port: Number(url.port) }));
      url.hostname = '127.0.0.1';
      url.port = String(proxy.port);
      const sink = open(url.href, config);
      await sink.provision([schema], never);
      return { proxy, sink, partition: await takePartition(sink, 0, never) };
    };
    // The name of the statement; it travels with the progress.
    const isCommit = (piece: Buffer): boolean => piece.includes('causeway-commit');

    it.each(['sidecar', 'inline'])('before it arrives: nothing took effect, the same call takes effect (%s)', async (register) => {
      const { proxy, sink, partition } = await throughProxy({ register });
      proxy.onRequest = (piece) => (isCommit(piece) ? 'cut' : 'pass');
      expect((await thrown(partition.apply({ rows, progress: progressAt(3) }, never))).code).toBe('sink_unavailable');
      proxy.onRequest = () => 'pass';
      expect(await scanned(sink, schema, never)).toEqual([]);
      expect((await sink.progress(never)).size).toBe(0);
      expect(await partition.apply({ rows, progress: progressAt(3) }, never)).toEqual([{ tag: 'applied' }, { tag: 'applied' }]);
      expect((await sink.progress(never)).get(0)).toEqual(progressAt(3));
    });

    it.each(['sidecar', 'inline'])('after it arrived: the reply is lost, and the same call finds its own rows (%s)', async (register) => {
      const { proxy, sink, partition } = await throughProxy({ register });
      let asked = false;
      proxy.onRequest = (piece) => {
        asked ||= isCommit(piece);
        return 'pass';
      };
      proxy.onReply = () => (asked ? 'cut' : 'pass');
      expect((await thrown(partition.apply({ rows, progress: progressAt(3) }, never))).code).toBe('sink_unavailable');
      proxy.onRequest = () => 'pass';
      proxy.onReply = () => 'pass';
      expect((await sink.progress(never)).get(0)).toEqual(progressAt(3));
      expect(await partition.apply({ rows, progress: progressAt(3) }, never)).toEqual([{ tag: 'stale' }, { tag: 'stale' }]);
      expect((await scanned(sink, schema, never)).map((row) => row.sequence)).toEqual([sequenceAt(5), sequenceAt(5)]);
    });

    it('cut while idle: the next call makes a new connection', async () => {
      const { proxy, partition } = await throughProxy();
      const before = proxy.connections;
      proxy.cutAll();
      const first = await partition.apply({ rows, progress: null }, never).catch((error: unknown) => codeOf(error));
      expect([[{ tag: 'applied' }, { tag: 'applied' }], 'sink_unavailable']).toContainEqual(first);
      const second = await partition.apply({ rows, progress: null }, never);
      expect(second.every((outcome) => outcome.tag !== 'rejected')).toBe(true);
      expect(proxy.connections).toBeGreaterThan(before);
    });

    it('to a server that vanished: closing the sink waits for no answer', { timeout: 20_000 }, async () => {
      const { proxy, sink, partition } = await throughProxy();
      await partition.apply({ rows, progress: null }, never);
      proxy.vanish();
      await sink[Symbol.asyncDispose]();
    });

    it('without an answer: the signal ends the call, and another holder is not kept waiting', async () => {
      const { proxy, sink, partition } = await throughProxy();
      const controller = new AbortController();
      proxy.onReply = () => {
        controller.abort(new Error('enough'));
        return 'swallow';
      };
      await expect(partition.apply({ rows, progress: null }, controller.signal)).rejects.toThrow('enough');
      proxy.onReply = () => 'pass';
      const next = await takePartition(sink, 0, never);
      expect(next.token).toBe(partition.token + 1);
      expect(await next.apply({ rows, progress: null }, never)).toEqual([{ tag: 'applied' }, { tag: 'applied' }]);
    });
  });

  it.each(['sidecar', 'inline'])(
    'two texts of a key in one batch that are one key here: it is cut, and the newest stays (%s)',
    async (register) => {
      const sink = open(database.url, { register });
      const keyed = contractSchema('public.keyed' as TableId, [
        contractColumn('k', 'numeric', { tag: 'decimal', precision: null, scale: null }, false),
        contractColumn('v', 'text', { tag: 'text' }),
      ]);
      await sink.provision([keyed], never);
      const partition = await takePartition(sink, 0, never);
      const spelled = (at: number, k: string, v: string): RowChange => {
        return { ...upsertAt(keyed, sequenceAt(at), [k, v]), key: JSON.stringify([keyed.table, k]) as RowKey };
      };
      const batch = [spelled(2, '1.00', 'newer'), spelled(1, '1.0', 'older'), spelled(1, '2', 'another')];
      const outcomes = await partition.apply({ rows: batch, progress: progressAt(3) }, never);
      expect(outcomes).toEqual([{ tag: 'applied' }, { tag: 'stale' }, { tag: 'applied' }]);
      expect((await scanned(sink, keyed, never)).map(({ row }) => row)).toEqual([
        ['1.00', 'newer'],
        ['2', 'another'],
      ]);
    },
  );

  describe('a constraint, right or table that is not about a value', () => {
    const misconfigured = async (partition: SinkPartition, batch = rows): Promise<CausewayError> => {
      const error = await thrown(partition.apply({ rows: batch, progress: progressAt(9) }, never));
      expect(error.code).toBe('sink_misconfigured');
      return error;
    };

    it('stops the sink, parks nothing and loses nothing: a unique index', async () => {
      const { sink, partition } = await ready();
      await database.query('CREATE UNIQUE INDEX one_a ON public.orders (a)');
      const both = [upsertAt(schema, sequenceAt(5), ['1', 'secret', '1']), upsertAt(schema, sequenceAt(5), ['2', 'secret', '1'])];
      const error = await misconfigured(partition, both);
      expect(error.message).toContain('one_a');
      expect(error.message).not.toContain('secret');
      expect((await sink.progress(never)).size).toBe(0);
      expect(await scanned(sink, schema, never)).toEqual([]);
      const findings = await sink.check([schema], never);
      const finding = findings.find(({ id }) => id === 'TP-007');
      expect(finding?.level).toBe('error');
      expect(finding?.details.join()).toContain('CREATE UNIQUE INDEX one_a');
      for (const statement of finding?.mend ?? []) await database.query(statement);
      expect(await partition.apply({ rows: both, progress: null }, never)).toEqual([{ tag: 'applied' }, { tag: 'applied' }]);
    });

    it('a column that is gone, until it is there again', async () => {
      const { partition } = await ready();
      await partition.apply({ rows: [upsertAt(schema, sequenceAt(1), ['9', 'x', '1'])], progress: null }, never);
      await database.query('ALTER TABLE public.orders DROP COLUMN n');
      await misconfigured(partition);
      await database.query('ALTER TABLE public.orders ADD COLUMN n integer');
      expect(await partition.apply({ rows, progress: null }, never)).toEqual([{ tag: 'applied' }, { tag: 'applied' }]);
    });

    it.each(['sidecar', 'inline'])(
      'a column that is gone, and only rows that are stale, or deletes, come with it (%s)',
      async (register) => {
        const { sink, partition } = await ready({ register });
        await partition.apply({ rows, progress: null }, never);
        await partition.apply({ rows: [upsertAt(schema, sequenceAt(7), ['3', 'x', '1'])], progress: null }, never);
        await database.query('ALTER TABLE public.orders DROP COLUMN n');
        const other = open(database.url, { register });
        const next = await takePartition(other, 0, never);
        const stale = [...rows, upsertAt(schema, sequenceAt(6), ['3', 'x', '1'])];
        expect(await next.apply({ rows: stale, progress: null }, never)).toEqual(stale.map(() => ({ tag: 'stale' })));
        const partial = [partialAt(schema, sequenceAt(5), ['1', 'y', undefined])];
        expect(await next.apply({ rows: partial, progress: null }, never)).toEqual([{ tag: 'stale' }]);
        const mixed = [deleteAt(schema, sequenceAt(8), '3'), deleteAt(schema, sequenceAt(8), '5'), ...rows.slice(0, 1)];
        const outcomes = await next.apply({ rows: mixed, progress: progressAt(3) }, never);
        expect(outcomes.map(({ tag }) => tag)).toEqual(['applied', 'applied', 'stale']);
        const live = register === 'sidecar' ? '' : 'WHERE NOT cw_deleted';
        expect(await database.query(`SELECT id::text AS id, a FROM public.orders ${live}`)).toEqual([{ id: '1', a: 'x' }]);
        for (const newer of [
          upsertAt(schema, sequenceAt(6), ['1', 'y', '1']),
          partialAt(schema, sequenceAt(6), ['1', 'y', undefined]),
          upsertAt(schema, sequenceAt(1), ['6', 'y', '1']),
        ]) {
          await misconfigured(next, [deleteAt(schema, sequenceAt(9), '5'), newer]);
        }
        expect((await thrown(scanned(other, schema, never))).code).toBe('sink_misconfigured');
        await database.query('ALTER TABLE public.orders ADD COLUMN n integer');
        const sequences = (await scanned(sink, schema, never)).map(({ sequence }) => sequence);
        expect(sequences).toEqual([5, 5, 8, 8].map((at) => sequenceAt(at)));
        expect(await next.apply({ rows: [upsertAt(schema, sequenceAt(6), ['1', 'y', '1'])], progress: null }, never)).toEqual([
          { tag: 'applied' },
        ]);
      },
    );

    it('a right that is missing, with the GRANT', async () => {
      await database.query(`CREATE ROLE ${database.name} LOGIN PASSWORD 'pw'`);
      const admin = await ready();
      await database.query(`GRANT USAGE ON SCHEMA public, causeway TO ${database.name};
        GRANT ALL ON ALL TABLES IN SCHEMA causeway TO ${database.name}; GRANT SELECT ON public.orders TO ${database.name}`);
      await admin.sink[Symbol.asyncDispose]();
      const sink = open(database.urlAs(database.name, 'pw'), { provision: 'check' });
      await sink.provision([schema], never);
      const partition = await takePartition(sink, 0, never);
      await misconfigured(partition);
      const finding = (await sink.check([schema], never)).find(({ id }) => id === 'TP-003');
      expect(finding?.level).toBe('error');
      for (const statement of finding?.mend ?? []) await database.query(statement);
      expect(await partition.apply({ rows, progress: null }, never)).toEqual([{ tag: 'applied' }, { tag: 'applied' }]);
      await sink[Symbol.asyncDispose]();
      await database.query(`DROP OWNED BY ${database.name}; DROP ROLE ${database.name}`);
    });
  });

  describe('a role that is to make what is missing', () => {
    const described: TableSchema = contractSchema('shop.orders' as TableId, [
      contractColumn('id', 'bigint', { tag: 'int', bits: 64, unsigned: false }, false),
      contractColumn('mood', 'kinds."a mood"', { tag: 'enum', labels: ['sad', 'ok'] }),
    ]);
    const levelOf = async (sink: Sink): Promise<string | undefined> =>
      (await sink.check([described], never)).find(({ id }) => id === 'TP-003')?.level;

    it.each([
      ['where no schema is there', ''],
      ['in schemas of others', 'CREATE SCHEMA shop; CREATE SCHEMA kinds; GRANT USAGE ON SCHEMA kinds TO PUBLIC; CREATE SCHEMA causeway'],
      ['in schemas of others that it may not even use', 'CREATE SCHEMA shop; CREATE SCHEMA kinds; CREATE SCHEMA causeway'],
    ])('is told every right that it lacks, %s', async (_, schemas) => {
      await database.query(`CREATE ROLE ${database.name} LOGIN PASSWORD 'pw'; ${schemas}`);
      const sink = open(database.urlAs(database.name, 'pw'), { provision: 'create' });
      const finding = (await sink.check([described], never)).find(({ id }) => id === 'TP-003');
      expect(finding).toMatchObject({ level: 'error', details: Array.from({ length: 3 }, () => expect.any(String) as string) });
      for (const statement of finding?.mend ?? []) await database.query(statement);
      expect(await levelOf(sink)).toBe('ok');
      await sink.provision([described], never);
      expect(await levelOf(sink)).toBe('ok');
      await sink[Symbol.asyncDispose]();
      await database.query(`DROP OWNED BY ${database.name} CASCADE; DROP ROLE ${database.name}`);
    });

    it('hears of a schema that it may not use beside everything else, also where its tables and types are there', async () => {
      const admin = open(undefined, { provision: 'create' });
      await admin.provision([described], never);
      await admin[Symbol.asyncDispose]();
      await database.query(`CREATE ROLE ${database.name} LOGIN PASSWORD 'pw'`);
      const sink = open(database.urlAs(database.name, 'pw'), { provision: 'check' });
      const findings = await sink.check([described], never);
      expect(findings.map(({ id }) => id)).toEqual(Array.from({ length: 15 }, (_, index) => `TP-${String(index + 1).padStart(3, '0')}`));
      expect(findings.find(({ id }) => id === 'TP-003')?.details).toEqual([
        expect.stringContaining('in shop.orders'),
        ...['"shop.orders"', 'sink_owner', 'sink_progress', 'sink_report', 'sink_table'].map(
          (name) => `the role ${database.name} may not read and write the table ${name} of the schema causeway`,
        ),
        ...['causeway', 'shop', 'kinds'].map((name) => `the role ${database.name} may not use the schema ${name}`),
      ]);
      await sink[Symbol.asyncDispose]();
      await database.query(`DROP ROLE ${database.name}`);
    });

    it('has them all with the GRANTs of docs/privileges.md', async () => {
      const blocks = [...readFileSync('docs/privileges.md', 'utf8').matchAll(/```sql\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');
      const grants = blocks
        .at(-1)
        ?.replaceAll(/\b(TO|ROLE|AUTHORIZATION) causeway\b/g, `$1 ${database.name}`)
        .replaceAll('DATABASE copy', `DATABASE ${database.name}`);
      await database.query('CREATE TABLE public.there (id int PRIMARY KEY)');
      await database.query(grants ?? '');
      const sink = open(database.urlAs(database.name, 'choose-one'), { provision: 'create' });
      const there = contractSchema('public.there' as TableId, [
        contractColumn('id', 'integer', { tag: 'int', bits: 32, unsigned: false }, false),
      ]);
      const errors = (await sink.check([schema, there], never)).filter(({ level }) => level === 'error');
      expect(errors).toEqual([]);
      await sink.provision([schema, there], never);
      const partition = await takePartition(sink, 0, never);
      expect(await partition.apply({ rows: [...rows, upsertAt(there, sequenceAt(5), ['1'])], progress: null }, never)).toEqual(
        Array.from({ length: 3 }, () => ({ tag: 'applied' })),
      );
      await sink[Symbol.asyncDispose]();
      await database.query(`DROP OWNED BY ${database.name} CASCADE; DROP ROLE ${database.name}`);
    });
  });

  describe('values that only the server can refuse', () => {
    it.each([
      ['a CHECK', 'ALTER TABLE public.orders ADD CONSTRAINT small CHECK (n < 100)', '777', 'small'],
      ['a type’s range', '', '99999999999', '22003'],
      ['an index entry that is too large', 'CREATE INDEX ON public.orders (n, repeat(a, 2))', 'large', '54000'],
    ])('%s parks the one row', async (_, ddl, bad, named) => {
      const { partition } = await ready();
      if (ddl !== '') await database.query(ddl);
      const large = bad === 'large';
      const chaos = Array.from({ length: 20_000 }, (_item, index) => String.fromCodePoint(0x4e00 + ((index * index * 7919) % 20_000))).join(
        '',
      );
      const batch = [
        upsertAt(schema, sequenceAt(5), ['1', 'x', '1']),
        upsertAt(schema, sequenceAt(5), ['2', large ? chaos : 'x', large ? '1' : bad]),
        upsertAt(schema, sequenceAt(5), ['3', 'x', '1']),
      ];
      const outcomes = await partition.apply({ rows: batch, progress: null }, never);
      expect(outcomes.map(({ tag }) => tag)).toEqual(['applied', 'rejected', 'applied']);
      const reason = outcomes[1]?.tag === 'rejected' ? outcomes[1].reason : '';
      expect(reason).toContain(named);
      expect(reason).not.toContain(bad === '777' ? '777' : '99999999999');
    });

    it('a NUL in a text parks the one row', async () => {
      const { partition } = await ready();
      const batch = [upsertAt(schema, sequenceAt(5), ['1', 'x\0y', '1']), upsertAt(schema, sequenceAt(5), ['2', 'x', '1'])];
      expect((await partition.apply({ rows: batch, progress: null }, never)).map(({ tag }) => tag)).toEqual(['rejected', 'applied']);
    });

    it('a value longer than the column is refused, not cut; one with more digits, not rounded', async () => {
      const narrow = contractSchema('public.narrow' as TableId, [
        contractColumn('id', 'bigint', { tag: 'int', bits: 64, unsigned: false }, false),
        contractColumn('v', 'character varying(3)', { tag: 'text' }),
        contractColumn('b', 'bit(3)', { tag: 'bit' }),
        contractColumn('vs', 'character varying(3)[]', { tag: 'array', element: { tag: 'text' } }),
      ]);
      const { sink, partition } = await ready();
      await sink.provision([narrow], never);
      const batch = [
        upsertAt(narrow, sequenceAt(1), ['1', 'abcd', null, null]),
        upsertAt(narrow, sequenceAt(1), ['2', null, '1011', null]),
        upsertAt(narrow, sequenceAt(1), ['3', null, null, '["abcd"]']),
        upsertAt(narrow, sequenceAt(1), ['4', 'abc', '101', '["abc"]']),
      ];
      expect((await partition.apply({ rows: batch, progress: null }, never)).map(({ tag }) => tag)).toEqual([
        'rejected',
        'rejected',
        'rejected',
        'applied',
      ]);
      const rounding = contractSchema('public.narrow' as TableId, [
        ...narrow.columns,
        contractColumn('d', 'numeric', { tag: 'decimal', precision: null, scale: null }),
      ]);
      await database.query('ALTER TABLE public.narrow ADD COLUMN d numeric(10,2)');
      expect((await sink.differences(rounding, never)).join()).toContain('numeric(10,2)');
    });
  });

  describe('two appliers of one key', () => {
    it('a delete that waited for a newer insert leaves the row, and one that is newer removes it', async () => {
      const first = await ready();
      const second = await takePartition(open(), 1, never);
      for (let round = 1; round <= 30; round += 1) {
        const older = sequenceAt(round * 10);
        const newer = sequenceAt(round * 10 + 1);
        const [put, remove] = round % 2 === 0 ? [older, newer] : [newer, older];
        await Promise.all([
          first.partition.apply({ rows: [upsertAt(schema, put, ['1', 'x', '1'])], progress: null }, never),
          second.apply({ rows: [deleteAt(schema, remove, '1')], progress: null }, never),
        ]);
        const [entry] = await scanned(first.sink, schema, never);
        expect(entry?.sequence).toBe(newer);
        expect(entry?.row === null).toBe(remove === newer);
        expect(await first.sink.holdsRows(schema, never)).toBe(remove !== newer);
      }
    });

    it('a new holder of the partition waits until the batch of the older one has ended', async () => {
      const { sink, partition } = await ready();
      await partition.apply({ rows, progress: null }, never);
      const blocker = await database.connect();
      await blocker.query('BEGIN');
      await blocker.query('SELECT 1 FROM causeway."public.orders" FOR UPDATE');
      const older = partition.apply({ rows: [upsertAt(schema, sequenceAt(7), ['1', 'y', '1'])], progress: progressAt(4) }, never);
      await until(async () => (await lockWaits()) === 1);
      const newer = takePartition(sink, 0, never);
      await until(async () => (await lockWaits()) === 2);
      await blocker.query('COMMIT');
      await blocker.end();
      await older;
      // What the older holder had begun is seen by the newer one, which can only be because it waited.
      expect((await newer).start).toEqual(progressAt(4));
    });

    it('a partial image that waited behind a delete does not leave a version without a row', async () => {
      const { sink, partition } = await ready();
      const client = await database.connect();
      await partition.apply({ rows: [upsertAt(schema, sequenceAt(1), ['1', 'x', '1'])], progress: null }, never);
      await client.query('BEGIN');
      await client.query(`UPDATE causeway."public.orders" SET cw_seq = decode('${sequenceAt(5)}', 'hex'), cw_deleted = true`);
      await client.query('DELETE FROM public.orders');
      const waiting = partition.apply({ rows: [partialAt(schema, sequenceAt(6), ['1', 'y', undefined])], progress: null }, never);
      await until(async () => (await lockWaits()) === 1);
      await client.query('COMMIT');
      await client.end();
      expect(await waiting).toMatchObject([{ tag: 'rejected', code: 'partial_without_base' }]);
      expect(await scanned(sink, schema, never)).toMatchObject([{ sequence: sequenceAt(5), row: null }]);
    });
  });

  describe('triggers and foreign keys of the target', () => {
    it('do not fire for rows that apply writes, where the role may switch them off', async () => {
      const { sink, partition } = await ready();
      await database.query(`CREATE TABLE public.audit (n int);
        CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.audit VALUES (1); RETURN NEW; END';
        CREATE TRIGGER note BEFORE INSERT ON public.orders FOR EACH ROW EXECUTE FUNCTION public.note()`);
      await partition.apply({ rows, progress: null }, never);
      expect(await database.query('SELECT * FROM public.audit')).toEqual([]);
      expect((await sink.check([schema], never)).find(({ id }) => id === 'TP-009')?.level).toBe('ok');
      await database.query('ALTER TABLE public.orders ENABLE ALWAYS TRIGGER note');
      expect((await sink.check([schema], never)).find(({ id }) => id === 'TP-009')?.level).toBe('error');
    });
  });
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt += 1) if (await holds()) return;
  throw new Error('it never came to hold');
}
