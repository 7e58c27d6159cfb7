import { CreateTableCommand, DescribeTableCommand, type DynamoDBClient, type TableDescription } from '@aws-sdk/client-dynamodb';
import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import { nameOf } from '../lib/dynamodb/errors.ts';
import type { Config } from './config.ts';

const POLL_MS = 500;
/** A table is there after some ten seconds. */
const CREATED_WITHIN_MS = 120_000;

export type Send = <T>(work: (client: DynamoDBClient, signal: AbortSignal) => Promise<T>) => Promise<T>;

/** Rows are found by `pk` and `sk`, and nothing else may change them. Errors: `control_misconfigured`, `control_foreign`. */
export async function verifyTable(
  config: Config,
  deps: { readonly send: Send; readonly runtime: Runtime },
  signal: AbortSignal,
): Promise<void> {
  const { send, runtime } = deps;
  let table = await describe(config, send);
  if (table === null) {
    if (config.provision === 'check') throw missing(config);
    await create(config, send);
    const startedAt = runtime.monotonicMs();
    while (table?.TableStatus !== 'ACTIVE') {
      if (runtime.monotonicMs() - startedAt > CREATED_WITHIN_MS)
        throw new CausewayError('control_unavailable', `the table ${config.table} is not active yet`);
      await runtime.sleep(POLL_MS, signal);
      table = await describe(config, send);
    }
  }
  refuseUnsafe(config.table, table);
}

async function describe(config: Config, send: Send): Promise<TableDescription | null> {
  return await send(async (client, signal) => {
    try {
      const { Table } = await client.send(new DescribeTableCommand({ TableName: config.table }), { abortSignal: signal });
      return Table ?? null;
    } catch (error) {
      if (nameOf(error) === 'ResourceNotFoundException') return null;
      throw error;
    }
  });
}

async function create(config: Config, send: Send): Promise<void> {
  const command = new CreateTableCommand({
    TableName: config.table,
    AttributeDefinitions: [
      { AttributeName: 'pk', AttributeType: 'S' },
      { AttributeName: 'sk', AttributeType: 'S' },
    ],
    KeySchema: [
      { AttributeName: 'pk', KeyType: 'HASH' },
      { AttributeName: 'sk', KeyType: 'RANGE' },
    ],
    BillingMode: 'PAY_PER_REQUEST',
    DeletionProtectionEnabled: true,
  });
  await send(async (client, signal) => {
    try {
      await client.send(command, { abortSignal: signal });
    } catch (error) {
      // Somebody else makes it at the same time.
      if (nameOf(error) !== 'ResourceInUseException') throw error;
    }
  });
}

export function createCommand({ region, table, endpoint }: Config): string {
  return [
    'aws dynamodb create-table',
    `--region ${region}`,
    ...(endpoint === undefined ? [] : [`--endpoint-url ${endpoint}`]),
    `--table-name ${table}`,
    '--attribute-definitions AttributeName=pk,AttributeType=S AttributeName=sk,AttributeType=S',
    '--key-schema AttributeName=pk,KeyType=HASH AttributeName=sk,KeyType=RANGE',
    '--billing-mode PAY_PER_REQUEST',
    '--deletion-protection-enabled',
  ].join(' ');
}

function missing(config: Config): CausewayError {
  return new CausewayError(
    'control_misconfigured',
    `there is no table ${config.table} in ${config.region}; this makes it (or set \`provision: create\`):\n${createCommand(config)}`,
  );
}

function refuseUnsafe(
  name: string,
  { KeySchema, AttributeDefinitions, Replicas, MultiRegionConsistency, TableStatus }: TableDescription,
): void {
  const keys = (KeySchema ?? []).map((key) => `${key.AttributeName ?? ''} ${key.KeyType ?? ''}`).join(', ');
  const texts = (AttributeDefinitions ?? []).filter((one) => ['pk', 'sk'].includes(one.AttributeName ?? '') && one.AttributeType === 'S');
  if (keys !== 'pk HASH, sk RANGE' || texts.length !== 2) {
    throw new CausewayError('control_foreign', `the table ${name} is not a control store of Causeway: its key is not the texts pk and sk`);
  }
  // Replicas settle concurrent writes by time ("Global tables", consistency modes): two regions would both win a swap.
  if ((Replicas ?? []).length > 0 && MultiRegionConsistency !== 'STRONG') {
    throw new CausewayError(
      'control_misconfigured',
      `the table ${name} is a global table without strong consistency, whose swaps do not exclude each other: use a table of one region, or one with --multi-region-consistency STRONG`,
    );
  }
  if (TableStatus === 'DELETING') throw new CausewayError('control_unavailable', `the table ${name} is being deleted`);
}
