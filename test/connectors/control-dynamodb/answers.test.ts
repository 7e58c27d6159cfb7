// What only the service itself answers, in the form that its manual gives ("DynamoDB low-level API", "Error handling with DynamoDB").
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ControlKey, ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { configSchema } from '../../../connectors/control-dynamodb/config.ts';
import { connector } from '../../../connectors/control-dynamodb/index.ts';
import { silentLogger } from '../../support/silent-logger.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const never = new AbortController().signal;
const key = 'lease/p' as ControlKey;

type Answer = { readonly status: number; readonly body: unknown };

const table = {
  TableStatus: 'ACTIVE',
  KeySchema: [
    { AttributeName: 'pk', KeyType: 'HASH' },
    { AttributeName: 'sk', KeyType: 'RANGE' },
  ],
  AttributeDefinitions: [
    { AttributeName: 'pk', AttributeType: 'S' },
    { AttributeName: 'sk', AttributeType: 'S' },
  ],
};
const described = (more: Readonly<Record<string, unknown>> = {}): Answer => ({ status: 200, body: { Table: { ...table, ...more } } });
const refused = (status: number, type: string, message = 'so it is'): Answer => ({
  status,
  body: { __type: `com.amazonaws.dynamodb.v20120810#${type}`, message },
});

let server: Server;
let asked: string[];
let answer: (operation: string) => Answer;
let store: ControlStore;

beforeEach(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
  asked = [];
  server = createServer((request, response) => {
    const operation = String(request.headers['x-amz-target']).split('.')[1] ?? '';
    asked.push(operation);
    const { status, body } = answer(operation);
    request
      .resume()
      .on('end', () => response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' }).end(JSON.stringify(body)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  store = connector.create({
    config: configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1', endpoint }),
    leaseTtlMs: 15_000,
    context: { runtime: realRuntime(), logger: silentLogger },
  });
});

afterEach(async () => {
  await store[Symbol.asyncDispose]();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  vi.unstubAllEnvs();
});

async function thrown(work: Promise<unknown>): Promise<CausewayError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof CausewayError) return error;
  throw new Error('not a CausewayError', { cause: error });
}

test.each([
  [400, 'AccessDeniedException', 'control_credentials'],
  [400, 'UnrecognizedClientException', 'control_credentials'],
  [400, 'ExpiredTokenException', 'control_credentials'],
  [400, 'ThrottlingException', 'control_unavailable'],
  [400, 'ProvisionedThroughputExceededException', 'control_unavailable'],
  [500, 'InternalServerError', 'control_unavailable'],
  [503, 'SomethingNew', 'control_unavailable'],
  [400, 'ResourceNotFoundException', 'control_misconfigured'],
  [400, 'ValidationException', 'control_misconfigured'],
] as const)('an answer %i %s is one answer, and %s', async (status, type, code) => {
  answer = (operation) => (operation === 'DescribeTable' ? described() : refused(status, type));
  expect((await thrown(store.swap({ key, value: 1, expected: null }, never))).code).toBe(code);
  expect(asked).toEqual(['DescribeTable', 'PutItem']);
});

test('words that can quote a row are not repeated, words about rights are', async () => {
  answer = (operation) => (operation === 'DescribeTable' ? described() : refused(400, 'ValidationException', 'tr0ub4dor is no number'));
  expect((await thrown(store.get(key, never))).message).not.toContain('tr0ub4dor');
  answer = () => refused(400, 'AccessDeniedException', 'not authorized to perform dynamodb:DescribeTable');
  expect((await thrown(store.get(key, never))).message).toContain('dynamodb:DescribeTable');
});

test('a global table whose regions settle writes by time is refused, one with strong consistency is not', async () => {
  const replicas = { Replicas: [{ RegionName: 'eu-west-2' }] };
  answer = (operation) => (operation === 'DescribeTable' ? described(replicas) : { status: 200, body: {} });
  const error = await thrown(store.get(key, never));
  expect([error.code, error.message]).toEqual(['control_misconfigured', expect.stringContaining('global table')]);
  answer = (operation) =>
    operation === 'DescribeTable' ? described({ ...replicas, MultiRegionConsistency: 'STRONG' }) : { status: 200, body: {} };
  expect(await store.get(key, never)).toBeNull();
});
