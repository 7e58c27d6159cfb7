import { afterEach, expect, test, vi } from 'vitest';
import { rdsToken, type RdsSigner } from '../../../../connectors/lib/postgres/iam.ts';

const target = { host: 'db.example', port: 5432, user: 'causeway', region: 'eu-west-1' };

function signerOf(getAuthToken: (config: object) => Promise<string>): () => Promise<RdsSigner> {
  const Signer = class {
    readonly #config: object;
    constructor(config: object) {
      this.#config = config;
    }
    getAuthToken(): Promise<string> {
      return getAuthToken(this.#config);
    }
  };
  return () => Promise.resolve({ Signer });
}

test('a token is made for the address and the user, anew at each call', async () => {
  let made = 0;
  const load = signerOf((config) => Promise.resolve(`${JSON.stringify(config)} ${(made += 1)}`));
  const config = '{"hostname":"db.example","port":5432,"username":"causeway","region":"eu-west-1"}';
  expect(await rdsToken(target, 'source', AbortSignal.timeout(1000), load)).toBe(`${config} 1`);
  expect(await rdsToken(target, 'source', AbortSignal.timeout(1000), load)).toBe(`${config} 2`);
});

test('without credentials, and after a stop', async () => {
  const failing = signerOf(() => Promise.reject(Object.assign(new Error('key AKIA was refused'), { name: 'CredentialsProviderError' })));
  await expect(rdsToken(target, 'sink', AbortSignal.timeout(1000), failing)).rejects.toMatchObject({
    code: 'sink_credentials',
    message: 'no IAM token could be made for causeway: CredentialsProviderError',
  });
  const stop = new AbortController();
  const waiting = rdsToken(
    target,
    'source',
    stop.signal,
    signerOf(() => new Promise(() => undefined)),
  );
  stop.abort(new Error('stopped'));
  await expect(waiting).rejects.toThrow('stopped');
});

afterEach(() => void vi.unstubAllEnvs());

test('the signer of the AWS SDK signs for the address, the user and the region', async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDEXAMPLE');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'not-a-secret');
  vi.stubEnv('AWS_SESSION_TOKEN', undefined);
  const token = new URL(`https://${await rdsToken(target, 'source', AbortSignal.timeout(10_000))}`);
  expect(token.host).toBe('db.example:5432');
  expect(token.searchParams.get('Action')).toBe('connect');
  expect(token.searchParams.get('DBUser')).toBe('causeway');
  expect(token.searchParams.get('X-Amz-Credential')).toMatch(/^AKIDEXAMPLE\/\d{8}\/eu-west-1\/rds-db\/aws4_request$/);
  expect(token.searchParams.get('X-Amz-Signature')).toMatch(/^[0-9a-f]{64}$/);
});
