// The real systems that all files of a run share, Postgres excepted. Each starts when the first test file asks for it and ends with the
// run, so that a run of a few files starts only what those need. Found as Postgres is: an address in the environment, else a container
// where a container engine answers, else a server of our own.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { containerEngine, type ContainerEngine } from './container-engine.ts';
import { KafkaCluster } from './kafka-cluster.ts';
import { freePort } from './postgres-server.ts';
import { fetchedService, hasProgram, type ServiceName } from './service-cache.ts';

/** What a test is told of a system; plain data, since it travels between processes. */
export interface SharedAddresses {
  readonly kafka: { readonly brokers: readonly string[] };
}

export type SharedName = keyof SharedAddresses;

interface Started<Address> {
  readonly address: Address;
  readonly stop: () => Promise<unknown>;
}

interface Recipe<Address> {
  readonly fromEnvironment: () => Address | undefined;
  readonly startContainer: (engine: ContainerEngine) => Promise<Started<Address>>;
  /** Programs that a server of our own runs on, beside what was fetched. */
  readonly programs: readonly string[];
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
    startLocal: async () => {
      const cluster = await KafkaCluster.create();
      return { address: { brokers: cluster.addresses }, stop: () => cluster.dispose() };
    },
  },
};

/** Plain data for the test processes. */
export interface SharedServices {
  /** `GET url/name` starts the system unless it runs, and answers its address. */
  readonly url: string;
  /** Systems that all files can share, from anywhere. */
  readonly shared: readonly SharedName[];
  /** Systems of which a test can start a server of its own. */
  readonly own: readonly ServiceName[];
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
    fetchedService(name);
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

/** The broker tells its clients where it is, so its port outside has to be known before it starts. */
async function startKafkaContainer({
  GenericContainer,
  getContainerRuntimeClient,
  Wait,
}: ContainerEngine): Promise<Started<SharedAddresses['kafka']>> {
  const { info } = await getContainerRuntimeClient();
  const port = await freePort();
  const broker = `${info.containerRuntime.host}:${port}`;
  const container = await new GenericContainer('apache/kafka:4.1.0')
    .withExposedPorts({ container: 9092, host: port })
    .withEnvironment({
      KAFKA_NODE_ID: '1',
      KAFKA_PROCESS_ROLES: 'broker,controller',
      KAFKA_CONTROLLER_QUORUM_VOTERS: '1@localhost:9093',
      KAFKA_LISTENERS: 'PLAINTEXT://:9092,CONTROLLER://:9093',
      KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://${broker}`,
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
      KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER',
      KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false',
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: '1',
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: '1',
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: '1',
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: '0',
    })
    .withWaitStrategy(Wait.forLogMessage(/Kafka Server started/))
    .start();
  return { address: { brokers: [broker] }, stop: () => container.stop() };
}
