import { randomBytes } from 'node:crypto';
import { BatchWriteItemCommand, DeleteItemCommand, DynamoDBClient, PutItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import type { TableId, TableSchema } from '#core/schema.ts';
import type { Runtime } from '#core/runtime.ts';
import type { Sink } from '#core/sink.ts';
import { rowKeyOf } from '#core/key.ts';
import { present } from '#core/assert.ts';
import { configSchema, type SinkConfig } from '../../connectors/sink-dynamodb/config.ts';
import { encoded } from '../../connectors/sink-dynamodb/encode.ts';
import type { Item } from '../../connectors/lib/dynamodb/send.ts';
import { DynamoSink } from '../../connectors/sink-dynamodb/sink.ts';
import { keyItem, rowIn, shapeOf, type Shape } from '../../connectors/sink-dynamodb/shape.ts';
import type { SinkContext } from '../contract/sink.ts';
import { typeCases, type TypeCase } from './canonical-values.ts';
import { dynamoDbLimits, isBeyondDynamoDb, ITEM_BYTES_MAX } from './dynamodb-limits.ts';
import { silentLogger } from './silent-logger.ts';
import { realRuntime } from './test-runtime.ts';

const region = 'eu-west-1';

/** The sink `s` of the pipeline `p`. A single row too takes the way of a batch. */
export function dynamoDbSink(
  config: SinkConfig,
  runtime: Runtime = realRuntime(),
  of: { readonly pipeline?: string; readonly target?: TableId } = {},
): Sink {
  return new DynamoSink({
    config,
    pipeline: of.pipeline ?? 'p',
    sink: 's',
    partitions: 4,
    target: (table) => of.target ?? table,
    aloneRowsMax: 0,
    onRetry: () => undefined,
    context: { runtime, logger: silentLogger },
  });
}

export type DynamoDbContext = SinkContext & {
  /** What `open` gives, by way of a proxy. */
  openAt(endpoint: string): Sink;
  openWith(runtime: Runtime): Sink;
  readonly progressTable: string;
  readonly config: SinkConfig;
};

/** Tables of its own for each context, in one DynamoDB Local. */
export function dynamoDbContext(endpoint: string, over: Readonly<Record<string, unknown>> = {}): DynamoDbContext {
  const prefix = `t${randomBytes(6).toString('hex')}`;
  const progressTable = `${prefix}.progress`;
  const config = configSchema.parse({
    ...{ kind: 'dynamodb', region, endpoint, provision: 'create', progressTable, tables: '{schema}.{table}', batchRows: 100 },
    ...over,
  });
  const client = new DynamoDBClient({ region, endpoint });
  const shape = (schema: TableSchema): Shape => shapeOf(schema, { config, pipeline: 'p', sink: 's', target: schema.table });
  const all = async (table: string): Promise<readonly Item[]> => {
    const items: Item[] = [];
    let from: Item | undefined;
    do {
      const page = await client.send(new ScanCommand({ TableName: table, ConsistentRead: true, ExclusiveStartKey: from }));
      items.push(...(page.Items ?? []));
      from = page.LastEvaluatedKey;
    } while (from !== undefined);
    return items;
  };
  const progressItems = async (): Promise<readonly Item[]> =>
    (await all(progressTable)).filter(({ sk }) => sk?.S?.startsWith('partition/') === true);
  return {
    open: () => dynamoDbSink(config),
    openAt: (other) => dynamoDbSink({ ...config, endpoint: other }),
    openWith: (runtime) => dynamoDbSink(config, runtime),
    progressTable,
    config,
    table: (name) => `${prefix}.${name}` as TableId,
    liveRows: async (schema) =>
      (await all(shape(schema).tableName)).filter((item) => item['cw_deleted'] === undefined).map((item) => rowIn(shape(schema), item)),
    plant: async (schema, row) => {
      const key = keyItem(shape(schema), present(rowKeyOf(schema, row), 'a key'));
      const columns = schema.columns.map(({ name, type }, index) => {
        const value = row[index] ?? null;
        return [name, value === null ? { NULL: true as const } : encoded(type, value, config).attribute] as const;
      });
      await client.send(new PutItemCommand({ TableName: shape(schema).tableName, Item: { ...Object.fromEntries(columns), ...key } }));
    },
    keepProgress: async () => {
      const kept = await progressItems();
      return async () => {
        for (const { pk, sk } of await progressItems()) {
          await client.send(new DeleteItemCommand({ TableName: progressTable, Key: { pk: present(pk, 'pk'), sk: present(sk, 'sk') } }));
        }
        for (const item of kept)
          await client.send(new BatchWriteItemCommand({ RequestItems: { [progressTable]: [{ PutRequest: { Item: item } }] } }));
      };
    },
    dropClaim: async () => {
      await client.send(new DeleteItemCommand({ TableName: progressTable, Key: { pk: { S: 'p/s' }, sk: { S: 'claim' } } }));
    },
    typeCases: typeCases.map((entry) => taken(entry, config)).filter(({ edges }) => edges.length > 0),
    // What the sink refuses by itself, and what only the service does.
    poison:
      config.numbers === 'native'
        ? { sourceType: 'numeric', type: { tag: 'decimal', precision: null, scale: null }, good: '1.50', bad: '-Infinity' }
        : { sourceType: 'text', type: { tag: 'text' }, good: 'short', bad: 'x'.repeat(ITEM_BYTES_MAX) },
    refusesValue: (type, text) => isBeyondDynamoDb(type, text, config),
    refusesKey: (type, text) => text === '' && (type.tag === 'text' || type.tag === 'bytes'),
    limitCases: dynamoDbLimits(config),
    manyRows: 1_000,
    hasTables: true,
    hasColumns: false,
    takesOver: false,
    atomic: false,
    runs: 10,
    [Symbol.asyncDispose]: () => {
      client.destroy();
      return Promise.resolve();
    },
  };
}

/** Its edges that an attribute can hold. */
function taken(entry: TypeCase, config: SinkConfig): TypeCase {
  return { ...entry, edges: entry.edges.filter((edge) => !isBeyondDynamoDb(entry.type, edge, config)) };
}
