// The DynamoDB sink on DynamoDB Local. What only the service does stands in docs/not-verified.md.
import {
  CreateTableCommand,
  DeleteTableCommand,
  DynamoDBClient,
  PutItemCommand,
  ScanCommand,
  UpdateTableCommand,
  UpdateTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb';
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { MonoMs } from '#core/position.ts';
import type { RowChange } from '#core/sink.ts';
import { configSchema } from '../../connectors/sink-dynamodb/config.ts';
import { sinkContract } from '../contract/sink-contract.ts';
import { sinkReadBack } from '../contract/sink-reads.ts';
import { sinkRefusals, sinkRows } from '../contract/sink-rows.ts';
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
  scanned,
  sequenceAt,
  sinkBench,
  tags,
  text,
  upsertAt,
} from '../contract/sink.ts';
import { itemsOf } from '../support/dynamodb-effects.ts';
import { DynamoDbProxy } from '../support/dynamodb-proxy.ts';
import { dynamoDbContext, dynamoDbSink } from '../support/dynamodb-sink-context.ts';
import { realRuntime } from '../support/test-runtime.ts';
import { describeShared, sharedService } from '../support/services.ts';

const decimal = { tag: 'decimal', precision: null, scale: null } as const;

describeShared('dynamodb', 'sink-dynamodb', () => {
  let endpoint: string;
  beforeAll(async () => {
    ({ endpoint } = await sharedService('dynamodb'));
  });
  beforeEach(() => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  });

  sinkContract('sink-dynamodb', () => Promise.resolve(dynamoDbContext(endpoint, { json: 'native', arrays: 'list' })));

  describe('sink-dynamodb with texts', () => {
    for (const numbers of ['native', 'text']) sinkReadBack(sinkBench(() => Promise.resolve(dynamoDbContext(endpoint, { numbers }))));
  });

  describe('sink-dynamodb', () => {
    const bench = sinkBench(() => Promise.resolve(dynamoDbContext(endpoint)));
    const { never, owner } = bench;
    const removeTable = async (TableName: string): Promise<void> => {
      const client = new DynamoDBClient({ region: 'eu-west-1', endpoint });
      await client.send(new UpdateTableCommand({ TableName, DeletionProtectionEnabled: false }));
      await client.send(new DeleteTableCommand({ TableName }));
      client.destroy();
    };

    test('a table that was made again stops the sink, since the progress that stands in another one does not show what is lost', async () => {
      expect(await bench.apply([upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])])).toEqual(['applied']);
      await removeTable(bench.schema.table);
      const later = bench.open();
      await later.provision([bench.schema], never);
      await later.claim({ ...owner, known: true }, never);
      await using partition = await later.assign(0, never);
      const rows = [upsertAt(bench.schema, sequenceAt(2), ['2', 'x', null])];
      expect(await codeThrown(partition.apply({ rows, progress: null }, never))).toBe('sink_table_replaced');
      expect(await bench.context.liveRows(bench.schema)).toEqual([]);
    });

    test('a table that is made again under a sink that runs is noticed within a minute', async () => {
      let laterMs = 0;
      const real = realRuntime();
      const runtime = { ...real, monotonicMs: () => (real.monotonicMs() + laterMs) as MonoMs };
      await using sink = bench.context.openWith(runtime);
      await sink.claim(owner, never);
      await using partition = await sink.assign(0, never);
      const rows = [upsertAt(bench.schema, sequenceAt(1), ['1', 'x', null])];
      expect(await bench.apply(rows, partition)).toEqual(['applied']);
      await removeTable(bench.schema.table);
      await bench.open().provision([bench.schema], never);
      laterMs = 60_000;
      expect(await codeThrown(partition.apply({ rows, progress: progressAt(9) }, never))).toBe('sink_table_replaced');
      expect(await bench.context.liveRows(bench.schema)).toEqual([]);
      expect((await sink.progress(never)).size).toBe(0);
    });

    test('progress that is lost while the data stays stops who holds it, and everything is then found to be there', async () => {
      const rows = ['1', '2'].map((id) => upsertAt(bench.schema, sequenceAt(2), [id, 'x', null]));
      expect(await bench.apply(rows)).toEqual(['applied', 'applied']);
      await bench.partition.save(progressAt(5), never);
      await removeTable(bench.context.progressTable);
      const newer = [upsertAt(bench.schema, sequenceAt(3), ['1', 'y', null])];
      expect(await codeThrown(bench.partition.apply({ rows: newer, progress: progressAt(6) }, never))).toBe('sink_misconfigured');
      const later = bench.open();
      await later.claim({ ...owner, known: true }, never);
      // There is a table again, and it knows nothing of who held a partition.
      expect(await codeThrown(bench.partition.apply({ rows: newer, progress: progressAt(6) }, never))).toBe('sink_went_back');
      await using partition = await later.assign(0, never);
      expect(partition.start).toBeNull();
      expect(await bench.apply([upsertAt(bench.schema, sequenceAt(1), ['1', 'w', null])], partition)).toEqual(['stale']);
      expect(await bench.apply(rows, partition)).toEqual(['stale', 'stale']);
      expect(await bench.apply(newer, partition)).toEqual(['applied']);
    });

    test('an item is its newest image and nothing else: no attribute of a dropped column, and of a deleted row the key alone', async () => {
      await using proxy = await DynamoDbProxy.create(endpoint);
      await using sink = bench.context.openAt(proxy.endpoint);
      const columns = [
        contractColumn('id', 'bigint', bigint, false),
        contractColumn('kept', 'numeric', { tag: 'decimal', precision: null, scale: null }),
        contractColumn('dropped', 'numeric', { tag: 'decimal', precision: null, scale: null }),
        contractColumn('big', 'text', text),
      ];
      const wide = contractSchema(bench.context.table('dropping'), columns);
      const narrow = contractSchema(
        wide.table,
        columns.filter(({ name }) => name !== 'dropped'),
      );
      await sink.provision([wide], never);
      await sink.claim(owner, never);
      await using partition = await sink.assign(1, never);
      const batches: (readonly unknown[])[] = [];
      proxy.onRequest = ({ body }) => {
        const { Statements = [], RequestItems = {} } = body as {
          Statements?: unknown[];
          RequestItems?: Record<string, { Keys?: unknown[] }>;
        };
        batches.push(Statements, ...Object.values(RequestItems).map(({ Keys = [] }) => Keys));
        return null;
      };
      const ids = Array.from({ length: 60 }, (_, id) => String(id));
      // Their texts are not those of their numbers, so that the item has to keep them.
      const whole = (commit: number) => ids.map((id) => upsertAt(wide, sequenceAt(commit), [id, '1.00', '2.00', 'x']));
      const fewer = (commit: number) => ids.map((id) => upsertAt(narrow, sequenceAt(commit), [id, '3', 'y']));
      const part = (commit: number) => ids.map((id) => partialAt(narrow, sequenceAt(commit), [id, '4', undefined]));
      const gone = (commit: number) => ids.map((id) => deleteAt(wide, sequenceAt(commit), id));
      const names = { wide: ['big', 'cw_seq', 'cw_text', 'dropped', 'id', 'kept'], narrow: ['big', 'cw_seq', 'id', 'kept'] };
      const tombstone = ['cw_deleted', 'cw_seq', 'id'];
      const steps = [
        [whole(1), names.wide],
        [fewer(2), names.narrow],
        [whole(3), names.wide],
        [part(4), names.narrow],
        [whole(5), names.wide],
        [gone(6), tombstone],
        [fewer(7), names.narrow],
        [gone(8), tombstone],
        [whole(9), names.wide],
      ] as const;
      const place = { endpoint, region: 'eu-west-1', accessKeyId: 'test' };
      for (const [rows, expected] of steps) {
        expect(new Set(await bench.apply(rows, partition))).toEqual(new Set(['applied']));
        const items = await itemsOf(place, wide.table);
        expect(items).toHaveLength(ids.length);
        expect(new Set(items.map((item) => Object.keys(item).sort().join()))).toEqual(new Set([expected.join()]));
      }
      for (const [rows] of steps) expect(new Set(await bench.apply(rows, partition))).toEqual(new Set(['stale']));
      for (const batch of batches) expect(new Set(batch.map((named) => JSON.stringify(named))).size).toBe(batch.length);
    });

    test('a batch that is given up ends at once, also what has not been sent yet', async () => {
      const context = dynamoDbContext(endpoint, { inFlightRows: 2 });
      await using sink = context.open();
      const schema = plainSchema(context.table('narrow'));
      await sink.provision([schema], never);
      await sink.claim(owner, never);
      await using partition = await sink.assign(0, never);
      const rows = Array.from({ length: 100 }, (_, id) => upsertAt(schema, sequenceAt(1), [String(id), 'x', null]));
      const stop = new AbortController();
      const applied = partition.apply({ rows, progress: null }, stop.signal);
      while ((await context.liveRows(schema)).length === 0) await Promise.resolve();
      stop.abort(new Error('enough'));
      await expect(applied).rejects.toThrow('enough');
      expect((await context.liveRows(schema)).length).toBeLessThan(rows.length);
      await context[Symbol.asyncDispose]();
    });

    test('a table that holds the rows of another pipeline, sink or source table is not written', async () => {
      await using context = dynamoDbContext(endpoint);
      const schema = plainSchema(context.table('taken'));
      const second = plainSchema(context.table('second'));
      const row = upsertAt(schema, sequenceAt(1), ['1', 'x', null]);
      const applied = async (pipeline: string, changes: readonly RowChange[]): Promise<string> => {
        await using sink = dynamoDbSink(context.config, realRuntime(), { pipeline, target: schema.table });
        await sink.claim({ owner: 'o', known: true }, never);
        await using partition = await sink.assign(0, never);
        return await codeThrown(partition.apply({ rows: changes, progress: null }, never));
      };
      await using sink = dynamoDbSink(context.config);
      await sink.provision([schema], never);
      expect(await applied('p', [row])).toBe('nothing');
      expect(await applied('other', [{ ...row, sequence: sequenceAt(2) }])).toBe('sink_misconfigured');
      // Also where the one that has it writes at the same time.
      expect(await applied('p', [row, upsertAt(second, sequenceAt(2), ['1', 'z', null])])).toBe('sink_misconfigured');
      expect(await context.liveRows(schema)).toEqual([['1', 'x', null]]);
      // Whoever goes away leaves its tables; but a sink that is new to one has to find it empty: its rows' sequences say nothing there.
      expect(await sink.remove(['o'], never)).toHaveLength(1);
      await using other = dynamoDbSink(context.config, realRuntime(), { pipeline: 'other' });
      expect(await codeThrown(other.provision([schema], never))).toBe('sink_misconfigured');
      await other.provision([plainSchema(context.table('empty'))], never);
    });

    test('a table that was made again is noticed while no rows of it come, and so is one whose rows expire', async () => {
      let laterMs = 0;
      const real = realRuntime();
      const runtime = { ...real, monotonicMs: () => (real.monotonicMs() + laterMs) as MonoMs };
      await using context = dynamoDbContext(endpoint);
      const schema = plainSchema(context.table('idle'));
      await using sink = dynamoDbSink(context.config, runtime);
      await sink.provision([schema], never);
      await sink.claim(owner, never);
      await using partition = await sink.assign(0, never);
      await partition.save(progressAt(1), never);
      const client = new DynamoDBClient({ region: 'eu-west-1', endpoint });
      const expiring = { TableName: schema.table, TimeToLiveSpecification: { Enabled: true, AttributeName: 'a' } };
      await client.send(new UpdateTimeToLiveCommand(expiring));
      await partition.save(progressAt(2), never);
      laterMs = 60_000;
      expect(await codeThrown(partition.save(progressAt(3), never))).toBe('sink_misconfigured');
      client.destroy();
    });

    test('a row that the service refuses parks only where its table is as it has to be', async () => {
      await using proxy = await DynamoDbProxy.create(endpoint);
      await using context = dynamoDbContext(endpoint, { writes: 'single' });
      const schema = plainSchema(context.table('later'));
      await using sink = context.openAt(proxy.endpoint);
      await sink.provision([schema], never);
      await sink.claim(owner, never);
      await using partition = await sink.assign(0, never);
      const write = (commit: number) =>
        partition.apply({ rows: [upsertAt(schema, sequenceAt(commit), ['1', 'x', 'y'])], progress: null }, never);
      // As the service does with what an index cannot be keyed by; the local store takes it.
      proxy.onRequest = (request) =>
        request.body['TableName'] === schema.table && request.writes ? { tag: 'error', name: 'ValidationException' } : null;
      expect(tags(await write(1))).toEqual(['value_refused']);
      const client = new DynamoDBClient({ region: 'eu-west-1', endpoint });
      const Create = {
        IndexName: 'by-big',
        KeySchema: [{ AttributeName: 'big', KeyType: 'HASH' as const }],
        Projection: { ProjectionType: 'ALL' as const },
      };
      const AttributeDefinitions = [{ AttributeName: 'big', AttributeType: 'N' as const }];
      await client.send(
        new UpdateTableCommand({ TableName: schema.table, AttributeDefinitions, GlobalSecondaryIndexUpdates: [{ Create }] }),
      );
      expect(await codeThrown(write(2))).toBe('sink_misconfigured');
      proxy.onRequest = () => null;
      client.destroy();
    });

    test('an item that is not ours, or in another form than the settings say, ends nothing silently', async () => {
      await using context = dynamoDbContext(endpoint, { numbers: 'text' });
      const schema = contractSchema(
        context.table('forms'),
        [contractColumn('k', 'numeric', decimal, false), contractColumn('v', 'numeric', decimal), contractColumn('t', 'text', text)],
        [0],
      );
      await using sink = context.open();
      await sink.provision([schema], never);
      await sink.claim(owner, never);
      const client = new DynamoDBClient({ region: 'eu-west-1', endpoint });
      await client.send(new PutItemCommand({ TableName: schema.table, Item: { cw_pk: { S: 'hello' } } }));
      await using partition = await sink.assign(0, never);
      expect(tags(await partition.apply({ rows: [upsertAt(schema, sequenceAt(1), ['1', '2.5', 'x'])], progress: null }, never))).toEqual([
        'applied',
      ]);
      expect(await codeThrown(scanned(sink, schema, never))).toBe('sink_misconfigured');
      const floor = { table: schema.table, sequence: sequenceAt(1, 0) };
      await passFloor(sink, floor, never, partition);
      expect(await sink.sweep(schema, floor, never)).toEqual({ rows: 0 });
      // A partial image would write null over what it does not understand.
      await using native = dynamoDbSink({ ...context.config, numbers: 'native' });
      await native.claim({ ...owner, known: true }, never);
      await using other = await native.assign(0, never);
      const rows = [partialAt(schema, sequenceAt(2), ['1', undefined, 'y'])];
      expect(await codeThrown(other.apply({ rows, progress: null }, never))).toBe('sink_misconfigured');
      client.destroy();
    });

    test('a null that keys an index is left out, and an index with a key of another type is told of', async () => {
      const TableName = bench.context.table('indexed');
      const schema = plainSchema(TableName);
      const client = new DynamoDBClient({ region: 'eu-west-1', endpoint });
      const indexed = (attribute: string, type: 'S' | 'N') => ({
        AttributeDefinitions: [
          { AttributeName: 'id', AttributeType: 'N' as const },
          { AttributeName: attribute, AttributeType: type },
        ],
        IndexName: `by-${attribute}`,
        KeySchema: [{ AttributeName: attribute, KeyType: 'HASH' as const }],
        Projection: { ProjectionType: 'ALL' as const },
      });
      const { AttributeDefinitions, ...byA } = indexed('a', 'S');
      const KeySchema = [{ AttributeName: 'id', KeyType: 'HASH' as const }];
      await client.send(
        new CreateTableCommand({
          TableName,
          BillingMode: 'PAY_PER_REQUEST',
          AttributeDefinitions,
          KeySchema,
          GlobalSecondaryIndexes: [byA],
        }),
      );
      const rows = [upsertAt(schema, sequenceAt(1), ['1', 'x', 'y']), upsertAt(schema, sequenceAt(1), ['2', null, null])];
      expect(await bench.apply(rows)).toEqual(['applied', 'applied']);
      expect(await bench.apply([upsertAt(schema, sequenceAt(2), ['1', null, 'z'])])).toEqual(['applied']);
      expect(await bench.context.liveRows(schema)).toEqual(
        expect.arrayContaining([
          ['1', null, 'z'],
          ['2', null, null],
        ]),
      );
      expect((await client.send(new ScanCommand({ TableName, IndexName: 'by-a' }))).Items).toEqual([]);
      expect(await bench.sink.differences(schema, never)).toEqual([]);
      const { AttributeDefinitions: more, ...byBig } = indexed('big', 'N');
      await client.send(
        new UpdateTableCommand({ TableName, AttributeDefinitions: more, GlobalSecondaryIndexUpdates: [{ Create: byBig }] }),
      );
      client.destroy();
      expect(await bench.sink.differences(schema, never)).toEqual([
        expect.stringContaining('has the key big as N, and the column becomes S'),
      ]);
    });

    test('a sink that never started has nothing to remove', async () => {
      const context = dynamoDbContext(endpoint);
      await using sink = context.open();
      expect(await sink.remove(['o'], never)).toEqual([]);
      await context[Symbol.asyncDispose]();
    });

    test('`provision: check` prints the command that makes a table, and `check` tells what is missing', async () => {
      const config = configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1', endpoint, progressTable: `${bench.schema.table}.none` });
      await using sink = dynamoDbSink(config);
      const absent = plainSchema(bench.context.table('absent'));
      const refused = await sink.provision([absent], never).catch(String);
      expect(refused).toContain(`aws dynamodb create-table --region eu-west-1 --endpoint-url ${endpoint} --table-name ${absent.table}`);
      expect(refused).toContain('AttributeName=id,AttributeType=N');
      const findings = await sink.check([absent, bench.schema], never);
      expect(findings.filter(({ id }) => id === 'DD-001').map(({ level }) => level)).toEqual(['error', 'error', 'ok']);
      expect(findings.filter(({ id }) => id === 'DD-011').map(({ level }) => level)).toEqual(['ok']);
      expect(findings.filter(({ id }) => id === 'DD-003').map(({ level }) => level)).toEqual(['ok']);
      const place = { endpoint, region: 'eu-west-1', accessKeyId: 'test' };
      const before = await itemsOf(place, bench.context.progressTable);
      await using made = bench.open();
      const own = (await made.check([], never)).filter(({ id }) => id === 'DD-003');
      expect(own.map(({ level, details }) => ({ level, details }))).toEqual([{ level: 'ok', details: [] }]);
      expect(await itemsOf(place, bench.context.progressTable)).toEqual(before);
    });
  });

  describe('sink-dynamodb with texts, each item by a request', () => {
    const bench = sinkBench(() => Promise.resolve(dynamoDbContext(endpoint, { numbers: 'text', writes: 'single' })));
    sinkRows(bench);
    sinkRefusals(bench);
  });
});
