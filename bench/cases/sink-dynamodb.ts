// The DynamoDB sink beside bare loops of the SDK, against a thread that answers at once.
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { BatchExecuteStatementCommand, BatchGetItemCommand, DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import type { RowChange } from '#core/sink.ts';
import { configSchema } from '../../connectors/sink-dynamodb/config.ts';
import { DynamoSink } from '../../connectors/sink-dynamodb/sink.ts';
import type { Item } from '../../connectors/lib/dynamodb/send.ts';
import { silentLogger } from '../../test/support/silent-logger.ts';
import { systemRuntime } from '../../src/runtime/runtime.ts';
import { compareRates, type Measured, type Result } from '../pairs.ts';
import { applyAll, changeOf, never, schema, sequence, valuesOf, type Values } from '../sink-rows.ts';

const GOAL = 0.85;
const PROGRESS_TABLE = 'causeway_progress';
const TABLE = 'bench.item';
const PARTITIONS = 4;
/** As the worker of a partition hands them to the sink. */
const BATCH_ROWS = 1_000;
const STATEMENTS = 25;
const KEYS = 100;
const STATEMENT_REQUESTS_AT_ONCE = 20;
/** As the sink by default. */
const PUTS_AT_ONCE = 1_000;
/** A single put costs some fifteen times as much. */
const SINGLE_SHARE = 0.1;

const region = 'eu-west-1';

/** What a table holds of the rows before they are written. */
type Holding = 'nothing' | 'all';

/** Three pairs: rows into an empty table, rows over rows, and each row by a request of its own. */
export async function sinkDynamoDbCase({ runs, rows }: { readonly runs: number; readonly rows: number }): Promise<Result[]> {
  process.env['AWS_ACCESS_KEY_ID'] = 'bench';
  process.env['AWS_SECRET_ACCESS_KEY'] = 'bench';
  await using service = await Answers.start();
  const all = Array.from({ length: rows }, (_, id) => valuesOf(id));
  const changes = all.map(changeOf);
  const fresh = changes.map((change) => ({ ...change, isNew: true }) as RowChange);
  const fewRows = Math.round(rows * SINGLE_SHARE);
  const contest = (name: string, what: string, reference: string, of: Contestants): Promise<Result> =>
    compareRates(
      {
        name,
        what,
        reference,
        runs,
        ours: () => measure(service, of.holding, of.ours),
        theirs: () => measure(service, of.holding, of.theirs),
      },
      GOAL,
    );
  const { endpoint } = service;
  return [
    await contest('sink-dynamodb-load', `${rows} rows into an empty table`, 'bare INSERT loop', {
      holding: 'nothing',
      ours: () => throughSink(endpoint, fresh, 'batches'),
      theirs: () => insertLoop(endpoint, all),
    }),
    await contest('sink-dynamodb-update', `${rows} rows over rows`, 'bare loop of BatchGetItem and UPDATE', {
      holding: 'all',
      ours: () => throughSink(endpoint, changes, 'batches'),
      theirs: () => updateLoop(endpoint, all),
    }),
    await contest('sink-dynamodb-single', `${fewRows} rows, each by a request`, 'bare PutItem loop', {
      holding: 'nothing',
      ours: () => throughSink(endpoint, changes.slice(0, fewRows), 'single'),
      theirs: () => putLoop(endpoint, all.slice(0, fewRows)),
    }),
  ];
}

type Contestants = { readonly holding: Holding; readonly ours: () => Promise<number>; readonly theirs: () => Promise<number> };

/** CPU time is that of this thread: the one that answers is not counted. */
async function measure(service: Answers, holding: Holding, work: () => Promise<number>): Promise<Measured> {
  await service.hold(holding);
  const before = process.threadCpuUsage();
  const startMs = performance.now();
  const rows = await work();
  const seconds = (performance.now() - startMs) / 1_000;
  const { user, system } = process.threadCpuUsage(before);
  const calls = await service.hold(holding);
  const sent = Object.entries(calls).map(([call, count]) => `${call} ${count}`);
  console.error(`    ${((user + system) / rows).toFixed(1)} µs of CPU a row; ${sent.join(', ')}`);
  return {
    rows,
    seconds,
    usage: [{ name: 'client', processes: 1, cpuSeconds: (user + system) / 1e6, peakMiB: process.memoryUsage().rss / 2 ** 20 }],
  };
}

async function throughSink(endpoint: string, changes: readonly RowChange[], writes: 'batches' | 'single'): Promise<number> {
  await using sink = new DynamoSink({
    config: configSchema.parse({ kind: 'dynamodb', region, endpoint, progressTable: PROGRESS_TABLE, writes }),
    pipeline: 'bench',
    sink: 'bench',
    partitions: PARTITIONS,
    target: (table) => table,
    onRetry: () => undefined,
    context: { runtime: systemRuntime, logger: silentLogger },
  });
  await sink.claim({ owner: 'bench', known: true }, never);
  return await applyAll(sink, changes, { partitions: PARTITIONS, batchRows: BATCH_ROWS });
}

async function insertLoop(endpoint: string, all: readonly Values[]): Promise<number> {
  const names = ['cw_seq', ...schema.columns.map(({ name }) => name)];
  const Statement = `INSERT INTO "${TABLE}" VALUE {${names.map((name) => `'${name}': ?`).join(', ')}}`;
  return await inPieces(endpoint, all, { piece: STATEMENTS, atOnce: STATEMENT_REQUESTS_AT_ONCE }, async (client, some) => {
    const Statements = some.map((values) => {
      const item = itemOf(values);
      return { Statement, Parameters: names.map((name) => item[name] ?? { NULL: true }) };
    });
    const { Responses } = await client.send(new BatchExecuteStatementCommand({ Statements }));
    if (Responses?.some((one) => one.Error !== undefined) !== false) throw new Error('a statement failed');
  });
}

async function updateLoop(endpoint: string, all: readonly Values[]): Promise<number> {
  const names = ['cw_seq', ...schema.columns.map(({ name }) => name).filter((name) => name !== 'id')];
  const Statement = `UPDATE "${TABLE}" ${names.map((name) => `SET "${name}" = ?`).join(' ')} WHERE "id" = ? AND "cw_seq" = ?`;
  return await inPieces(endpoint, all, { piece: KEYS, atOnce: STATEMENT_REQUESTS_AT_ONCE / 4 }, async (client, some) => {
    const Keys = some.map(([id]) => ({ id: { N: id } }));
    const { Responses: read } = await client.send(new BatchGetItemCommand({ RequestItems: { [TABLE]: { Keys } } }));
    const found = new Map(read?.[TABLE]?.map((item) => [item['id']?.N, item]));
    const statements = some.map((values) => {
      const item = itemOf(values);
      const before = found.get(values[0])?.['cw_seq'] ?? { NULL: true };
      return { Statement, Parameters: [...names.map((name) => item[name] ?? { NULL: true }), { N: values[0] }, before] };
    });
    await Promise.all(
      Array.from({ length: Math.ceil(statements.length / STATEMENTS) }, async (_, at) => {
        const Statements = statements.slice(at * STATEMENTS, (at + 1) * STATEMENTS);
        const { Responses } = await client.send(new BatchExecuteStatementCommand({ Statements }));
        if (Responses?.some((one) => one.Error !== undefined) !== false) throw new Error('a statement failed');
      }),
    );
  });
}

async function putLoop(endpoint: string, all: readonly Values[]): Promise<number> {
  return await inPieces(endpoint, all, { piece: 1, atOnce: PUTS_AT_ONCE }, async (client, some) => {
    for (const values of some) {
      const item = itemOf(values);
      await client.send(
        new PutItemCommand({
          TableName: TABLE,
          Item: item,
          ConditionExpression: 'attribute_not_exists(#key) OR #sequence < :sequence',
          ExpressionAttributeNames: { '#key': 'id', '#sequence': 'cw_seq' },
          ExpressionAttributeValues: { ':sequence': item['cw_seq'] ?? { NULL: true } },
          ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
        }),
      );
    }
  });
}

async function inPieces(
  endpoint: string,
  all: readonly Values[],
  { piece, atOnce }: { readonly piece: number; readonly atOnce: number },
  send: (client: DynamoDBClient, some: readonly Values[]) => Promise<void>,
): Promise<number> {
  const client = new DynamoDBClient({
    region,
    endpoint,
    maxAttempts: 1,
    requestHandler: { httpAgent: { keepAlive: true, maxSockets: PUTS_AT_ONCE } },
  });
  let from = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (from < all.length) await send(client, all.slice(from, (from += piece)));
    }),
  );
  client.destroy();
  return all.length;
}

class Answers implements AsyncDisposable {
  readonly endpoint: string;
  readonly #worker: Worker;

  private constructor(worker: Worker, port: number) {
    this.#worker = worker;
    this.endpoint = `http://127.0.0.1:${port}`;
  }

  static async start(): Promise<Answers> {
    const standing = { ...itemOf(valuesOf(0)), cw_seq: { B: Buffer.alloc(24).toString('base64') } };
    const worker = new Worker(join(import.meta.dirname, '../dynamodb-answers.ts'), {
      workerData: { progressTable: PROGRESS_TABLE, standing },
    });
    const [{ port }] = (await once(worker, 'message')) as [{ port: number }];
    return new Answers(worker, port);
  }

  /** Says what its table holds from now on; returns the calls since the last time. */
  async hold(holding: Holding): Promise<Readonly<Record<string, number>>> {
    this.#worker.postMessage({ holdsAll: holding === 'all' });
    const [{ calls }] = (await once(this.#worker, 'message')) as [{ calls: Record<string, number> }];
    return calls;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}

const sequenceBytes = Buffer.from(sequence, 'hex');

/** The item as a program for this one table makes it. */
function itemOf([id, account, status, amount, changedAt, payload]: Values): Item {
  return {
    id: { N: id },
    account: { N: account },
    status: { S: status },
    amount: { N: amount },
    changed_at: { S: changedAt },
    payload: { S: payload },
    cw_seq: { B: sequenceBytes },
  };
}
