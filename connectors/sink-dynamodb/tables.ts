import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  UpdateContinuousBackupsCommand,
  type CreateTableCommandInput,
  type TableDescription,
} from '@aws-sdk/client-dynamodb';
import { CausewayError } from '#core/errors.ts';
import { nameOf } from '../lib/dynamodb/errors.ts';
import { otherRegionOf } from '../lib/dynamodb/region.ts';
import type { Sender } from './client.ts';
import type { SinkConfig } from './config.ts';
import { scalarType } from './encode.ts';
import type { Shape } from './shape.ts';

const POLL_MS = 500;
/** A table is there after some ten seconds. */
const CREATED_WITHIN_MS = 120_000;

/** A table whose settings are being changed takes writes all the while. */
const WRITABLE: ReadonlySet<string> = new Set(['ACTIVE', 'UPDATING']);
const BACKUPS_LATER: ReadonlySet<string> = new Set(['UnknownOperationException', 'ContinuousBackupsUnavailableException']);

/** A table as it has to be. */
export type WantedTable = {
  readonly name: string;
  /** Types of the other attributes, where an index can be keyed by them. */
  readonly attributes: ReadonlyMap<string, 'S' | 'N' | 'B' | null>;
  readonly key: readonly { readonly name: string; readonly type: 'S' | 'N' | 'B'; readonly role: 'partition' | 'sort' }[];
};

export function wantedTable({ tableName, key, schema, config }: Shape): WantedTable {
  const attributes = new Map(schema.columns.map(({ name, type }) => [name, scalarType(type, config)]));
  return { name: tableName, key, attributes };
}

export function wantedOwnTable({ progressTable }: SinkConfig): WantedTable {
  return {
    name: progressTable,
    attributes: new Map(),
    key: [
      { name: 'pk', type: 'S', role: 'partition' },
      { name: 'sk', type: 'S', role: 'sort' },
    ],
  };
}

/** Null where there is none. */
export async function describeTable(client: Sender, name: string, signal: AbortSignal): Promise<TableDescription | null> {
  return await client.send(`the table ${name}`, signal, async (dynamo, abortSignal) => {
    try {
      return (await dynamo.send(new DescribeTableCommand({ TableName: name }), { abortSignal })).Table ?? null;
    } catch (error) {
      if (nameOf(error) === 'ResourceNotFoundException') return null;
      throw error;
    }
  });
}

/** Names of the attributes that key one of its indexes. */
export function indexKeysOf({ GlobalSecondaryIndexes, LocalSecondaryIndexes, KeySchema }: TableDescription): ReadonlySet<string> {
  const own = new Set((KeySchema ?? []).map(({ AttributeName }) => AttributeName));
  const all = [...(GlobalSecondaryIndexes ?? []), ...(LocalSecondaryIndexes ?? [])].flatMap((index) => index.KeySchema ?? []);
  return new Set(all.flatMap(({ AttributeName }) => (AttributeName === undefined || own.has(AttributeName) ? [] : [AttributeName])));
}

/** What keeps rows from being written to the table as it is; empty when nothing does. */
export function differencesOf(wanted: WantedTable, table: TableDescription | null): readonly string[] {
  if (table === null) return [`the table ${wanted.name} is missing`];
  const found: string[] = [];
  const types = new Map((table.AttributeDefinitions ?? []).map((one) => [one.AttributeName, one.AttributeType]));
  const has = (table.KeySchema ?? []).map((one) => `${one.AttributeName ?? ''} ${types.get(one.AttributeName) ?? ''} ${one.KeyType ?? ''}`);
  const wants = wanted.key.map(({ name, type, role }) => `${name} ${type} ${keyType(role)}`);
  if (has.join() !== wants.join())
    found.push(
      `the key of the table ${wanted.name} is ${has.join(', ')}, and not ${wants.join(', ')}: set \`keys\` or \`tables\` of the sink, or make another table`,
    );
  for (const name of indexKeysOf(table)) {
    const written = wanted.attributes.get(name);
    const wants = types.get(name);
    // An attribute that is no column of the source is never written, and its index stays empty.
    if (written !== undefined && written !== wants) {
      found.push(
        `an index of the table ${wanted.name} has the key ${name} as ${wants ?? ''}, and the column becomes ${written ?? 'no key'}: drop the index`,
      );
    }
  }
  const state = table.TableStatus ?? 'ACTIVE';
  if (!WRITABLE.has(state)) found.push(`the table ${wanted.name} is ${state}, and takes no writes`);
  return found;
}

/** Makes the table where it is missing, and waits until it can be written. Errors: `sink_misconfigured`, `sink_region`, `sink_unavailable`. */
export async function provisionTable(
  { client, config }: { readonly client: Sender; readonly config: SinkConfig },
  wanted: WantedTable,
  signal: AbortSignal,
): Promise<TableDescription> {
  let table = await describeTable(client, wanted.name, signal);
  if (table === null && config.provision === 'check') {
    throw new CausewayError(
      'sink_misconfigured',
      `there is no table ${wanted.name} in ${config.region}; this makes it (or set \`provision: create\`):\n${createCommand(config, wanted)}`,
    );
  }
  if (table !== null) assertRegion(config, wanted.name, table);
  const isNew = table === null;
  if (isNew) await create(client, wanted, signal);
  table = await created(client, wanted.name, signal);
  if (isNew) await switchBackupsOn(client, wanted.name, signal);
  const differences = differencesOf(wanted, table);
  if (differences.length > 0) throw new CausewayError('sink_misconfigured', differences.join('; '));
  return table;
}

/** Errors: `sink_region` for a table of another region than the configured one: its progress would be taken for that one's. */
export function assertRegion({ region }: SinkConfig, name: string, { TableArn }: TableDescription): void {
  const other = otherRegionOf(TableArn, region);
  if (other === null) return;
  throw new CausewayError('sink_region', `the table ${name} is in ${other}, and \`region\` is ${region}: correct it, or \`endpoint\``);
}

async function create(client: Sender, wanted: WantedTable, signal: AbortSignal): Promise<void> {
  const command = new CreateTableCommand(definitionOf(wanted));
  await client.send(`the table ${wanted.name}`, signal, async (dynamo, abortSignal) => {
    try {
      await dynamo.send(command, { abortSignal });
    } catch (error) {
      // Somebody else makes it at the same time.
      if (nameOf(error) !== 'ResourceInUseException') throw error;
    }
  });
}

/** Waits until the table can be written: one that is being updated can. */
async function created(client: Sender, name: string, signal: AbortSignal): Promise<TableDescription> {
  const startedAt = client.runtime.monotonicMs();
  while (true) {
    const table = await describeTable(client, name, signal);
    if (table !== null && table.TableStatus !== 'CREATING') return table;
    if (client.runtime.monotonicMs() - startedAt > CREATED_WITHIN_MS)
      throw new CausewayError('sink_unavailable', `the table ${name} is not active yet`);
    await client.runtime.sleep(POLL_MS, signal);
  }
}

async function switchBackupsOn(client: Sender, name: string, signal: AbortSignal): Promise<void> {
  const command = new UpdateContinuousBackupsCommand({
    TableName: name,
    PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
  });
  await client.send(`the table ${name}`, signal, async (dynamo, abortSignal) => {
    try {
      await dynamo.send(command, { abortSignal });
    } catch (error) {
      // A local store has none, and those of a new table can be in the making: `check` tells where they are off.
      if (!BACKUPS_LATER.has(nameOf(error))) throw error;
    }
  });
}

function definitionOf({ name, key }: WantedTable): CreateTableCommandInput {
  return {
    TableName: name,
    AttributeDefinitions: key.map((one) => ({ AttributeName: one.name, AttributeType: one.type })),
    KeySchema: key.map((one) => ({ AttributeName: one.name, KeyType: keyType(one.role) })),
    BillingMode: 'PAY_PER_REQUEST',
    DeletionProtectionEnabled: true,
    Tags: [{ Key: 'causeway', Value: 'sink' }],
  };
}

/** Makes what `provision: create` makes. */
export function createCommand(config: SinkConfig, { name, key }: WantedTable): string {
  const at = `${atOf(config)} --table-name ${name}`;
  const attributes = listed(key.map((one) => ({ AttributeName: one.name, AttributeType: one.type })));
  const keys = listed(key.map((one) => ({ AttributeName: one.name, KeyType: keyType(one.role) })));
  const made = `aws dynamodb create-table ${at} --attribute-definitions ${attributes} --key-schema ${keys}`;
  return [
    `${made} --billing-mode PAY_PER_REQUEST --deletion-protection-enabled --tags Key=causeway,Value=sink`,
    `aws dynamodb wait table-exists ${at}`,
    `aws dynamodb update-continuous-backups ${at} --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true`,
  ].join('\n');
}

/** Where a command of the CLI goes. */
export function atOf({ region, endpoint }: SinkConfig): string {
  return `--region ${region}${endpoint === undefined ? '' : ` --endpoint-url ${endpoint}`}`;
}

/** Structures as an argument: in the short form, or as JSON where a name has characters that the short form or the shell reads otherwise. */
function listed(structures: readonly Readonly<Record<string, string>>[]): string {
  const isPlain = structures.every((one) => Object.values(one).every((text) => /^[\w.-]+$/.test(text)));
  if (!isPlain) return `'${JSON.stringify(structures).replaceAll("'", String.raw`'\''`)}'`;
  return structures
    .map((one) =>
      Object.entries(one)
        .map(([name, text]) => `${name}=${text}`)
        .join(','),
    )
    .join(' ');
}

function keyType(role: 'partition' | 'sort'): 'HASH' | 'RANGE' {
  return role === 'partition' ? 'HASH' : 'RANGE';
}

export type Expiry = { readonly tag: 'off' } | { readonly tag: 'on'; readonly attribute: string } | { readonly tag: 'unknown' };

/** Whether rows of the table expire; unknown where that may not be asked. */
export async function expiryOf(client: Sender, name: string, signal: AbortSignal): Promise<Expiry> {
  const command = new DescribeTimeToLiveCommand({ TableName: name });
  const found = await client.send(`the table ${name}`, signal, (dynamo, abortSignal) =>
    unlessUntold(dynamo.send(command, { abortSignal })),
  );
  if (found === null) return { tag: 'unknown' };
  const { TimeToLiveStatus: status, AttributeName: attribute = '' } = found.TimeToLiveDescription ?? {};
  return status === 'ENABLED' || status === 'ENABLING' ? { tag: 'on', attribute } : { tag: 'off' };
}

const UNTOLD: ReadonlySet<string> = new Set(['AccessDeniedException', 'UnknownOperationException']);

/** Null where it may not be asked, or a local store does not know the call. */
export async function unlessUntold<T>(sent: Promise<T>): Promise<T | null> {
  try {
    return await sent;
  } catch (error) {
    if (UNTOLD.has(nameOf(error))) return null;
    throw error;
  }
}
