import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { AuthenticationProviderArgs } from 'kafkajs';
import kafkajs from 'kafkajs';
import { describe, expect, it } from 'vitest';
import { codeOf } from '#core/errors.ts';
import type { WallMs } from '#core/position.ts';
import { saslMechanism } from '../../../connectors/log-kafka/authentication.ts';
import { codeOfKafkaError, kafkaError } from '../../../connectors/log-kafka/errors.ts';
import { mskToken } from '../../../connectors/log-kafka/msk-iam.ts';
import { clientCredentialsToken } from '../../../connectors/log-kafka/oauth.ts';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tempFolder } from '../../support/temp-folder.ts';
import { realRuntime, VirtualClock } from '../../support/test-runtime.ts';

const { KafkaJSAggregateError, KafkaJSProtocolError } = kafkajs;

/** As the client names its own errors. */
function named(name: string, over: object = {}): Error {
  return Object.assign(new Error(name), { name, ...over });
}

describe('a token for Amazon MSK', () => {
  const secretAccessKey = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
  const wallMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678) as WallMs;

  /*
   * Signatures that aws-msk-iam-sasl-signer-js 1.0.3 gives for the same credentials at the same time. It adds its name to the address
   * behind the signature, as we do.
   */
  it.each([
    [{ accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey }, 'bf2863582dedd310a48b9d3d7d2c336923122e0f8e851f157418d1c2eecac45b'],
    [
      { accessKeyId: 'ASIAIOSFODNN7EXAMPLE', secretAccessKey, sessionToken: 'IQoJb3JpZ2luX2VjEAA/+=ab!(c)*' },
      'e96f1e5003349b0edc8739a648cf30d2a3e7f64060291bfd4ce20e7d75cc82c0',
    ],
  ])('is the one that the signer of AWS makes', async (credentials, signature) => {
    const token = await mskToken('eu-west-1', wallMs, () => Promise.resolve(credentials));
    const url = new URL(Buffer.from(token, 'base64url').toString());
    expect(url.host).toBe('kafka.eu-west-1.amazonaws.com');
    expect(Object.fromEntries(url.searchParams)).toEqual({
      Action: 'kafka-cluster:Connect',
      'User-Agent': 'causeway',
      'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
      'X-Amz-Credential': `${credentials.accessKeyId}/20260102/eu-west-1/kafka-cluster/aws4_request`,
      'X-Amz-Date': '20260102T030405Z',
      'X-Amz-Expires': '900',
      ...('sessionToken' in credentials ? { 'X-Amz-Security-Token': credentials.sessionToken } : {}),
      'X-Amz-Signature': signature,
      'X-Amz-SignedHeaders': 'host',
    });
  });

  it('names the time of its making', async () => {
    const times = ['1970-01-01T00:00:00Z', '2024-02-29T23:59:59Z', '2024-03-01T00:00:00Z', '2025-12-31T12:34:56Z', '2100-03-01T00:00:01Z'];
    for (const text of [
      ...times,
      ...Array.from({ length: 400 }, (_none, index) => new Date(index * 8_000_000_000 + 12_345_000).toISOString()),
    ]) {
      const credentials = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey };
      const token = await mskToken('eu-west-1', Date.parse(text) as WallMs, () => Promise.resolve(credentials));
      const compact = text.replaceAll(/[-:]|\.\d+/g, '');
      expect(new URL(Buffer.from(token, 'base64url').toString()).searchParams.get('X-Amz-Date')).toBe(compact);
    }
  });

  it('is not to be had without credentials, and nothing of them is told', async () => {
    const failed = mskToken('eu-west-1', wallMs, () => Promise.reject(new Error(`profile with ${secretAccessKey}`)));
    await expect(failed).rejects.toThrow(expect.objectContaining({ code: 'log_credentials' }));
    await expect(failed).rejects.not.toThrow(secretAccessKey);
  });
});

describe('a token for client credentials', () => {
  async function asked(
    status: number,
    answer: string,
  ): Promise<{ readonly outcome: string; readonly request: IncomingMessage; readonly body: string }> {
    const requests: { request: IncomingMessage; body: string }[] = [];
    const server = createServer((request, response) => {
      const seen = { request, body: '' };
      requests.push(seen);
      request.on('data', (piece: Buffer) => (seen.body += piece.toString()));
      request.on('end', () => response.writeHead(status).end(answer));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
    const outcome = await clientCredentialsToken({ url, clientId: 'a:b', clientSecret: 'säcret', scope: 'kafka' }, realRuntime()).catch(
      codeOf,
    );
    await new Promise((resolve) => server.close(resolve));
    const [first] = requests;
    if (first === undefined) throw new Error('nobody asked');
    return { outcome, ...first };
  }

  it('is asked for as RFC 6749 says', async () => {
    const { outcome, request, body } = await asked(200, '{"access_token":"T0K","token_type":"Bearer"}');
    expect(outcome).toBe('T0K');
    expect(request.method).toBe('POST');
    expect(request.headers.authorization).toBe(`Basic ${Buffer.from('a%3Ab:s%C3%A4cret').toString('base64')}`);
    expect(Object.fromEntries(new URLSearchParams(body))).toEqual({ grant_type: 'client_credentials', scope: 'kafka' });
  });

  it('that is refused is a matter of credentials; a server in trouble is not', async () => {
    expect((await asked(401, '{"error":"invalid_client"}')).outcome).toBe('log_credentials');
    expect((await asked(200, '{}')).outcome).toBe('log_credentials');
    expect((await asked(200, 'no JSON')).outcome).toBe('log_credentials');
    expect((await asked(503, '')).outcome).toBe('log_unavailable');
    const nobody = clientCredentialsToken(
      { url: 'http://127.0.0.1:1/token', clientId: 'a', clientSecret: 'b', scope: null },
      realRuntime(),
    );
    expect(await nobody.catch(codeOf)).toBe('log_unavailable');
  });
});

it('a server for tokens that does not answer is given up', async () => {
  const clock = new VirtualClock();
  const asked = Promise.withResolvers<undefined>();
  const server = createServer(() => asked.resolve(undefined));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  const outcome = clientCredentialsToken({ url, clientId: 'a', clientSecret: 'b', scope: null }, clock.runtime).catch(codeOf);
  await asked.promise;
  await clock.advance(10_000);
  expect(await outcome).toBe('log_unavailable');
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

describe('a login', () => {
  const logger = { info: () => undefined, error: () => undefined, warn: () => undefined, debug: () => undefined } as never;

  /** What the exchange with a broker that behaves so ends with. */
  async function login(saslAuthenticate: AuthenticationProviderArgs['saslAuthenticate'], passwordFile: string): Promise<unknown> {
    const { authenticationProvider } = saslMechanism({ mechanism: 'plain', username: 'u', passwordFile }, realRuntime());
    return await authenticationProvider({ host: 'h', port: 1, logger, saslAuthenticate })
      .authenticate()
      .catch((error: unknown) => codeOfKafkaError(error));
  }

  it('reads its secret each time, and tells a refusal from an outage', async () => {
    using folder = tempFolder();
    const file = join(folder.path, 'password');
    const sent: string[] = [];
    const taken: AuthenticationProviderArgs['saslAuthenticate'] = async ({ request }) => {
      sent.push((await request.encode()).toString());
    };
    for (const password of ['first\n', 'second']) {
      writeFileSync(file, password);
      expect(await login(taken, file)).toBeUndefined();
    }
    expect(sent.map((text) => text.split('\0').at(-1))).toEqual(['first', 'second']);
    const refusal = new KafkaJSProtocolError({
      name: '',
      message: '',
      retriable: false,
      type: 'SASL_AUTHENTICATION_FAILED',
      code: 58,
    } as never);
    expect(await login(() => Promise.reject(refusal), file)).toBe('log_credentials');
    expect(await login(() => Promise.reject(named('KafkaJSConnectionClosedError')), file)).toBe('log_unavailable');
    expect(await login(taken, join(folder.path, 'none'))).toBe('log_credentials');
  });
});

it('a login with a token names what the brokers ask for beside it', async () => {
  using folder = tempFolder();
  const tokenFile = join(folder.path, 'token');
  writeFileSync(tokenFile, 'T0K');
  const sent: string[] = [];
  for (const extensions of [undefined, { logicalCluster: 'lkc-1', identityPoolId: 'pool-1' }]) {
    const more = extensions === undefined ? {} : { extensions };
    const { authenticationProvider } = saslMechanism({ mechanism: 'oauthbearer', tokenFile, ...more }, realRuntime());
    const logger = { debug: () => undefined } as never;
    const saslAuthenticate: AuthenticationProviderArgs['saslAuthenticate'] = async ({ request }) => {
      sent.push((await request.encode()).toString().slice(4));
    };
    await authenticationProvider({ host: 'h', port: 1, logger, saslAuthenticate }).authenticate();
  }
  // RFC 7628, section 3.1.
  expect(sent).toEqual([
    'n,,\x01auth=Bearer T0K\x01\x01',
    'n,,\x01auth=Bearer T0K\x01logicalCluster=lkc-1\x01identityPoolId=pool-1\x01\x01',
  ]);
});

describe('an error', () => {
  it('is told by its innermost cause', () => {
    const inner = new KafkaJSProtocolError({
      name: '',
      message: 'm',
      retriable: false,
      type: 'TOPIC_AUTHORIZATION_FAILED',
      code: 29,
    } as never);
    expect(codeOfKafkaError(named('KafkaJSNonRetriableError', { cause: inner }))).toBe('log_permission');
    expect(codeOfKafkaError(new KafkaJSAggregateError('several', [inner]))).toBe('log_permission');
    expect(codeOfKafkaError(Object.assign(new Error('groups'), { groups: [{ groupId: 'g', errorCode: 29, error: inner }] }))).toBe(
      'log_permission',
    );
    expect(codeOfKafkaError(Object.assign(new Error('txn'), { type: 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED' }))).toBe('log_permission');
    expect(codeOfKafkaError(named('KafkaJSSASLAuthenticationError'))).toBe('log_credentials');
    expect(kafkaError(new TypeError('a defect')).code).toBe('internal');
  });
});
