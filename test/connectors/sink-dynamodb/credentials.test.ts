// Roles that are taken on: STS and DynamoDB are one server of the test, with answers in the form of the API references ("AssumeRole",
// "AssumeRoleWithWebIdentity", "Common errors").
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import { DescribeTableCommand } from '@aws-sdk/client-dynamodb';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import { Client } from '../../../connectors/sink-dynamodb/client.ts';
import { configSchema } from '../../../connectors/sink-dynamodb/config.ts';
import { tempFolder, type TempFolder } from '../../support/temp-folder.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const never = new AbortController().signal;
const ROLE = 'arn:aws:iam::123456789012:role/writer';
const HOUR_MS = 3_600_000;

type StsAnswer = { readonly tag: 'given'; readonly lastsMs: number } | { readonly tag: 'refused'; readonly code: string };

let server: Server;
let endpoint: string;
let folder: TempFolder;
/** One for each request to STS, in order. */
let answers: StsAnswer[];
let askedSts: URLSearchParams[];
/** The ids that the requests to STS and to DynamoDB were signed with; null where one was not signed. */
let signedSts: (string | null)[];
let signedDynamo: (string | null)[];

beforeEach(async () => {
  folder = tempFolder();
  answers = [];
  askedSts = [];
  signedSts = [];
  signedDynamo = [];
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => answer(request, Buffer.concat(parts).toString(), response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  vi.stubEnv('AWS_ENDPOINT_URL_STS', endpoint);
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  for (const name of ['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE']) vi.stubEnv(name, join(folder.path, 'none'));
  for (const name of ['AWS_PROFILE', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']) vi.stubEnv(name, undefined);
});

afterEach(async () => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  folder[Symbol.dispose]();
});

function answer(request: IncomingMessage, body: string, response: ServerResponse): void {
  const signed = /Credential=([^/]+)\//.exec(request.headers.authorization ?? '')?.[1] ?? null;
  if (request.headers['x-amz-target'] === undefined) {
    signedSts.push(signed);
    answerSts(new URLSearchParams(body), response);
    return;
  }
  signedDynamo.push(signed);
  // Keys that were given out come with their token.
  const isKnown = signed !== null && request.headers['x-amz-security-token'] === `token-of-${signed}`;
  const told = isKnown ? { Table: { TableStatus: 'ACTIVE' } } : { __type: 'com.amazon.coral.service#UnrecognizedClientException' };
  response.writeHead(isKnown ? 200 : 400, { 'content-type': 'application/x-amz-json-1.0' }).end(JSON.stringify(told));
}

function answerSts(asked: URLSearchParams, response: ServerResponse): void {
  askedSts.push(asked);
  const action = asked.get('Action') ?? '';
  const next = answers.shift() ?? { tag: 'refused', code: 'Unexpected' };
  const xmlns = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"';
  if (next.tag === 'refused') {
    const words = `not authorized to perform sts:${action}`;
    const error = `<Error><Type>Sender</Type><Code>${next.code}</Code><Message>${words}</Message></Error>`;
    response.writeHead(403, { 'content-type': 'text/xml' }).end(`<ErrorResponse ${xmlns}>${error}<RequestId>r</RequestId></ErrorResponse>`);
    return;
  }
  const id = `ASIA${askedSts.length}`;
  const credentials =
    `<Credentials><AccessKeyId>${id}</AccessKeyId><SecretAccessKey>given-secret</SecretAccessKey><SessionToken>token-of-${id}</SessionToken>` +
    `<Expiration>${new Date(Date.now() + next.lastsMs).toISOString()}</Expiration></Credentials>`;
  const user = `<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/writer/causeway</Arn><AssumedRoleId>A:causeway</AssumedRoleId></AssumedRoleUser>`;
  response
    .writeHead(200, { 'content-type': 'text/xml' })
    .end(
      `<${action}Response ${xmlns}><${action}Result>${user}${credentials}</${action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></${action}Response>`,
    );
}

type Kind = 'assumeRole' | 'web identity';

function open(kind: Kind): Client {
  if (kind === 'assumeRole') {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAOWN');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'own-secret');
  } else {
    vi.stubEnv('AWS_ROLE_ARN', ROLE);
    vi.stubEnv('AWS_WEB_IDENTITY_TOKEN_FILE', join(folder.path, 'token'));
    writeFileSync(join(folder.path, 'token'), 'first-web-token');
  }
  const role = kind === 'assumeRole' ? { assumeRole: { arn: ROLE, externalId: 'outside' } } : {};
  return new Client({ config: configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1', endpoint, ...role }), runtime: realRuntime() });
}

function describeTable(client: Client): Promise<unknown> {
  const command = new DescribeTableCommand({ TableName: 'public.t' });
  return client.send('the table public.t', never, (dynamo, abortSignal) => dynamo.send(command, { abortSignal }));
}

async function refusalOf(client: Client): Promise<CausewayError> {
  const error: unknown = await describeTable(client).catch((thrown: unknown) => thrown);
  if (error instanceof CausewayError) return error;
  throw new Error('no refusal', { cause: error });
}

test.each<Kind>(['assumeRole', 'web identity'])(
  '%s: requests carry the keys of the role, and new ones once those have ended',
  async (kind) => {
    answers = [
      { tag: 'given', lastsMs: HOUR_MS },
      { tag: 'given', lastsMs: HOUR_MS },
    ];
    await using client = open(kind);
    await describeTable(client);
    await describeTable(client);
    expect(signedDynamo).toEqual(['ASIA1', 'ASIA1']);
    if (kind === 'web identity') writeFileSync(join(folder.path, 'token'), 'second-web-token');
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + HOUR_MS + 1 });
    await describeTable(client);
    await describeTable(client);
    expect(signedDynamo.slice(2)).toEqual(['ASIA2', 'ASIA2']);
    expect(signedSts).toEqual(kind === 'assumeRole' ? ['AKIAOWN', 'AKIAOWN'] : [null, null]);
    expect(askedSts.map((asked) => asked.get('RoleArn'))).toEqual([ROLE, ROLE]);
    const particular = askedSts.map((asked) => asked.get(kind === 'assumeRole' ? 'ExternalId' : 'WebIdentityToken'));
    expect(particular).toEqual(kind === 'assumeRole' ? ['outside', 'outside'] : ['first-web-token', 'second-web-token']);
  },
);

test.each<readonly [Kind, string]>([
  ['assumeRole', 'AccessDenied'],
  ['assumeRole', 'InvalidClientTokenId'],
  ['assumeRole', 'RegionDisabledException'],
  ['web identity', 'AccessDenied'],
  ['web identity', 'InvalidIdentityToken'],
  ['web identity', 'IDPRejectedClaim'],
  ['web identity', 'ExpiredTokenException'],
])('%s: a role that STS refuses with %s is told as that, without a secret', async (kind, code) => {
  answers = [{ tag: 'refused', code }];
  await using client = open(kind);
  const error = await refusalOf(client);
  expect(error.code).toBe('sink_credentials');
  expect(error.message).toContain('the table public.t: ');
  expect(error.message).toContain(code.replace('Exception', ''));
  for (const secret of ['own-secret', 'given-secret', 'first-web-token'])
    expect(JSON.stringify([error.message, error.stack])).not.toContain(secret);
  expect(signedDynamo).toEqual([]);
  expect(askedSts).toHaveLength(1);
  // What was refused once is asked for again: the trust can have been mended meanwhile.
  answers = [{ tag: 'given', lastsMs: HOUR_MS }];
  await describeTable(client);
  expect(signedDynamo).toEqual(['ASIA2']);
});

test('an identity provider that STS cannot ask is an outage', async () => {
  // The client of STS asks three times.
  answers = Array.from({ length: 3 }, () => ({ tag: 'refused', code: 'IDPCommunicationError' }));
  await using client = open('web identity');
  expect((await refusalOf(client)).code).toBe('sink_unavailable');
  expect(answers).toEqual([]);
});

test('a token file that is not there is told as missing credentials', async () => {
  await using client = open('web identity');
  vi.stubEnv('AWS_WEB_IDENTITY_TOKEN_FILE', join(folder.path, 'absent'));
  expect((await refusalOf(client)).code).toBe('sink_credentials');
  expect(askedSts).toEqual([]);
});

test('keys that DynamoDB does not know are told with the region that they were tried in', async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAOWN');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'own-secret');
  await using client = new Client({
    config: configSchema.parse({ kind: 'dynamodb', region: 'eu-west-1', endpoint }),
    runtime: realRuntime(),
  });
  const error = await refusalOf(client);
  expect(error.code).toBe('sink_credentials');
  expect(error.message).toContain('UnrecognizedClientException: the key is not known in eu-west-1');
  expect(signedDynamo).toEqual(['AKIAOWN']);
});
