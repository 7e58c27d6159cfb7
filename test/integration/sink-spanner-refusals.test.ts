// What the service refuses, where the emulator would not: requests are answered in its place by what stands before the client.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CausewayError, codeOf } from '#core/errors.ts';
import type { TableId } from '#core/schema.ts';
import type { Row } from '#core/value.ts';
import type { RowOutcome } from '#core/sink.ts';
import { checkSink } from '../../connectors/sink-spanner/check.ts';
import type { SinkConfig } from '../../connectors/sink-spanner/config.ts';
import { raiseFence } from '../../connectors/sink-spanner/own-tables.ts';
import { SpannerPartition } from '../../connectors/sink-spanner/partition.ts';
import { scanPages } from '../../connectors/sink-spanner/read.ts';
import { shapeOf, type Shape } from '../../connectors/sink-spanner/shape.ts';
import { sweepTable } from '../../connectors/sink-spanner/sweep.ts';
import { transact, type Store } from '../../connectors/sink-spanner/transaction.ts';
import {
  bigint,
  contractColumn,
  contractSchema,
  passFloor,
  progressAt,
  scanned,
  sequenceAt,
  sinkBench,
  tags,
  text,
  upsertAt,
} from '../contract/sink.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { answerBefore, type Asked } from '../support/spanner-answers.ts';
import { spannerContext, SpannerHost, spannerSink, storeBeside } from '../support/spanner-sink-context.ts';

const INVALID_ARGUMENT = 3;
const FAILED_PRECONDITION = 9;
const place = { pipeline: 'p', sink: 's' };

describeShared('spanner', 'sink-spanner, refused', () => {
  let host: SpannerHost;
  beforeAll(async () => {
    host = await SpannerHost.create((await sharedService('spanner')).endpoint);
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  describe('sink-spanner', () => {
    const bench = sinkBench(() => spannerContext(host, 'GOOGLE_STANDARD_SQL'));
    const { never, owner } = bench;
    const config = (): SinkConfig => (bench.context as unknown as { readonly config: SinkConfig }).config;
    const shape = (): Shape =>
      shapeOf(bench.schema, { ...place, config: config(), dialect: 'GOOGLE_STANDARD_SQL', target: bench.schema.table });
    const floor = { table: 'public.plain' as TableId, sequence: sequenceAt(9) };
    const rows = (count: number) =>
      Array.from({ length: count }, (_, id) => upsertAt(bench.schema, sequenceAt(1), [String(id), 'x', null]));
    const errorOf = async (work: Promise<unknown>): Promise<unknown> => await work.then(() => null).catch((error: unknown) => error);

    const held = async (store: Store): Promise<SpannerPartition> =>
      new SpannerPartition({
        store,
        place,
        held: await raiseFence(store, place, { partition: 1, owner: owner.owner }, never),
        shapeFor: shape,
        differences: () => Promise.resolve([]),
        ownDifferences: () => Promise.resolve(['the own tables differ']),
      });

    test('a sweep that a table refuses stops the sink, and names what refuses it', async () => {
      expect(await bench.apply(rows(3))).toEqual(['applied', 'applied', 'applied']);
      await passFloor(bench.sink, floor, never, bench.partition);
      await host.ddl(
        config(),
        'CREATE TABLE referring (id INT64 NOT NULL, CONSTRAINT late FOREIGN KEY (id) REFERENCES plain (id)) PRIMARY KEY (id)',
      );
      await using beside = storeBeside(config());
      await transact(beside, 'referring', never, async (reader) => {
        await reader.query({ sql: 'SELECT 1' });
        return { result: undefined, mutations: [{ tag: 'insert', table: 'referring', columns: ['id'], rows: [[{ stringValue: '1' }]] }] };
      });
      const error = await errorOf(bench.sink.sweep(bench.schema, floor, never));
      expect(codeOf(error)).toBe('sink_misconfigured');
      expect(String(error)).toContain('the foreign key late holds the table plain');
      await host.ddl(config(), 'DROP TABLE referring');
      // What went before the refused key has gone.
      await bench.sink.sweep(bench.schema, floor, never);
      expect(await bench.context.liveRows(bench.schema)).toEqual([]);
    });

    test('a page of a sweep that is too large for one commit is halved', async () => {
      await bench.apply(rows(40));
      await passFloor(bench.sink, floor, never, bench.partition);
      await using store = storeBeside(config());
      const deleted = ({ mutations = [] }: Asked): number =>
        (mutations.find((one) => one.delete?.table === 'plain')?.delete?.keySet?.keys ?? []).length;
      const sizes: number[] = [];
      answerBefore(store, (method, asked) => {
        if (method !== 'commit') return null;
        sizes.push(deleted(asked));
        return deleted(asked) > 15 ? INVALID_ARGUMENT : null;
      });
      expect(await sweepTable({ store, place, shape: shape(), floor, partitions: 4 }, never)).toEqual({ rows: 40 });
      expect(Math.max(...sizes)).toBe(40);
      expect(sizes.filter((size) => size > 0 && size <= 15).reduce((sum, size) => sum + size, 0)).toBe(40);
      expect((await scanned(bench.sink, bench.schema, never)).every(({ row }) => row === null)).toBe(true);
    });

    test('a page of a sweep ends where its keys are many bytes', async () => {
      const schema = contractSchema('public.wide' as TableId, [contractColumn('k', 'text', text, false)]);
      await bench.sink.provision([schema], never);
      const wide = Array.from({ length: 400 }, (_, id) => upsertAt(schema, sequenceAt(1), [String(id).padStart(8_000, 'k')]));
      expect(new Set(tags(await bench.partition.apply({ rows: wide, progress: null }, never)))).toEqual(new Set(['applied']));
      const over = { ...floor, table: schema.table };
      await passFloor(bench.sink, over, never, bench.partition);
      await using store = storeBeside(config());
      const sizes: number[] = [];
      answerBefore(store, (method, { mutations = [] }) => {
        const keys = mutations.find((one) => one.delete?.table === 'wide')?.delete?.keySet?.keys ?? [];
        if (method === 'commit' && keys.length > 0) sizes.push(keys.length);
        return null;
      });
      const target = shapeOf(schema, { ...place, config: config(), dialect: 'GOOGLE_STANDARD_SQL', target: schema.table });
      expect(await sweepTable({ store, place, shape: target, floor: over, partitions: 4 }, never)).toEqual({ rows: 400 });
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(400);
      expect(Math.max(...sizes)).toBeLessThan(300);
    });

    test.each([
      ['a saved progress', async (store: Store) => (await held(store)).save(progressAt(3), never)],
      ['a batch without a row', async (store: Store) => (await held(store)).apply({ rows: [], progress: progressAt(3) }, never)],
    ])('%s that is refused stops the sink, and names what is wrong with its own tables', async (_what, work) => {
      await using store = storeBeside(config());
      let commits = 0;
      answerBefore(store, (method) => {
        if (method !== 'commit') return null;
        commits += 1;
        // The first one takes the partition.
        return commits > 1 ? FAILED_PRECONDITION : null;
      });
      const error = await errorOf(work(store));
      expect(commits).toBe(2);
      expect(error).toBeInstanceOf(CausewayError);
      expect(codeOf(error)).toBe('sink_misconfigured');
      expect(String(error)).toContain('the own tables differ');
    });

    test('a claim, a partition or a table that is refused stops the sink, and names the constraint', async () => {
      const later = await host.database('GOOGLE_STANDARD_SQL');
      await using sink = spannerSink(later);
      await sink.provision([], never);
      const closed = (table: string): readonly string[] => [
        `ALTER TABLE causeway_${table} ADD CONSTRAINT closed_${table} CHECK (pipeline <> 'p')`,
      ];
      const refusedBy = async (table: string, work: () => Promise<unknown>): Promise<void> => {
        await host.ddl(later, ...closed(table));
        const error = await errorOf(work());
        expect(codeOf(error)).toBe('sink_misconfigured');
        expect(String(error)).toContain(`the check constraint closed_${table}`);
        await host.ddl(later, `ALTER TABLE causeway_${table} DROP CONSTRAINT closed_${table}`);
      };
      await refusedBy('claims', () => sink.claim({ ...owner, known: false }, never));
      await sink.claim({ ...owner, known: false }, never);
      await refusedBy('partitions', () => sink.assign(0, never));
      await refusedBy('tables', () => sink.provision([bench.schema], never));
      await host.drop(later);
    });

    test('a key whose version the service refuses to read parks, and the others take effect', async () => {
      await using store = storeBeside(config());
      const partition = await held(store);
      answerBefore(store, (method, { table, keySet }) => {
        const isRefused = (keySet?.keys ?? []).some(({ values }) => values?.[0]?.stringValue === '5');
        return method === 'streamingRead' && table === 'cw_v_plain' && isRefused ? INVALID_ARGUMENT : null;
      });
      const outcomes: readonly RowOutcome[] = await partition.apply({ rows: rows(9), progress: progressAt(3) }, never);
      expect(tags(outcomes)).toEqual(rows(9).map((_, id) => (id === 5 ? 'value_refused' : 'applied')));
      expect((await bench.context.liveRows(bench.schema)).map(([id]) => id)).toEqual(['0', '1', '2', '3', '4', '6', '7', '8']);
      expect((await bench.sink.progress(never)).get(1)).toEqual(progressAt(3));
    });

    test('a page of a key of several columns is counted between plain bounds of its first one', async () => {
      const schema = contractSchema(
        'public.pairs' as TableId,
        [contractColumn('a', 'bigint', bigint, false), contractColumn('b', 'bigint', bigint, false)],
        [0, 1],
      );
      await bench.sink.provision([schema], never);
      await bench.apply(Array.from({ length: 4 }, (_, id) => upsertAt(schema, sequenceAt(1), [String(id >> 1), String(id & 1)])));
      const pairs = shapeOf(schema, { ...place, config: config(), dialect: 'GOOGLE_STANDARD_SQL', target: schema.table });
      await using store = storeBeside(config());
      const counts: string[] = [];
      answerBefore(store, (_method, { sql }) => {
        if (sql?.startsWith('SELECT COUNT') === true) counts.push(sql);
        return null;
      });
      const found: (Row | null)[] = [];
      for await (const page of scanPages(store, pairs, { from: ['0', '1'], to: ['1', '1'] }, never))
        found.push(...page.map(({ row }) => row));
      expect(found).toEqual([
        ['0', '1'],
        ['1', '0'],
      ]);
      expect(counts).toHaveLength(2);
      for (const sql of counts) {
        expect(sql).toContain(' AND `a` >= @p1 AND ');
        expect(sql).toMatch(/ AND `a` <= @p3$/);
      }
    });

    test.each([
      ['create', ['spanner.databases.updateDdl', 'spanner.databaseOperations.get']],
      ['check', []],
    ] as const)('`provision: %s` asks for the rights to change the schema where it changes it', async (provision, more) => {
      await using store = storeBeside(config());
      const input = { client: store.client, config: { ...config(), provision }, dialect: 'GOOGLE_STANDARD_SQL' } as const;
      // A service that grants nothing: all that is asked for is missing.
      store.client.send = (_what, _signal, work) =>
        work({ admin: { testIamPermissions: () => Promise.resolve([{ permissions: [] }]) } } as never, {} as never);
      const findings = await checkSink(input, { shapes: [], catalogue: new Map() }, never);
      const missing = findings.find(({ id }) => id === 'SP-002')?.details ?? [];
      expect(missing).toContain('the right spanner.databases.write is missing');
      expect(missing.filter((one) => one.includes('updateDdl') || one.includes('Operations'))).toEqual(
        more.map((right) => `the right ${right} is missing`),
      );
    });
  });
});
