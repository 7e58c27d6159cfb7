// The Spanner sink over TLS, with the credentials that the service asks for. The emulator asks for none, so that a proxy before it does.
import { createPublicKey, generateKeyPairSync, verify, type KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { errorTable } from '#core/errors.ts';
import type { TableId } from '#core/schema.ts';
import type { SinkConfig } from '../../connectors/sink-spanner/config.ts';
import { plainSchema, progressAt, sequenceAt, tags, upsertAt } from '../contract/sink.ts';
import { createAuthority, type Authority } from '../support/certificates.ts';
import { freePort } from '../support/postgres-server.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { SpannerProxy } from '../support/spanner-proxy.ts';
import { SpannerHost, spannerSink } from '../support/spanner-sink-context.ts';
import { tempFolder, type TempFolder } from '../support/temp-folder.ts';
import { thrown } from '../support/thrown.ts';

const UNAUTHENTICATED = 16;
const never = new AbortController().signal;
const schema = plainSchema('public.plain' as TableId);
/** Stands wherever a secret could come from. */
const marker = 'MARKER';

describeShared('spanner', 'logging in to Spanner', () => {
  let folder: TempFolder;
  let authority: Authority;
  let host: SpannerHost;
  let proxy: SpannerProxy;
  let plain: SinkConfig;
  let tokens: Server;
  let tokenUrl: string;
  /** What the server for tokens answers. */
  let answer: { readonly status: number; readonly body: object };
  let bearers: string[];

  beforeAll(async () => {
    folder = tempFolder();
    authority = createAuthority('the authority');
    // gRPC reads it once, when it is loaded.
    vi.stubEnv('GRPC_DEFAULT_SSL_ROOTS_FILE_PATH', file('roots.pem', authority.cert));
    const { endpoint } = await sharedService('spanner');
    host = await SpannerHost.create(endpoint);
    proxy = await SpannerProxy.create(endpoint, authority.issue({ name: 'spanner', hosts: ['localhost'] }));
    tokens = createServer((request, response) => {
      request.resume();
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(JSON.stringify(answer.body));
    });
    await new Promise<void>((resolve) => tokens.listen(0, '127.0.0.1', resolve));
    tokenUrl = `http://127.0.0.1:${(tokens.address() as AddressInfo).port}/token`;
  });
  afterAll(async () => {
    await new Promise<void>((resolve) => tokens.close(() => resolve()));
    await proxy[Symbol.asyncDispose]();
    await host[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });
  beforeEach(async () => {
    plain = await host.database('GOOGLE_STANDARD_SQL');
    bearers = [];
  });
  afterEach(async () => {
    proxy.heal();
    await host.drop(plain);
  });

  function file(name: string, content: string): string {
    const path = join(folder.path, name);
    writeFileSync(path, content);
    return path;
  }

  function serviceAccount(): { readonly keyFile: string; readonly publicKey: KeyObject } {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    const key = {
      ...{ type: 'service_account', project_id: 'causeway-test', private_key_id: marker, private_key: pem },
      ...{ client_email: 'copy@causeway-test.iam.gserviceaccount.com', token_uri: tokenUrl },
    };
    return { keyFile: file('key.json', JSON.stringify(key)), publicKey: createPublicKey(privateKey) };
  }

  /** Of a workload identity: the text in a file is given for a token. */
  function workload(url = tokenUrl): string {
    return file(
      'workload.json',
      JSON.stringify({
        ...{ type: 'external_account', audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/p' },
        ...{ subject_token_type: 'urn:ietf:params:oauth:token-type:jwt', token_url: url },
        credential_source: { file: file('subject', `${marker}-subject`) },
      }),
    );
  }

  /** The proxy answers as the service where `isKnown` does not know the token. */
  function guard(isKnown: (token: string) => boolean): void {
    proxy.onRequest = (_method, { authorization = '' }) => {
      const token = authorization.replace(/^Bearer /, '');
      bearers.push(token);
      return isKnown(token) ? null : { effect: 'none', status: UNAUTHENTICATED };
    };
  }

  async function copiesARow(keyFile: string): Promise<void> {
    await using sink = spannerSink({ ...plain, endpoint: proxy.endpoint, keyFile });
    await sink.provision([schema], never);
    await sink.claim({ owner: 'o', known: false }, never);
    await using partition = await sink.assign(0, never);
    const rows = [upsertAt(schema, sequenceAt(1), ['1', 'x', null])];
    expect(tags(await partition.apply({ rows, progress: progressAt(1) }, never))).toEqual(['applied']);
    expect((await sink.progress(never)).get(0)).toEqual(progressAt(1));
  }

  /** What the sink refuses to start with. */
  async function refused(keyFile: string, endpoint = proxy.endpoint): Promise<string> {
    await using sink = spannerSink({ ...plain, endpoint, keyFile });
    const error = await thrown(sink.provision([schema], never));
    const said = [error.message, String(error), JSON.stringify(error), String(error.cause)].join();
    expect(said).not.toContain(marker);
    expect(said).not.toContain('PRIVATE KEY');
    for (const token of bearers.filter((one) => one !== '')) expect(said).not.toContain(token);
    return error.code;
  }

  const isSignedBy =
    (publicKey: KeyObject) =>
    (token: string): boolean => {
      const [head = '', body = '', signature = ''] = token.split('.');
      const isSigned = verify('RSA-SHA256', Buffer.from(`${head}.${body}`), publicKey, Buffer.from(signature, 'base64url'));
      const { iss, exp, scope } = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>;
      const isInTime = Number(exp) * 1_000 > Date.now();
      return isSigned && isInTime && iss === 'copy@causeway-test.iam.gserviceaccount.com' && String(scope).includes('cloud-platform');
    };

  test('a service account signs a token of its own for each request', async () => {
    const { keyFile, publicKey } = serviceAccount();
    guard(isSignedBy(publicKey));
    await copiesARow(keyFile);
    expect(bearers.length).toBeGreaterThan(10);
  });

  test('a workload identity gets its token from the server that its file names', async () => {
    answer = { status: 200, body: { access_token: `${marker}-given`, token_type: 'Bearer', expires_in: 3_600 } };
    guard((token) => token === `${marker}-given`);
    await copiesARow(workload());
    expect(bearers.length).toBeGreaterThan(10);
  });

  test('a key or a token that the service refuses is `sink_credentials`, without a secret', async () => {
    guard(() => false);
    expect(await refused(serviceAccount().keyFile)).toBe('sink_credentials');
    answer = { status: 200, body: { access_token: `${marker}-given`, token_type: 'Bearer', expires_in: 3_600 } };
    expect(await refused(workload())).toBe('sink_credentials');
    expect(bearers).toContain(`${marker}-given`);
    expect(errorTable.sink_credentials.mend).toContain('key file');
  });

  test('a key that is put in the place of a refused one is taken at the next request', async () => {
    const { keyFile } = serviceAccount();
    guard(() => false);
    await using sink = spannerSink({ ...plain, endpoint: proxy.endpoint, keyFile });
    expect((await thrown(sink.provision([schema], never))).code).toBe('sink_credentials');
    guard(isSignedBy(serviceAccount().publicKey));
    await sink.provision([schema], never);
    expect(await sink.differences(schema, never)).toEqual([]);
  });

  test('a token that is not given is told apart from a server for tokens that is not there', async () => {
    guard(() => false);
    answer = { status: 400, body: { error: 'invalid_grant', error_description: `${marker} has expired` } };
    expect(await refused(workload())).toBe('sink_credentials');
    expect(await refused(workload(`http://127.0.0.1:${await freePort()}/token`))).toBe('sink_unavailable');
    expect(bearers).toEqual([]);
  });

  test.each([
    ['no JSON', `${marker} {`],
    ['no key', JSON.stringify({ type: 'service_account', client_email: 'copy@causeway-test', private_key: marker })],
  ])('a key file that holds %s is `sink_credentials`', async (_what, content) => {
    guard(() => true);
    expect(await refused(file('bad.json', content))).toBe('sink_credentials');
    expect(bearers).toEqual([]);
  });

  test('a server whose certificate another authority signed gets no token', async () => {
    const { endpoint } = await sharedService('spanner');
    const stranger = createAuthority('a stranger').issue({ name: 'spanner', hosts: ['localhost'] });
    await using other = await SpannerProxy.create(endpoint, stranger);
    let asked = 0;
    other.onRequest = () => {
      asked += 1;
      return null;
    };
    // gRPC tells such a connection from one that failed by words alone.
    expect(await refused(serviceAccount().keyFile, other.endpoint)).toBe('sink_unavailable');
    expect(asked).toBe(0);
  });
});
