// The real systems that all files of a run share, Postgres excepted. Each starts when the first test file asks for it and ends with the
// run, so that a run of a few files starts only what those need. Found as Postgres is: an address in the environment, else a container
// where a container engine answers, else a server of our own.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { containerEngine, type ContainerEngine } from './container-engine.ts';
import { DynamoDbLocal } from './dynamodb-local.ts';
import { KafkaCluster } from './kafka-cluster.ts';
import { KubernetesApi } from './kubernetes-api.ts';
import { fetchedService, hasProgram } from './service-cache.ts';
import {
  type SharedAddresses,
  startDynamoDbContainer,
  startKafkaContainer,
  startKubernetesContainer,
  startSpannerContainer,
  type Started,
} from './shared-containers.ts';
import { SpannerEmulator, spannerEmulatorProgram } from './spanner-emulator.ts';

export type SharedName = keyof SharedAddresses;

interface Recipe<Address> {
  readonly fromEnvironment: () => Address | undefined;
  readonly startContainer: (engine: ContainerEngine) => Promise<Started<Address>>;
  /** Programs that a server of our own runs on, beside what `find` finds. */
  readonly programs: readonly string[];
  /** Throws where the server itself is not there. */
  readonly find: () => unknown;
  readonly startLocal: () => Promise<Started<Address>>;
}

const recipes: { readonly [Name in SharedName]: Recipe<SharedAddresses[Name]> } = {
  kafka: {
    fromEnvironment: () => {
      const brokers = process.env['CAUSEWAY_TEST_KAFKA_BROKERS'];
      return brokers === undefined ? undefined : { brokers: brokers.split(',') };
    },
    startContainer: startKafkaContainer,
    programs: ['java'],
    find: () => fetchedService('kafka'),
    startLocal: async () => {
      const cluster = await KafkaCluster.create();
      return { address: { brokers: cluster.addresses }, stop: () => cluster.dispose() };
    },
  },
  dynamodb: {
    fromEnvironment: () => {
      const endpoint = process.env['CAUSEWAY_TEST_DYNAMODB_ENDPOINT'];
      return endpoint === undefined ? undefined : { endpoint };
    },
    startContainer: startDynamoDbContainer,
    programs: ['java'],
    find: () => fetchedService('dynamodb'),
    startLocal: async () => {
      const server = await DynamoDbLocal.create();
      return { address: { endpoint: server.endpoint }, stop: () => server.dispose() };
    },
  },
  spanner: {
    fromEnvironment: () => {
      const endpoint = process.env['CAUSEWAY_TEST_SPANNER_ENDPOINT'];
      return endpoint === undefined ? undefined : { endpoint };
    },
    startContainer: startSpannerContainer,
    programs: [],
    find: spannerEmulatorProgram,
    startLocal: async () => {
      const server = await SpannerEmulator.create();
      return { address: { endpoint: server.endpoint }, stop: () => server.dispose() };
    },
  },
  kubernetes: {
    fromEnvironment: () => {
      const url = process.env['CAUSEWAY_TEST_KUBERNETES_URL'];
      if (url === undefined) return undefined;
      return {
        url,
        ca: readFileSync(required('CAUSEWAY_TEST_KUBERNETES_CA_FILE'), 'utf8'),
        adminToken: required('CAUSEWAY_TEST_KUBERNETES_TOKEN'),
      };
    },
    startContainer: startKubernetesContainer,
    programs: ['etcd'],
    find: () => fetchedService('kubernetes'),
    startLocal: async () => {
      const server = await KubernetesApi.create();
      return { address: server.address, stop: () => server.dispose() };
    },
  },
};

function required(variable: string): string {
  const value = process.env[variable];
  if (value === undefined) throw new Error(`CAUSEWAY_TEST_KUBERNETES_URL needs ${variable} beside it`);
  return value;
}

/** Plain data for the test processes. */
export interface SharedServices {
  /** `GET url/name` starts the system unless it runs, and answers its address. */
  readonly url: string;
  /** Systems that all files can share, from anywhere. */
  readonly shared: readonly SharedName[];
  /** Systems of which a test can start a server of its own. */
  readonly own: readonly SharedName[];
}

export interface ServiceHost {
  readonly services: SharedServices;
  /** Why a system is absent from `shared` or `own`. */
  readonly missing: readonly string[];
  readonly stop: () => Promise<void>;
}

export async function startServiceHost(): Promise<ServiceHost> {
  const engine = await containerEngine();
  const shared: SharedName[] = [];
  const own: SharedName[] = [];
  const missing: string[] = [];
  for (const name of Object.keys(recipes) as SharedName[]) {
    const reason = missingLocally(name);
    if (reason === undefined) own.push(name);
    else missing.push(reason);
    if (reason === undefined || engine !== undefined || recipes[name].fromEnvironment() !== undefined) shared.push(name);
  }
  const started = new Map<SharedName, Promise<Started<unknown>>>();
  const server = createServer((request, response) => {
    const name = (request.url ?? '').slice(1) as SharedName;
    const starting = started.get(name) ?? start(name, engine);
    started.set(name, starting);
    starting.then(
      ({ address }) => response.end(JSON.stringify(address)),
      (error: unknown) => response.writeHead(500).end(error instanceof Error ? error.message : String(error)),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    services: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, shared, own },
    missing,
    stop: async () => {
      server.close();
      server.closeAllConnections();
      const settled = await Promise.allSettled(started.values());
      await Promise.all(settled.map(async (one) => (one.status === 'fulfilled' ? one.value.stop() : undefined)));
    },
  };
}

function missingLocally(name: SharedName): string | undefined {
  const programs = recipes[name].programs.filter((program) => !hasProgram(program));
  if (programs.length > 0) return `${name}: ${programs.join(' and ')} not installed`;
  try {
    recipes[name].find();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function start(name: SharedName, engine: ContainerEngine | undefined): Promise<Started<unknown>> {
  const recipe = recipes[name];
  const address = recipe.fromEnvironment();
  if (address !== undefined) return { address, stop: () => Promise.resolve() };
  return engine === undefined ? recipe.startLocal() : recipe.startContainer(engine);
}
