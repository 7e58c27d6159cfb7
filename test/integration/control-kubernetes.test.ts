// The control store in Leases and ConfigMaps, on a real API server.
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { LeaseRow } from '#core/control-rows.ts';
import type { ControlKey, ControlStore, RowVersion } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { configSchema } from '../../connectors/control-kubernetes/config.ts';
import { connector } from '../../connectors/control-kubernetes/index.ts';
import { controlStoreContract, countUp } from '../contract/control-store.ts';
import { networkedControlContract } from '../contract/control-store-network.ts';
import { createAuthority } from '../support/certificates.ts';
import { KubernetesApi } from '../support/kubernetes-api.ts';
import { createPod, kubernetesRequest, type KubernetesAddress, type Pod, type PodRule } from '../support/kubernetes-pod.ts';
import { describeOwn, describeShared, sharedService } from '../support/services.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { tempFolder, type TempFolder } from '../support/temp-folder.ts';
import { realRuntime } from '../support/test-runtime.ts';

const never = new AbortController().signal;
const at = 'lease/p' as ControlKey;
const row = 'table/p/public.orders' as ControlKey;
let stores = 0;

/** As the documentation tells an operator to grant them. */
const rules = documentedRules();

function documentedRules(): readonly PodRule[] {
  const page = readFileSync(join(import.meta.dirname, '../../docs/control-stores.md'), 'utf8');
  const [, block = ''] = /```yaml\n(apiVersion: rbac[^`]*)```/.exec(page) ?? [];
  return (parse(block.split('---')[0] ?? '') as { readonly rules: readonly PodRule[] }).rules;
}

function openAt(of: Readonly<Record<string, unknown>>, leaseTtlMs = 15_000): ControlStore {
  stores += 1;
  const config = configSchema.parse({ kind: 'kubernetes', ...of });
  return connector.create({ config, leaseTtlMs, context: { runtime: realRuntime(stores), logger: silentLogger } });
}

async function thrown(work: Promise<unknown>): Promise<CausewayError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof CausewayError) return error;
  throw new Error('not a CausewayError', { cause: error });
}

async function storedVersion(
  store: ControlStore,
  key: ControlKey,
  value: unknown,
  expected: RowVersion | null = null,
): Promise<RowVersion> {
  const swap = await store.swap({ key, value, expected }, never);
  if (swap.tag !== 'stored') throw new Error('not stored');
  return swap.version;
}

describeShared('kubernetes', 'control-kubernetes', () => {
  let cluster: KubernetesAddress;
  let folder: TempFolder;
  let pod: Pod;
  let opened: AsyncDisposable[];

  beforeAll(async () => {
    cluster = await sharedService('kubernetes');
    folder = tempFolder();
  });
  afterAll(() => folder[Symbol.dispose]());
  beforeEach(async () => {
    pod = await createPod(cluster, folder.path, rules);
    opened = [];
  });
  afterEach(async () => {
    for (const one of opened.reverse()) await one[Symbol.asyncDispose]();
  });

  const open = (of: Readonly<Record<string, unknown>> = {}): ControlStore => {
    const store = openAt({ server: cluster.url, serviceAccount: pod.folder, ...of });
    opened.push(store);
    return store;
  };
  const leases = (): string => `/apis/coordination.k8s.io/v1/namespaces/${pod.namespace}/leases`;
  const configMaps = (): string => `/api/v1/namespaces/${pod.namespace}/configmaps`;
  type Shown = {
    readonly metadata: Record<string, unknown> & { readonly annotations: Record<string, string> };
    readonly spec: Record<string, unknown>;
    readonly data: Record<string, string>;
  };
  const ask = async (method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<Shown> => {
    const { status, text } = await kubernetesRequest(cluster, { method, path, ...(body === undefined ? {} : { body }) });
    if (status >= 300) throw new Error(`${status} ${text}`);
    return JSON.parse(text) as Shown;
  };

  controlStoreContract('kubernetes', () =>
    Promise.resolve({
      open: () => openAt({ server: cluster.url, serviceAccount: pod.folder }),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }),
  );

  networkedControlContract('kubernetes', () => {
    const { hostname, port } = new URL(cluster.url);
    return Promise.resolve({
      ...{ host: hostname, port: Number(port) },
      open: (of) =>
        openAt({ server: of.port === undefined ? cluster.url : `https://127.0.0.1:${of.port}`, serviceAccount: pod.folder }, of.leaseTtlMs),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  });

  test('a lease is a Lease that tells the truth, and its exact row stands beside', async () => {
    const store = open();
    const lease: LeaseRow = { token: 7 as never, holder: 'abcdef0123456789', describedAs: 'pod-1:1', ttlMs: 2_500, renewals: 0 };
    const taken = await storedVersion(store, at, lease);
    const first = await ask('GET', `${leases()}/causeway.lease.p`);
    expect(first.spec).toEqual({
      ...{ holderIdentity: 'pod-1:1', leaseDurationSeconds: 3, leaseTransitions: 7 },
      acquireTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}Z$/) as string,
      renewTime: first.spec['acquireTime'],
    });
    expect(JSON.parse(first.metadata.annotations['causeway/value'] ?? '')).toEqual(lease);
    expect(first.metadata['labels']).toMatchObject({ 'causeway/store': 'causeway', 'causeway/kind': 'lease', 'causeway/pipeline': 'p' });

    const renewed = await storedVersion(store, at, { ...lease, renewals: 1 }, taken);
    const second = await ask('GET', `${leases()}/causeway.lease.p`);
    expect(second.spec['acquireTime']).toBe(first.spec['acquireTime']);
    expect(Date.parse(String(second.spec['renewTime']))).toBeGreaterThan(Date.parse(String(first.spec['renewTime'])));

    await storedVersion(store, at, { ...lease, renewals: 1, holder: null, describedAs: null }, renewed);
    const released = await ask('GET', `${leases()}/causeway.lease.p`);
    expect([released.spec['holderIdentity'], released.spec['leaseTransitions']]).toEqual([undefined, 7]);
  });

  test('every other row is a labelled ConfigMap of its own', async () => {
    await storedVersion(open(), row, { state: 'streaming' });
    const found = await ask('GET', `${configMaps()}/causeway.table.p.publicz2eorders`);
    expect(found.data).toEqual({ value: '{"state":"streaming"}' });
    expect(found.metadata.annotations['causeway/key']).toBe(row);
    const { items } = (await ask('GET', `${configMaps()}?labelSelector=causeway/store=causeway,causeway/kind=table`)) as unknown as {
      items: unknown[];
    };
    expect(items).toHaveLength(1);
  });

  test('an object that was deleted is a row that is lost, and a version of it fits no later one', async () => {
    const store = open();
    for (const [key, path] of [
      [at, `${leases()}/causeway.lease.p`],
      [row, `${configMaps()}/causeway.table.p.publicz2eorders`],
    ] as const) {
      const lost = await storedVersion(store, key, 'before');
      await ask('DELETE', path);
      expect(await store.get(key, never)).toBeNull();
      expect(await store.swap({ key, value: 'sleeper', expected: lost }, never)).toEqual({ tag: 'conflict', current: null });
      const anew = await storedVersion(open(), key, 'anew');
      expect(await store.swap({ key, value: 'sleeper', expected: lost }, never)).toMatchObject({
        tag: 'conflict',
        current: { version: anew },
      });
      expect(await store.remove(key, lost, never)).toMatchObject({ tag: 'conflict', current: { value: 'anew' } });
    }
  });

  test('a version of the server that comes again, as after a restore of etcd, is not taken for the same', async () => {
    const store = open();
    for (const key of [at, row]) {
      const version = await storedVersion(store, key, 'successor');
      const sleeper = version.replace(/[^/]+$/, '0123456789abcdef') as RowVersion;
      expect(await store.swap({ key, value: 'sleeper', expected: sleeper }, never)).toMatchObject({
        tag: 'conflict',
        current: { version },
      });
      expect(await store.remove(key, sleeper, never)).toMatchObject({ tag: 'conflict', current: { version } });
      expect((await store.get(key, never))?.value).toBe('successor');
    }
  });

  test('what others write to an object is kept, and moves its version', async () => {
    const store = open();
    const version = await storedVersion(store, row, 1);
    const path = `${configMaps()}/causeway.table.p.publicz2eorders`;
    const found = await ask('GET', path);
    await ask('PUT', path, { ...found, metadata: { ...found.metadata, annotations: { ...found.metadata.annotations, theirs: 'x' } } });
    const swap = await store.swap({ key: row, value: 2, expected: version }, never);
    expect(swap).toMatchObject({ tag: 'conflict', current: { value: 1 } });
    const current = swap.tag === 'conflict' ? swap.current : null;
    await storedVersion(store, row, 2, current?.version ?? null);
    expect((await ask('GET', path)).metadata.annotations['theirs']).toBe('x');
  });

  test('the stores of one namespace do not see each other', async () => {
    const [one, other] = [open({ store: 'one' }), open({ store: 'other' })];
    for (const key of [at, row]) {
      await storedVersion(one, key, 1);
      expect(await other.get(key, never)).toBeNull();
      await storedVersion(other, key, 2);
    }
    expect((await other.list('', never)).map(({ key, value }) => [key, value])).toEqual([
      [at, 2],
      [row, 2],
    ]);
  });

  test('a list goes on over its pages', async () => {
    const store = open();
    const keys = Array.from({ length: 120 }, (_none, index) => `table/p/${String(index).padStart(3, '0')}` as ControlKey);
    await Promise.all(keys.map((key) => storedVersion(store, key, key)));
    await storedVersion(store, 'table/q/x' as ControlKey, 1);
    expect((await store.list('table/p/', never)).map(({ key }) => key)).toEqual(keys);
    expect(await store.list('table/', never)).toHaveLength(121);
  });

  test('keys that are no DNS names are rows like others', async () => {
    const store = open();
    const keys = [
      'table/p/"Quoted"."É 😀"',
      `table/p/${'x'.repeat(300)}`,
      `table/p/${'x'.repeat(299)}y`,
      'table/p_q/a..b',
      '/',
    ] as ControlKey[];
    for (const key of keys) await storedVersion(store, key, key);
    for (const key of keys) expect((await store.get(key, never))?.value).toBe(key);
    expect((await store.list('', never)).map(({ key }) => key)).toEqual([...keys].sort());
    expect(await store.list('table/p_q/', never)).toHaveLength(1);
  });

  test('a row that repeats itself is kept small, and one that is too large is refused by its size', async () => {
    const store = open();
    const wide = { schemas: Array.from({ length: 400 }, () => Array.from({ length: 300 }, (_none, index) => `column_${index}`)) };
    const version = await storedVersion(store, row, wide);
    expect((await store.get(row, never))?.value).toEqual(wide);
    await storedVersion(store, row, 'small', version);
    expect((await store.get(row, never))?.value).toBe('small');
    for (const [key, bytes] of [
      [row, 1_600_000],
      [at, 200_000],
    ] as const) {
      const large = randomBytes(bytes).toString('base64');
      const current = await store.get(key, never);
      const error = await thrown(store.swap({ key, value: large, expected: current?.version ?? null }, never));
      expect(error.code).toBe('control_row_too_large');
      expect((await store.get(key, never))?.value).toEqual(current?.value);
    }
  });

  test('a row of almost a mebibyte that does not repeat itself is taken', async () => {
    const value = randomBytes(1_020_000).toString('base64');
    const store = open();
    await storedVersion(store, row, value);
    expect((await store.get(row, never))?.value).toBe(value);
  });

  test('objects that are not ours, or not readable, are told as such', async () => {
    const store = open();
    const metadata = { name: 'causeway.table.p.publicz2eorders' };
    await ask('POST', configMaps(), { metadata, data: { password: 'tr0ub4dor' } });
    for (const error of [await thrown(store.get(row, never)), await thrown(store.swap({ key: row, value: 1, expected: null }, never))])
      expect([error.code, error.message.includes('tr0ub4dor')]).toEqual(['control_foreign', false]);
    const path = `${configMaps()}/${metadata.name}`;
    const annotations = { 'causeway/key': row, 'causeway/version': 'v', 'causeway/format': '1' };
    const labels = { 'causeway/store': 'causeway' };
    await ask('PUT', path, { metadata: { ...metadata, labels, annotations }, data: { value: 'tr0ub4dor' } });
    const damaged = await thrown(store.list('', never));
    expect([damaged.code, damaged.message.includes('tr0ub4dor')]).toEqual(['control_damaged', false]);
    await ask('PUT', path, { metadata: { ...metadata, labels, annotations: { ...annotations, 'causeway/format': '2' } } });
    expect((await thrown(store.get(row, never))).message).toContain('format version 2, of a newer release');
    await ask('PUT', path, {
      metadata: { ...metadata, labels, annotations: { ...annotations, 'causeway/key': 'x' } },
      data: { value: '1' },
    });
    expect((await thrown(store.get(row, never))).code).toBe('control_foreign');
  });

  test('an account without a right is told which one, whatever the call', async () => {
    const poor = await createPod(cluster, folder.path, []);
    const store = open({ serviceAccount: poor.folder });
    const calls = [
      store.get(row, never),
      store.list('', never),
      store.swap({ key: at, value: 1, expected: null }, never),
      store.swap({ key: row, value: 1, expected: 'a/1/b' as RowVersion }, never),
    ];
    const errors = await Promise.all(calls.map(thrown));
    expect(errors.map(({ code }) => code)).toEqual(calls.map(() => 'control_credentials'));
    expect(errors[2]?.message).toMatch(/cannot create resource "leases"/);
  });

  test('a token that is refused, gone or renewed is read again at each request', async () => {
    const store = open();
    const token = join(pod.folder, 'token');
    writeFileSync(token, 'nonsense');
    const refused = await thrown(store.get(at, never));
    expect([refused.code, refused.message.includes('nonsense')]).toEqual(['control_credentials', false]);
    rmSync(token);
    expect((await thrown(store.get(at, never))).message).toContain('ENOENT');
    writeFileSync(token, `${pod.token}\n`);
    expect(await store.get(at, never)).toBeNull();
  });

  test('a server that another authority vouches for is not asked', async () => {
    writeFileSync(join(pod.folder, 'ca.crt'), createAuthority('a stranger').cert);
    expect((await thrown(open().get(at, never))).code).toBe('control_credentials');
  });

  test('a namespace that is not there is told at the first write', async () => {
    writeFileSync(join(pod.folder, 'token'), cluster.adminToken);
    const error = await thrown(open({ namespace: 'nowhere' }).swap({ key: at, value: 1, expected: null }, never));
    expect([error.code, error.message]).toEqual(['control_misconfigured', expect.stringContaining('"nowhere" not found')]);
  });

  test('an answer of what is no API server is no row that is missing', async () => {
    const certificate = createAuthority('in the middle');
    const { cert, key } = certificate.issue({ name: 'middle', hosts: ['127.0.0.1'] });
    const middle = createServer({ cert, key }, (_request, response) => response.writeHead(404).end('<html>not found</html>'));
    await new Promise<void>((resolve) => middle.listen(0, '127.0.0.1', resolve));
    writeFileSync(join(pod.folder, 'ca.crt'), certificate.cert);
    try {
      const { port } = middle.address() as AddressInfo;
      expect((await thrown(open({ server: `https://127.0.0.1:${port}` }).get(at, never))).code).toBe('control_foreign');
    } finally {
      middle.closeAllConnections();
      middle.close();
    }
  });

  test('a row that moves while it is being removed stays', async () => {
    const { hostname, port } = new URL(cluster.url);
    await using proxy = await TcpProxy.create({ host: hostname, port: Number(port) });
    const [store, other] = [open({ server: `https://127.0.0.1:${proxy.port}` }), open()];
    const version = await storedVersion(store, row, 'before');
    const asked = Promise.withResolvers<undefined>();
    let pieces = 0;
    proxy.onRequest = () => {
      pieces += 1;
      // The first looks at the row, the second deletes it.
      if (pieces === 1) return 'pass';
      asked.resolve(undefined);
      return 'hold';
    };
    const removed = store.remove(row, version, never);
    await asked.promise;
    await storedVersion(other, row, 'meanwhile', version);
    proxy.onRequest = () => 'pass';
    proxy.release();
    expect(await removed).toMatchObject({ tag: 'conflict', current: { value: 'meanwhile' } });
    expect((await other.get(row, never))?.value).toBe('meanwhile');
  });

  test('two that count a lease row up lose nothing', async () => {
    const [one, other] = [open(), open()];
    await Promise.all([countUp(one, at, 20), countUp(other, at, 20)]);
    expect((await one.get(at, never))?.value).toEqual({ count: 40 });
  });

  test('no call goes to a store that was closed', async () => {
    const store = openAt({ server: cluster.url, serviceAccount: pod.folder });
    await store.get(at, never);
    await store[Symbol.asyncDispose]();
    expect((await thrown(store.get(at, never))).code).toBe('control_unavailable');
  });
});

describeOwn('kubernetes', 'the API server of control-kubernetes', () => {
  test('rows outlive a crash of the API server, and a store goes on after it', async () => {
    await using server = await KubernetesApi.create();
    using folder = tempFolder();
    const pod = await createPod(server.address, folder.path, rules);
    await using store = openAt({ server: server.address.url, serviceAccount: pod.folder });
    const version = await storedVersion(store, at, 1);
    await server.kill();
    expect((await thrown(store.get(at, never))).code).toBe('control_unavailable');
    await server.start();
    expect((await store.get(at, never))?.version).toBe(version);
  });
});
