import { DescribeContinuousBackupsCommand, type TableDescription } from '@aws-sdk/client-dynamodb';
import type { Finding } from '#core/finding.ts';
import { otherRegionOf } from '../lib/dynamodb/region.ts';
import { checkOwnRights, checkRights } from './check-rights.ts';
import type { Sender } from './client.ts';
import type { SinkConfig } from './config.ts';
import type { Shape } from './shape.ts';
import {
  atOf,
  createCommand,
  describeTable,
  differencesOf,
  expiryOf,
  unlessUntold,
  wantedOwnTable,
  wantedTable,
  type WantedTable,
} from './tables.ts';

/**
 * Looks, changes nothing. Whether rows fit 400 KB is not among it (DD-005): a schema tells of nearly every table that a text of it could be
 * longer, and only the source could tell of rows that are. One that does not fit parks its key, with the reason.
 */
export async function checkSink(
  of: { readonly client: Sender; readonly config: SinkConfig },
  shapes: readonly Shape[],
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const findings = await checkTable(of, wantedOwnTable(of.config), signal);
  if (findings.length > 1) findings.push(await checkOwnRights(of, signal));
  for (const shape of shapes) {
    const found = await checkTable(of, wantedTable(shape), signal);
    findings.push(...found);
    if (found.length > 1) findings.push(await checkRights(of, shape, signal));
  }
  return findings;
}

async function checkTable(
  { client, config }: { readonly client: Sender; readonly config: SinkConfig },
  wanted: WantedTable,
  signal: AbortSignal,
): Promise<Finding[]> {
  const table = await describeTable(client, wanted.name, signal);
  const title = `the table ${wanted.name} is there, with its key`;
  if (table === null) {
    const made = config.provision === 'create';
    const missing: Finding = {
      id: 'DD-001',
      level: made ? 'ok' : 'error',
      title,
      details: [made ? 'it is missing, and is made at the start' : 'it is missing'],
      mend: made ? [] : createCommand(config, wanted).split('\n'),
    };
    return [missing];
  }
  const differences = differencesOf(wanted, table);
  return [
    { id: 'DD-001', level: differences.length > 0 ? 'error' : 'ok', title, details: differences, mend: [] },
    inRegion(config, wanted.name, table),
    capacity(wanted.name, table),
    globalTable(wanted.name, table),
    encryption(wanted.name, table),
    await safety({ client, config }, { name: wanted.name, table }, signal),
    await expiry({ client, config }, wanted.name, signal),
  ];
}

function inRegion({ region }: SinkConfig, name: string, { TableArn }: TableDescription): Finding {
  const other = otherRegionOf(TableArn, region);
  return {
    id: 'DD-002',
    level: other === null ? 'ok' : 'error',
    title: `the table ${name} is in the region ${region}`,
    details: other === null ? [] : [`its ARN is of ${other}`],
    mend: other === null ? [] : [`set \`region\` to ${other}, or take the \`endpoint\` of ${region}`],
  };
}

function capacity(name: string, table: TableDescription): Finding {
  const { WriteCapacityUnits: units = 0, ReadCapacityUnits: readUnits = 0 } = table.ProvisionedThroughput ?? {};
  const isProvisioned = table.BillingModeSummary?.BillingMode === 'PROVISIONED' || (table.BillingModeSummary === undefined && units > 0);
  const most = table.OnDemandThroughput?.MaxWriteRequestUnits ?? -1;
  const limit = isProvisioned ? units : most;
  const reads = isProvisioned ? readUnits : (table.OnDemandThroughput?.MaxReadRequestUnits ?? -1);
  const details = [
    ...(limit > 0
      ? [`it takes ${limit} write units a second: a unit for each KB of a row, and as many for each index; what is more waits`]
      : []),
    ...(reads > 0 ? [`it takes ${reads} read units a second: half of one for each row that is not new`] : []),
  ];
  const title = `the table ${name} takes reads and writes as they come`;
  return { id: 'DD-006', level: details.length > 0 ? 'warning' : 'ok', title, details, mend: [] };
}

function encryption(name: string, { SSEDescription }: TableDescription): Finding {
  const isLost = SSEDescription?.InaccessibleEncryptionDateTime !== undefined;
  const details = isLost
    ? [`the service cannot use its key ${SSEDescription.KMSMasterKeyArn ?? ''}: enable the key, or grant its use again`]
    : [];
  return { id: 'DD-010', level: isLost ? 'error' : 'ok', title: `the key of the table ${name} can be used`, details, mend: [] };
}

function globalTable(name: string, { Replicas, MultiRegionConsistency }: TableDescription): Finding {
  // Replicas settle concurrent writes by time ("Global tables", consistency modes), and would let an older sequence win.
  const isRisk = (Replicas ?? []).length > 0 && MultiRegionConsistency !== 'STRONG';
  const details = isRisk ? ['it is a global table: a second writer in another region would win by time, not by sequence'] : [];
  return { id: 'DD-008', level: isRisk ? 'warning' : 'ok', title: `the table ${name} is written in one region`, details, mend: [] };
}

async function safety(
  { client, config }: { readonly client: Sender; readonly config: SinkConfig },
  { name, table }: { readonly name: string; readonly table: TableDescription },
  signal: AbortSignal,
): Promise<Finding> {
  const backups = await client.send(`the table ${name}`, signal, (dynamo, abortSignal) =>
    unlessUntold(dynamo.send(new DescribeContinuousBackupsCommand({ TableName: name }), { abortSignal })),
  );
  const state = backups?.ContinuousBackupsDescription?.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus;
  const update = (what: string): string => `aws dynamodb ${what} ${atOf(config)} --table-name ${name}`;
  const lacks = [
    ...(backups === null || state === 'ENABLED'
      ? []
      : [
          {
            what: 'point-in-time recovery is off',
            mend: `${update('update-continuous-backups')} --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true`,
          },
        ]),
    ...(table.DeletionProtectionEnabled === true
      ? []
      : [{ what: 'deletion protection is off', mend: `${update('update-table')} --deletion-protection-enabled` }]),
  ];
  return {
    id: 'DD-009',
    level: lacks.length > 0 ? 'warning' : 'ok',
    title: `the table ${name} can be restored, and not be deleted by mistake`,
    details: lacks.map(({ what }) => what),
    mend: lacks.map(({ mend }) => mend),
  };
}

/** Rows that expire take their sequence with them, and older changes would bring them back. */
async function expiry(
  { client, config }: { readonly client: Sender; readonly config: SinkConfig },
  name: string,
  signal: AbortSignal,
): Promise<Finding> {
  const found = await expiryOf(client, name, signal);
  const title = `rows of the table ${name} do not expire`;
  if (found.tag === 'unknown') {
    return { id: 'DD-011', level: 'skipped', title, details: ['dynamodb:DescribeTimeToLive is not allowed'], mend: [] };
  }
  const isOn = found.tag === 'on';
  const attribute = isOn ? found.attribute : '';
  const off = `aws dynamodb update-time-to-live ${atOf(config)} --table-name ${name} --time-to-live-specification Enabled=false,AttributeName=${attribute}`;
  return {
    id: 'DD-011',
    level: isOn ? 'error' : 'ok',
    title,
    details: isOn ? [`they expire by ${attribute}, with their sequences`] : [],
    mend: isOn ? [off] : [],
  };
}
