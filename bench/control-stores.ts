// `node bench/control-stores.ts [KIND …]`: how long a swap and a read of each kind of control store take, on real servers of this machine,
// and how long a standby waits for a lease.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';
import { connectors } from '../connectors/registry.ts';
import type { ControlKey, ControlStore, RowVersion } from '../src/core/control.ts';
import { acquireLease } from '../src/lease/acquire.ts';
import type { Lease } from '../src/lease/lease.ts';
import { systemRuntime } from '../src/runtime/runtime.ts';
import { DynamoDbLocal } from '../test/support/dynamodb-local.ts';
import { KubernetesApi } from '../test/support/kubernetes-api.ts';
import { createPod } from '../test/support/kubernetes-pod.ts';
import { PostgresServer } from '../test/support/postgres-server.ts';
import { silentLogger } from '../test/support/silent-logger.ts';
import { tempFolder } from '../test/support/temp-folder.ts';

const WARM_UP = 100;
const CALLS = 500;
const LEASES = 5;
const TTL_MS = 3_000;
/** The first call of a server that was just started takes its time. */
const STORE_TTL_MS = 30_000;

const never = new AbortController().signal;

type Place = { readonly config: Readonly<Record<string, unknown>>; readonly stop: () => Promise<void> };

using folder = tempFolder();

const places: Readonly<Record<string, () => Promise<Place>>> = {
  embedded: () => Promise.resolve({ config: { path: join(folder.path, 'control.db') }, stop: () => Promise.resolve() }),
  postgres: async () => {
    const server = await PostgresServer.create({ major: 18, settings: { fsync: 'on', full_page_writes: 'on' } });
    return { config: { url: server.url(), provision: 'create' }, stop: () => server.dispose() };
  },
  dynamodb: async () => {
    process.env['AWS_ACCESS_KEY_ID'] = process.env['AWS_SECRET_ACCESS_KEY'] = 'bench';
    const server = await DynamoDbLocal.create();
    return { config: { region: 'eu-west-1', endpoint: server.endpoint, provision: 'create' }, stop: () => server.dispose() };
  },
  kubernetes: async () => {
    const server = await KubernetesApi.create();
    const rules = [{ apiGroups: ['', 'coordination.k8s.io'], resources: ['leases', 'configmaps'], verbs: ['*'] }];
    const pod = await createPod(server.address, folder.path, rules);
    return { config: { server: server.address.url, serviceAccount: pod.folder }, stop: () => server.dispose() };
  },
};

async function opened(kind: string, part: Readonly<Record<string, unknown>>): Promise<ControlStore> {
  const connector = await connectors.control[kind]?.();
  if (!(connector?.configSchema instanceof z.ZodType)) throw new Error(`there is no control store of the kind ${kind}`);
  const config: unknown = connector.configSchema.parse({ kind, ...part });
  return connector.create({ config, leaseTtlMs: STORE_TTL_MS, context: { runtime: systemRuntime, logger: silentLogger } });
}

/** A lease's row, renewed and read again and again. */
async function calls(store: ControlStore): Promise<{ readonly swaps: number[]; readonly reads: number[] }> {
  const key = 'lease/calls' as ControlKey;
  const found = { swaps: [] as number[], reads: [] as number[] };
  let expected: RowVersion | null = null;
  for (let renewals = 0; renewals < WARM_UP + CALLS; renewals += 1) {
    const value = { token: 1, holder: 'abcdef0123456789', describedAs: 'host:1', ttlMs: TTL_MS, renewals };
    const startedAt = performance.now();
    const swap = await store.swap({ key, value, expected }, never);
    const stored = performance.now();
    if (swap.tag !== 'stored') throw new Error('somebody else wrote the row');
    expected = swap.version;
    await store.get(key, never);
    if (renewals < WARM_UP) continue;
    found.swaps.push(stored - startedAt);
    found.reads.push(performance.now() - stored);
  }
  return found;
}

/** From the end of a lease to the next holder's: after a release, and after a holder that went away. */
async function waits(store: ControlStore, other: ControlStore): Promise<{ readonly released: number[]; readonly gone: number[] }> {
  const found = { released: [] as number[], gone: [] as number[] };
  for (let round = 0; round < LEASES; round += 1) {
    const key = `lease/${round}` as ControlKey;
    const acquired = (control: ControlStore): Promise<Lease> =>
      acquireLease({ control, runtime: systemRuntime, key, describedAs: null, ttlMs: TTL_MS }, never);
    const first = await acquired(store);
    const waiting = acquired(other);
    await sleep(TTL_MS / 10 + round * 50);
    const releasedAt = performance.now();
    await first.release(never);
    const second = await waiting;
    found.released.push(performance.now() - releasedAt);
    const standby = acquired(store);
    const goneAt = performance.now();
    await second.abandon();
    const third = await standby;
    found.gone.push(performance.now() - goneAt);
    await third.release(never);
  }
  return found;
}

function quantile(values: readonly number[], share: number): string {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN).toFixed(1);
}

const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(places);
console.log('| kind | swap p50, p99 | read p50, p99 | after a release, median, greatest | after a holder is gone, least, greatest |');
console.log('| --- | --- | --- | --- | --- |');
for (const kind of wanted) {
  const place = await places[kind]?.();
  if (place === undefined) throw new Error(`${kind} is none of ${Object.keys(places).join(', ')}`);
  {
    await using store = await opened(kind, place.config);
    await using other = await opened(kind, place.config);
    const { swaps, reads } = await calls(store);
    const { released, gone } = await waits(store, other);
    const columns = [
      [quantile(swaps, 0.5), quantile(swaps, 0.99)],
      [quantile(reads, 0.5), quantile(reads, 0.99)],
      [quantile(released, 0.5), quantile(released, 1)],
      [quantile(gone, 0), quantile(gone, 1)],
    ];
    console.log(`| \`${kind}\` | ${columns.map((pair) => `${pair.join(', ')} ms`).join(' | ')} |`);
  }
  await place.stop();
}
