import { judgeItems } from './accounting-dynamodb.ts';
import { rememberEffects } from './dynamodb-effects.ts';
import { DynamoDbLocal } from './dynamodb-local.ts';
import { byChance, DynamoDbProxy, type DynamoDbFault } from './dynamodb-proxy.ts';
import type { GauntletSink } from './gauntlet-sink.ts';
import { ledgerTables } from './ledger-writer.ts';

const region = 'eu-west-1';
const accessKeyId = 'test';
const half = (place: number): boolean => place % 2 === 0;

/** What the service does now and then and the local store never. Connections are for the proxies of the daemons. */
const faults: readonly DynamoDbFault[] = [
  { tag: 'error', name: 'ProvisionedThroughputExceededException' },
  { tag: 'error', name: 'ThrottlingException' },
  { tag: 'error', name: 'InternalServerError' },
  { tag: 'error', name: 'ServiceUnavailable' },
  { tag: 'error', name: 'TransactionConflictException' },
  { tag: 'error behind the effect', name: 'InternalServerError' },
  { tag: 'statements', code: 'ThrottlingError', strikes: half },
  { tag: 'statements', code: 'ProvisionedThroughputExceeded', strikes: () => true },
  { tag: 'statements behind the effect', code: 'InternalServerError', strikes: half },
  { tag: 'unprocessed', strikes: half },
  { tag: 'lost reply' },
];

/** DynamoDB Local with its tables in a file: killed by SIGKILL it has lost nothing that it acknowledged, nor what its streams tell. */
export async function dynamoDbGauntletSink(): Promise<GauntletSink> {
  const server = await DynamoDbLocal.create({ keepsTables: true });
  const proxy = await DynamoDbProxy.create(server.endpoint);
  // The judge asks the server itself: no fault befalls it.
  const place = { endpoint: server.endpoint, region, accessKeyId };
  return {
    prepare: () => Promise.resolve(),
    audit: async () => {
      for (const table of ledgerTables) await rememberEffects(place, table);
    },
    judge: (source, accounts) => judgeItems(source, place, accounts),
    port: proxy.port,
    configured: (port) => [`copy: { kind: dynamodb, region: ${region}, endpoint: 'http://127.0.0.1:${String(port)}', provision: create }`],
    env: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: 'test', AWS_EC2_METADATA_DISABLED: 'true' },
    outage: 'kill',
    goAway: () => server.kill(),
    comeBack: () => server.start(),
    weather: {
      strike: (random, share) => {
        proxy.onRequest = byChance(random, { faults, share });
      },
      heal: () => proxy.heal(),
    },
    evidence: null,
    dispose: async () => {
      await proxy[Symbol.asyncDispose]();
      await server.dispose();
    },
  };
}
