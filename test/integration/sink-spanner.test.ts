// The Spanner sink on the emulator. What only the service does stands in docs/not-verified.md.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import { codeOf } from '#core/errors.ts';
import type { Column, TableId } from '#core/schema.ts';
import type { SinkConfig } from '../../connectors/sink-spanner/config.ts';
import { transact, type Found, type Reader, type Store } from '../../connectors/sink-spanner/transaction.ts';
import { sinkContract } from '../contract/sink-contract.ts';
import { sinkReadBack } from '../contract/sink-reads.ts';
import { sinkValues } from '../contract/sink-tables.ts';
import {
  bigint,
  codeThrown,
  contractColumn,
  contractSchema,
  deleteAt,
  partialAt,
  passFloor,
  plainSchema,
  progressAt,
  retried,
  scanned,
  sequenceAt,
  sinkBench,
  tags,
  text,
  upsertAt,
} from '../contract/sink.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { spannerContext, SpannerHost, spannerSink, storeBeside } from '../support/spanner-sink-context.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

describeShared('spanner', 'sink-spanner', () => {
  let host: SpannerHost;
  beforeAll(async () => {
    host = await SpannerHost.create((await sharedService('spanner')).endpoint);
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  sinkContract('sink-spanner in GoogleSQL', () => spannerContext(host, 'GOOGLE_STANDARD_SQL', { arrays: 'native' }));
  sinkContract('sink-spanner in PostgreSQL', () => spannerContext(host, 'POSTGRESQL', { arrays: 'native' }));

  describe('sink-spanner with texts and the time of the commit', () => {
    const stamped = { commitTimestampColumn: 'committed_at' };
    sinkValues(sinkBench(() => spannerContext(host, 'GOOGLE_STANDARD_SQL', stamped)));
    sinkValues(sinkBench(() => spannerContext(host, 'POSTGRESQL', stamped)));
  });

  describe('sink-spanner with json of its own', () => {
    for (const dialect of ['GOOGLE_STANDARD_SQL', 'POSTGRESQL'] as const)
      sinkReadBack(sinkBench(() => spannerContext(host, dialect, { json: 'native' })));
  });

  describe('sink-spanner', () => {
    const bench = sinkBench(() => spannerContext(host, 'GOOGLE_STANDARD_SQL'));
    const { never, owner } = bench;
    const config = (): SinkConfig => (bench.context as unknown as { readonly config: SinkConfig }).config;
    const ddl = (...statements: readonly string[]): Promise<void> => host.ddl(config(), ...statements);
    const narrow = () =>
      contractSchema('public.narrow' as TableId, [
        contractColumn('id', 'bigint', bigint, false),
        contractColumn('v', 'character varying(5)', text),
      ]);

    test('a value that the service alone refuses parks its key, and the others of its commit take effect', async () => {
      await ddl('CREATE TABLE narrow (id INT64 NOT NULL, v STRING(5)) PRIMARY KEY (id)');
      await bench.sink.provision([narrow()], never);
      expect(await bench.sink.differences(narrow(), never)).toEqual([]);
      const rows = Array.from({ length: 9 }, (_, id) =>
        upsertAt(narrow(), sequenceAt(1), [String(id), id === 3 || id === 8 ? 'too long' : 'fits']),
      );
      const outcomes = await bench.partition.apply({ rows, progress: progressAt(3) }, never);
      expect(tags(outcomes)).toEqual(rows.map((_, id) => (id === 3 || id === 8 ? 'value_refused' : 'applied')));
      expect(JSON.stringify(outcomes)).not.toContain('too long');
      expect((await bench.context.liveRows(narrow())).map(([id]) => id)).toEqual(['0', '1', '2', '4', '5', '6', '7']);
      expect((await scanned(bench.sink, narrow(), never)).length).toBe(7);
      expect((await bench.sink.progress(never)).get(0)).toEqual(progressAt(3));
      expect(await bench.apply([upsertAt(narrow(), sequenceAt(1), ['3', 'too long'])])).toEqual(['value_refused']);
    });

    test('a refusal that is about the table stops the sink, and parks nothing', async () => {
      expect(await bench.apply([upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])])).toEqual(['applied']);
      await ddl('ALTER TABLE plain ADD CONSTRAINT short CHECK (LENGTH(a) < 3)');
      const rows = [upsertAt(bench.schema, sequenceAt(2), ['2', 'longer', null])];
      expect(await codeThrown(bench.partition.apply({ rows, progress: null }, never))).toBe('sink_misconfigured');
      await ddl('ALTER TABLE plain DROP CONSTRAINT short');
      expect(await bench.apply(rows)).toEqual(['applied']);
      await ddl('ALTER TABLE plain DROP COLUMN big');
      const later = [upsertAt(bench.schema, sequenceAt(3), ['2', 'longer', null])];
      expect(await codeThrown(bench.partition.apply({ rows: later, progress: null }, never))).toBe('sink_misconfigured');
      expect(await bench.apply([deleteAt(bench.schema, sequenceAt(3), '1')])).toEqual(['applied']);
    });

    test('`check` and `differences` name what refuses or deletes rows', async () => {
      await ddl(
        'CREATE TABLE parents (id INT64 NOT NULL) PRIMARY KEY (id)',
        'CREATE TABLE narrow (id INT64 NOT NULL, v STRING(4), stamp TIMESTAMP, must INT64 NOT NULL, CONSTRAINT fk FOREIGN KEY (id) REFERENCES parents (id), CONSTRAINT positive CHECK (id > 0)) PRIMARY KEY (id), ROW DELETION POLICY (OLDER_THAN(stamp, INTERVAL 30 DAY))',
        'CREATE UNIQUE INDEX only_v ON narrow (v)',
        'CREATE TABLE children (id INT64 NOT NULL, n INT64 NOT NULL) PRIMARY KEY (id, n DESC), INTERLEAVE IN PARENT parents',
      );
      const parents = contractSchema('public.parents' as TableId, [contractColumn('id', 'bigint', bigint, false)]);
      const children = contractSchema(
        'public.children' as TableId,
        [contractColumn('id', 'bigint', bigint, false), contractColumn('n', 'bigint', bigint, false)],
        [1, 0],
      );
      const found = await Promise.all(
        [narrow(), parents, children].map(async (schema) => (await bench.sink.differences(schema, never)).join('\n')),
      );
      for (const words of [
        'the column v of the table narrow is STRING(4)',
        'foreign key fk',
        'positive',
        'only_v',
        'row deletion policy',
        'the column must',
      ])
        expect(found[0]).toContain(words);
      expect(found[1]).toContain('the table children is interleaved in parents');
      expect(found[1]).toContain('foreign key fk');
      expect(found[2]).toContain('interleaved in parents');
      expect(found[2]).toContain('(id, n), and not (n, id)');
      expect(found[2]).toContain('the column n of the table children is DESC');
      expect(found[2]).not.toContain('the column id of');
      const findings = await bench.sink.check([narrow(), bench.schema], never);
      const of = (id: string): readonly string[] => findings.filter((one) => one.id === id).map(({ level }) => level);
      expect(of('SP-003')).toEqual(['ok', 'ok', 'ok', 'ok', 'error', 'ok', 'ok', 'ok']);
      expect(of('SP-007')).toEqual(['ok']);
      expect(of('SP-009')).toEqual(['warning', 'warning']);
    });

    test.each(['GOOGLE_STANDARD_SQL', 'POSTGRESQL'] as const)('`check` looks at what is around the tables (%s)', async (dialect) => {
      const later = await host.database(dialect);
      await using sink = spannerSink(later);
      await sink.provision([bench.schema], never);
      const found = async () => {
        const findings = await sink.check([bench.schema], never);
        return findings.filter(({ id }) => ['SP-001', 'SP-008', 'SP-010', 'SP-011'].includes(id));
      };
      const before = await found();
      expect(before.map(({ id, level }) => `${id} ${level}`)).toEqual(['SP-001 ok', 'SP-010 ok', 'SP-008 warning', 'SP-011 ok']);
      expect(before[0]?.title).toContain('emulator-config');
      // The emulator takes the statement in one dialect alone, and shows nothing of it.
      if (dialect === 'GOOGLE_STANDARD_SQL') await host.ddl(later, (before[2]?.mend[0] ?? '').replace(/;$/, ''));
      await host.ddl(later, 'CREATE CHANGE STREAM one FOR cw_v_plain', 'CREATE CHANGE STREAM every FOR ALL');
      const after = await found();
      expect(after.map(({ id, level }) => `${id} ${level}`)).toEqual(['SP-001 ok', 'SP-010 ok', 'SP-008 warning', 'SP-011 warning']);
      const said = after[3]?.details.join('\n') ?? '';
      expect(said).toContain('the change stream one watches cw_v_plain:');
      expect(said).toMatch(/the change stream every watches .*plain, cw_v_plain:/);
      await host.drop(later);
    });

    test('a sink of a release without reports gets their table, or is told how to make it, and can be removed without it', async () => {
      const known = { ...owner, known: true };
      await using checking = spannerSink({ ...config(), provision: 'check' });
      await ddl('DROP TABLE causeway_reports');
      const refused = String(await checking.claim(known, never).catch((error: unknown) => error));
      const [statement = ''] = /CREATE TABLE IF NOT EXISTS `causeway_reports` [^;]+/.exec(refused) ?? [];
      await ddl(statement);
      await checking.claim(known, never);
      await ddl('DROP TABLE causeway_reports');
      await bench.sink.claim(known, never);
      await bench.sink.reports.keepOnly([], never);
      await ddl('DROP TABLE causeway_reports');
      expect(await bench.sink.remove([owner.owner], never)).toContain('progress of 1 partitions');
    });

    test('a version without its row is a key without a row, whatever it says, to a scan and to a read alike', async () => {
      await bench.apply(['1', '2'].map((key) => upsertAt(bench.schema, sequenceAt(3), [key, 'x', null])));
      await using beside = storeBeside(config());
      await transact(beside, 'plain', never, async (reader) => {
        await reader.query({ sql: 'SELECT 1' });
        return { result: undefined, mutations: [{ tag: 'delete', table: 'plain', keys: [[{ stringValue: '1' }]] }] };
      });
      const found = await scanned(bench.sink, bench.schema, never);
      expect(found.map(({ sequence, row }) => [sequence, row])).toEqual([
        [sequenceAt(3), null],
        [sequenceAt(3), ['2', 'x', null]],
      ]);
      const keys = found.map(({ key }) => key);
      expect(new Set(await bench.sink.read(bench.schema, keys, never))).toEqual(new Set(found));
    });

    test('`provision: check` prints the statements, which make what it wants', async () => {
      const later = await host.database('GOOGLE_STANDARD_SQL', { provision: 'check' });
      await using sink = spannerSink(later);
      const refused = String(await sink.provision([bench.schema], never).catch((error: unknown) => error));
      expect(refused).toContain(
        'CREATE TABLE IF NOT EXISTS `plain` (`id` INT64 NOT NULL, `a` STRING(MAX), `big` STRING(MAX)) PRIMARY KEY (`id`);',
      );
      expect(refused).toContain(
        '`cw_v_plain` (`id` INT64 NOT NULL, `cw_seq` BYTES(MAX) NOT NULL, `cw_deleted` BOOL NOT NULL) PRIMARY KEY (`id`);',
      );
      expect((await sink.check([bench.schema], never)).filter(({ level }) => level === 'error')).toHaveLength(6);
      expect(await sink.remove(['o'], never)).toEqual([]);
      await host.ddl(
        later,
        ...refused
          .split('\n')
          .slice(1)
          .map((line) => line.replace(/;$/, '')),
      );
      await sink.provision([bench.schema], never);
      expect(await sink.differences(bench.schema, never)).toEqual([]);
      const added: Column = contractColumn('later', 'text', text);
      const after = contractSchema(bench.schema.table, [...bench.schema.columns, added]);
      const blocked = await sink.evolve(after, { tag: 'additive', added: [added] }, never).catch((error: unknown) => error);
      expect(codeOf(blocked)).toBe('schema_blocked');
      expect(String(blocked)).toContain('ALTER TABLE `plain` ADD COLUMN IF NOT EXISTS `later` STRING(MAX);');
      await host.drop(later);
    });

    test('two source tables are not written to one, in any case of its letters', async () => {
      const twin = plainSchema('elsewhere.PLAIN' as TableId);
      expect(await codeThrown(bench.sink.check([bench.schema, twin], never))).toBe('sink_misconfigured');
      expect(await codeThrown(bench.sink.provision([bench.schema, twin], never))).toBe('sink_misconfigured');
      await using other = spannerSink({ ...config() });
      expect(await codeThrown(other.provision([twin], never))).toBe('sink_misconfigured');
    });

    test('a database that is not there stops the sink', async () => {
      await using sink = spannerSink({ ...config(), database: 'no-such-one' });
      expect(await codeThrown(sink.provision([bench.schema], never))).toBe('sink_misconfigured');
    });

    test('an aborted transaction is tried again, with what the other one wrote in sight', async () => {
      await bench.apply([upsertAt(bench.schema, sequenceAt(1), ['1', '0', null])]);
      await using one = storeBeside(config());
      await using two = storeBeside(config());
      const [begun, met] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
      const keys = { tag: 'keys', keys: [[{ stringValue: '1' }]] } as const;
      let attempts = 0;
      const add = (store: Store, read: (reader: Reader) => Promise<Found>): Promise<undefined> =>
        transact(store, 'plain', never, async (reader) => {
          attempts += 1;
          const { rows } = await read(reader);
          const sum = String(Number(rows[0]?.[0]?.stringValue) + 1);
          const row = [{ stringValue: '1' }, { stringValue: sum }];
          return { result: undefined, mutations: [{ tag: 'update', table: 'plain', columns: ['id', 'a'], rows: [row] }] };
        });
      const read = (reader: Reader): Promise<Found> => reader.read({ table: 'plain', columns: ['a'], keys });
      const first = add(one, async (reader) => {
        const found = await read(reader);
        begun.resolve(undefined);
        await met.promise;
        return found;
      });
      await begun.promise;
      // Whichever of the two the emulator aborts now.
      const second = add(two, (reader) => read(reader).finally(() => met.resolve(undefined)));
      await Promise.all([first, second]);
      expect(attempts).toBeGreaterThan(2);
      expect((await bench.context.liveRows(bench.schema))[0]?.[1]).toBe('2');
    });

    test('a commit whose reply is lost is found to have taken effect', async () => {
      const url = new URL(host.endpoint);
      await using proxy = await TcpProxy.create({ host: url.hostname, port: Number(url.port) });
      await using sink = spannerSink({ ...config(), endpoint: `http://127.0.0.1:${proxy.port}` });
      await sink.claim({ ...owner, known: true }, never);
      await using partition = await sink.assign(1, never);
      const batch = { rows: [upsertAt(bench.schema, sequenceAt(7), ['7', 'x', null])], progress: progressAt(7) };
      // A transaction's commit names its tables in the request, and nothing before it does so with a value.
      proxy.onRequest = (piece) => {
        if (piece.includes('/google.spanner.v1.Spanner/Commit') || piece.includes('cw_deleted'))
          isCommitting = isCommitting || piece.includes('offset');
        return 'pass';
      };
      let isCommitting = false;
      proxy.onReply = () => (isCommitting ? 'cut' : 'pass');
      expect(await codeThrown(partition.apply(batch, never))).toBe('sink_unavailable');
      expect(isCommitting).toBe(true);
      proxy.onReply = () => 'pass';
      const outcomes = await retried(() => partition.apply(batch, never));
      expect(tags(outcomes)).toEqual(['stale']);
      expect((await sink.progress(never)).get(1)).toEqual(progressAt(7));
      expect(await bench.context.liveRows(bench.schema)).toEqual([['7', 'x', null]]);
    });

    test('every session is deleted in the end, also behind what failed or was given up', async () => {
      await using sink = spannerSink(config());
      await sink.claim({ ...owner, known: true }, never);
      const partition = await sink.assign(2, never);
      const absent = plainSchema('public.absent' as TableId);
      expect(await codeThrown(partition.apply({ rows: [upsertAt(absent, sequenceAt(1), ['1', null, null])], progress: null }, never))).toBe(
        'sink_misconfigured',
      );
      const stop = new AbortController();
      const given = Promise.all([sink.progress(stop.signal), sink.sweeps(stop.signal), scanned(sink, bench.schema, stop.signal)]);
      stop.abort(new Error('enough'));
      await expect(given).rejects.toThrow('enough');
      await sink.progress(never);
      const before = await host.sessions(config());
      await sink[Symbol.asyncDispose]();
      const after = await host.sessions(config());
      // Those of the bench are still there.
      expect(before.length).toBeGreaterThan(after.length);
      await bench.sink[Symbol.asyncDispose]();
      expect(await host.sessions(config())).toEqual([]);
    });

    test('a partial image of a row that something else deleted is not written', async () => {
      await bench.apply([upsertAt(bench.schema, sequenceAt(1), ['1', 'x', 'large'])]);
      await using beside = storeBeside(config());
      await transact(beside, 'plain', never, async (reader) => {
        await reader.query({ sql: 'SELECT 1' });
        return { result: undefined, mutations: [{ tag: 'delete', table: 'plain', keys: [[{ stringValue: '1' }]] }] };
      });
      expect(await bench.apply([partialAt(bench.schema, sequenceAt(2), ['1', 'y', undefined])])).toEqual(['partial_without_base']);
    });

    test('rows beyond the limits of one commit go in several', async () => {
      const large = 'x'.repeat(2_000_000);
      const rows = Array.from({ length: 12 }, (_, id) => upsertAt(bench.schema, sequenceAt(1), [String(id), large, null]));
      expect(await bench.apply(rows)).toEqual(rows.map(() => 'applied'));
      // Pages end where they are large enough.
      expect((await scanned(bench.sink, bench.schema, never)).map(({ row }) => present(row, 'a row')[1]?.length)).toEqual(
        rows.map(() => large.length),
      );
      await passFloor(bench.sink, { table: bench.schema.table, sequence: sequenceAt(2) }, never, bench.partition);
      expect(await bench.sink.sweep(bench.schema, { table: bench.schema.table, sequence: sequenceAt(2) }, never)).toEqual({ rows: 12 });
    });
  });
});
