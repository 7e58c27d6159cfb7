import { describe, expect, test } from 'vitest';
import type { CausewayError } from '#core/errors.ts';
import type { TableId } from '#core/schema.ts';
import { dynamoError } from '../../../connectors/lib/dynamodb/errors.ts';
import { checkSink } from '../../../connectors/sink-dynamodb/check.ts';
import type { Sender } from '../../../connectors/sink-dynamodb/client.ts';
import { configSchema } from '../../../connectors/sink-dynamodb/config.ts';
import { OwnTable } from '../../../connectors/sink-dynamodb/own-table.ts';
import { shapeOf } from '../../../connectors/sink-dynamodb/shape.ts';
import { provisionTable, wantedOwnTable } from '../../../connectors/sink-dynamodb/tables.ts';
import { VerifiedTables } from '../../../connectors/sink-dynamodb/verified-tables.ts';
import { codeThrown, plainSchema } from '../../contract/sink.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const never = new AbortController().signal;
const config = configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1' });

/** Every table is there, with the key of the sink's own one, and its ARN is this. */
function senderOf(TableArn: string): Sender {
  const { key } = wantedOwnTable(config);
  const Table = {
    TableArn,
    TableStatus: 'ACTIVE',
    KeySchema: key.map(({ name, role }) => ({ AttributeName: name, KeyType: role === 'partition' ? 'HASH' : 'RANGE' })),
    AttributeDefinitions: key.map(({ name, type }) => ({ AttributeName: name, AttributeType: type })),
  };
  return { runtime: realRuntime(), send: (_what, signal, work) => work({ send: () => Promise.resolve({ Table }) } as never, signal) };
}

const arnOf = (region: string): string => `arn:aws:dynamodb:${region}:123456789012:table/t`;

describe('a table of another region than the configured one', () => {
  test.each([
    ['of the region', arnOf('eu-west-1'), 'ok'],
    ['of another one', arnOf('eu-west-2'), 'error'],
    ['of a local store, which has none', arnOf('ddblocal'), 'ok'],
    ['of another kind of store', 'arn:other:store:keyspace:x:table/t', 'ok'],
  ])('is told by the check: %s', async (_, arn, level) => {
    const findings = await checkSink({ client: senderOf(arn), config }, [], never);
    const found = findings.find(({ id }) => id === 'DD-002');
    expect(found?.level).toBe(level);
    expect(found?.mend).toHaveLength(level === 'ok' ? 0 : 1);
  });

  test('stops the sink at the start and at each look', async () => {
    const parts = { client: senderOf(arnOf('eu-west-2')), config };
    expect(await codeThrown(provisionTable(parts, wantedOwnTable(config), never))).toBe('sink_region');
    const own = new OwnTable({ client: parts.client, name: 'own', place: { pipeline: 'p', sink: 's' } });
    const verified = new VerifiedTables({ ...parts, own, onRetry: () => undefined });
    const target = 'public.t' as TableId;
    const shape = shapeOf(plainSchema(target), { config, pipeline: 'p', sink: 's', target });
    expect(await codeThrown(verified.verify(shape, never))).toBe('sink_region');
  });
});

test.each([
  ['https://dynamodb.eu-west-2.amazonaws.com', 'eu-west-2'],
  ['https://vpce-0a1b-c2d3.dynamodb.us-gov-west-1.vpce.amazonaws.com', 'us-gov-west-1'],
  ['https://dynamodb.cn-north-1.amazonaws.com.cn', 'cn-north-1'],
  ['https://dynamodb.ap-southeast-2.api.aws', 'ap-southeast-2'],
  ['https://dynamodb.eu-west-1.amazonaws.com', null],
  ['https://tables.example.com', null],
  ['http://127.0.0.1:8000', null],
])('an endpoint of another region is a mistake of the configuration: %s', (endpoint, other) => {
  const parsed = configSchema.safeParse({ kind: 'dynamodb', region: 'eu-west-1', endpoint });
  expect(parsed.error?.issues.map(({ path, message }) => ({ path, message })) ?? []).toEqual(
    other === null ? [] : [{ path: ['endpoint'], message: `is of the region ${other}, and not of eu-west-1` }],
  );
});

test('an endpoint that is no URL is that mistake alone', () => {
  const { error } = configSchema.safeParse({ kind: 'dynamodb', region: 'eu-west-1', endpoint: 'nonsense' });
  expect(error?.issues.map(({ path }) => path)).toEqual([['endpoint']]);
});

test('a region that is no part of a name is a mistake of the configuration', () => {
  expect(configSchema.safeParse({ kind: 'dynamodb', region: 'EU (Ireland)' }).error?.issues[0]?.message).toContain('no name of a region');
});

describe('errors that a wrong region can be behind', () => {
  const told = (role: 'sink' | 'control', error: Error): CausewayError =>
    dynamoError(error, { role, what: 'the table t', region: 'eu-wset-1' });

  test('a name that no server has is an error of its own, as a control store one that is tried again', () => {
    const hostname = 'dynamodb.eu-wset-1.amazonaws.com';
    const error = Object.assign(new Error('getaddrinfo'), { code: 'ENOTFOUND', hostname });
    expect(told('sink', error)).toMatchObject({ code: 'sink_region', message: expect.stringContaining(hostname) as string });
    expect(told('control', error).code).toBe('control_unavailable');
  });

  test.each(['InvalidSignatureException', 'UnrecognizedClientException'])('%s is told with the region', (name) => {
    const error = Object.assign(new Error('secret words'), { name, $metadata: { httpStatusCode: 400 } });
    const { code, message } = told('sink', error);
    expect(code).toBe('sink_credentials');
    expect(message).toContain('eu-wset-1');
    expect(message).not.toContain('secret words');
  });
});
