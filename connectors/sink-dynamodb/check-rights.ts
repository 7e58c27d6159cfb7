import {
  BatchExecuteStatementCommand,
  BatchGetItemCommand,
  DeleteItemCommand,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  ScanCommand,
  TransactWriteItemsCommand,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';
import type { Finding } from '#core/finding.ts';
import { nameOf } from '../lib/dynamodb/errors.ts';
import type { Item } from '../lib/dynamodb/send.ts';
import type { Sender } from './client.ts';
import type { SinkConfig } from './config.ts';
import { DELETED, SEQUENCE, type Shape } from './shape.ts';

/** A key that no row of a source has: whoever reads it finds nothing. */
const CANARY_TEXT = 'causeway/check';
const CANARY_NUMBER = '-99999999999999999999999999999999999999';

const NEVER = 'attribute_exists(#key) AND attribute_not_exists(#key)';

const DENIED: ReadonlySet<string> = new Set(['AccessDeniedException', 'AccessDenied']);

type Probe = {
  readonly action: string;
  /** Rejects with what the service says; what it answers otherwise does not matter. */
  readonly ask: (client: DynamoDBClient, abortSignal: AbortSignal) => Promise<unknown>;
};

/** Asks for each right by a call that changes nothing: reads of a key that is not there, and writes on a condition that is never true. */
export async function checkRights(
  { client, config }: { readonly client: Sender; readonly config: SinkConfig },
  shape: Shape,
  signal: AbortSignal,
): Promise<Finding> {
  const denied = await deniedOf(client, { tableName: shape.tableName, probes: probesOf(shape, config) }, signal);
  return finding({ tableName: shape.tableName, what: 'rows', level: 'error' }, denied);
}

/** The same on the table of the sink's progress, which other calls read and write. */
export async function checkOwnRights(
  { client, config }: { readonly client: Sender; readonly config: SinkConfig },
  signal: AbortSignal,
): Promise<Finding> {
  const { progressTable: tableName } = config;
  const denied = await deniedOf(client, { tableName, probes: ownProbesOf(tableName) }, signal);
  // Nothing is deleted but reports of earlier runs, before the sink is removed.
  const level = denied.every((action) => action === 'DeleteItem') ? 'warning' : 'error';
  return finding({ tableName, what: 'progress', level }, denied);
}

function finding(
  { tableName, what, level }: { readonly tableName: string; readonly what: string; readonly level: 'warning' | 'error' },
  denied: readonly string[],
): Finding {
  const actions = denied.map((action) => `dynamodb:${action}`);
  return {
    id: 'DD-003',
    level: denied.length > 0 ? level : 'ok',
    title: `${what} of the table ${tableName} may be read and written`,
    details: actions.map((action) => `${action} is not allowed`),
    mend: actions.length > 0 ? [`allow ${actions.join(', ')} on the table in the policy of the role: docs/privileges.md`] : [],
  };
}

async function deniedOf(
  client: Sender,
  { tableName, probes }: { readonly tableName: string; readonly probes: readonly Probe[] },
  signal: AbortSignal,
): Promise<readonly string[]> {
  const denied: string[] = [];
  for (const { action, ask } of probes) if (await isDenied(client, { tableName, ask }, signal)) denied.push(action);
  return denied;
}

async function isDenied(
  client: Sender,
  { tableName, ask }: { readonly tableName: string; readonly ask: Probe['ask'] },
  signal: AbortSignal,
): Promise<boolean> {
  return await client.send(`the table ${tableName}`, signal, async (dynamo, abortSignal) => {
    try {
      await ask(dynamo, abortSignal);
      return false;
    } catch (error) {
      if (DENIED.has(nameOf(error))) return true;
      const status = (error as { readonly $metadata?: { readonly httpStatusCode?: number } }).$metadata?.httpStatusCode;
      // Any other refusal of the request itself comes behind the question of rights.
      if (status === 400) return false;
      throw error;
    }
  });
}

function probesOf({ tableName, key }: Shape, { writes }: SinkConfig): readonly Probe[] {
  const canary: Item = Object.fromEntries(key.map(({ name, type }) => [name, canaryValue(type)]));
  const where = key.map(({ name }) => `"${name}" = ?`).join(' AND ');
  const parameters = Object.values(canary);
  const statement = async (client: DynamoDBClient, abortSignal: AbortSignal, Statement: string): Promise<void> => {
    const command = new BatchExecuteStatementCommand({ Statements: [{ Statement, Parameters: parameters }] });
    const { Responses } = await client.send(command, { abortSignal });
    const code = Responses?.[0]?.Error?.Code;
    if (code === 'AccessDenied') throw Object.assign(new Error('a statement is not allowed'), { name: code });
  };
  const first = key[0]?.name ?? '';
  return [
    {
      action: 'GetItem',
      ask: (client, abortSignal) => client.send(new GetItemCommand({ TableName: tableName, Key: canary }), { abortSignal }),
    },
    {
      action: 'BatchGetItem',
      ask: (client, abortSignal) =>
        client.send(new BatchGetItemCommand({ RequestItems: { [tableName]: { Keys: [canary] } } }), { abortSignal }),
    },
    { action: 'Scan', ask: (client, abortSignal) => client.send(new ScanCommand({ TableName: tableName, Limit: 1 }), { abortSignal }) },
    {
      action: 'PutItem',
      ask: (client, abortSignal) =>
        client.send(
          new PutItemCommand({
            TableName: tableName,
            Item: canary,
            ConditionExpression: NEVER,
            ExpressionAttributeNames: { '#key': first },
          }),
          { abortSignal },
        ),
    },
    ...(writes === 'batches'
      ? [
          {
            action: 'PartiQLUpdate',
            ask: (client: DynamoDBClient, abortSignal: AbortSignal) =>
              statement(client, abortSignal, `UPDATE "${tableName}" SET "${DELETED}" = true WHERE ${where} AND "${SEQUENCE}" = 'none'`),
          },
        ]
      : []),
  ];
}

function ownProbesOf(tableName: string): readonly Probe[] {
  const where = { TableName: tableName, Key: { pk: { S: CANARY_TEXT }, sk: { S: CANARY_TEXT } } };
  const never = { ConditionExpression: NEVER, ExpressionAttributeNames: { '#key': 'pk' } };
  const query = new QueryCommand({
    TableName: tableName,
    KeyConditionExpression: 'pk = :pk',
    ExpressionAttributeValues: { ':pk': where.Key.pk },
  });
  return [
    { action: 'GetItem', ask: (client, abortSignal) => client.send(new GetItemCommand(where), { abortSignal }) },
    { action: 'Query', ask: (client, abortSignal) => client.send(query, { abortSignal }) },
    {
      action: 'PutItem',
      ask: (client, abortSignal) => client.send(new PutItemCommand({ TableName: tableName, Item: where.Key, ...never }), { abortSignal }),
    },
    {
      action: 'ConditionCheckItem',
      ask: (client, abortSignal) =>
        client.send(new TransactWriteItemsCommand({ TransactItems: [{ ConditionCheck: { ...where, ...never } }] }), { abortSignal }),
    },
    { action: 'DeleteItem', ask: (client, abortSignal) => client.send(new DeleteItemCommand({ ...where, ...never }), { abortSignal }) },
  ];
}

function canaryValue(type: 'S' | 'N' | 'B'): Item[string] {
  if (type === 'N') return { N: CANARY_NUMBER };
  return type === 'S' ? { S: CANARY_TEXT } : { B: Buffer.from(CANARY_TEXT) };
}
