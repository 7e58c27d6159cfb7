// The systems that all files of a run share, Postgres excepted, as containers.
import { randomBytes } from 'node:crypto';
import type { ContainerEngine } from './container-engine.ts';
import type { KubernetesAddress } from './kubernetes-pod.ts';
import { freePort } from './postgres-server.ts';
import { serviceVersion } from './service-cache.ts';

/** What a test is told of a system; plain data, since it travels between processes. */
export interface SharedAddresses {
  readonly kafka: { readonly brokers: readonly string[] };
  readonly dynamodb: { readonly endpoint: string };
  readonly spanner: { readonly endpoint: string };
  readonly kubernetes: KubernetesAddress;
}

const SPANNER_EMULATOR_VERSION = '1.5.56';

export interface Started<Address> {
  readonly address: Address;
  readonly stop: () => Promise<unknown>;
}

/** The broker tells its clients where it is, so its port outside has to be known before it starts. */
export async function startKafkaContainer({
  GenericContainer,
  getContainerRuntimeClient,
  Wait,
}: ContainerEngine): Promise<Started<SharedAddresses['kafka']>> {
  const { info } = await getContainerRuntimeClient();
  const port = await freePort();
  const broker = `${info.containerRuntime.host}:${port}`;
  const container = await new GenericContainer(`apache/kafka:${serviceVersion('kafka')}`)
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

export async function startDynamoDbContainer({ GenericContainer }: ContainerEngine): Promise<Started<SharedAddresses['dynamodb']>> {
  const container = await new GenericContainer(`amazon/dynamodb-local:${serviceVersion('dynamodb')}`).withExposedPorts(8000).start();
  return { address: { endpoint: `http://${container.getHost()}:${container.getMappedPort(8000)}` }, stop: () => container.stop() };
}

/** The emulator that the SDK installs, of that time. */
export async function startSpannerContainer({ GenericContainer }: ContainerEngine): Promise<Started<SharedAddresses['spanner']>> {
  const container = await new GenericContainer(`gcr.io/cloud-spanner-emulator/emulator:${SPANNER_EMULATOR_VERSION}`)
    .withExposedPorts(9010)
    .start();
  return { address: { endpoint: `http://${container.getHost()}:${container.getMappedPort(9010)}` }, stop: () => container.stop() };
}

export async function startKubernetesContainer({
  GenericContainer,
  getContainerRuntimeClient,
  Wait,
}: ContainerEngine): Promise<Started<SharedAddresses['kubernetes']>> {
  const { info } = await getContainerRuntimeClient();
  const adminToken = randomBytes(16).toString('hex');
  const container = await new GenericContainer(`rancher/k3s:v${serviceVersion('kubernetes')}-k3s1`)
    .withPrivilegedMode()
    .withExposedPorts(6443)
    .withCopyContentToContainer([{ content: `${adminToken},admin,admin,system:masters\n`, target: '/tokens.csv' }])
    .withCommand([
      'server',
      ...['--disable-agent', `--tls-san=${info.containerRuntime.host}`],
      '--kube-apiserver-arg=token-auth-file=/tokens.csv',
    ])
    .withWaitStrategy(Wait.forLogMessage(/Kube API server is now running/))
    .start();
  const { output } = await container.exec(['cat', '/var/lib/rancher/k3s/server/tls/server-ca.crt']);
  const address = { url: `https://${container.getHost()}:${container.getMappedPort(6443)}`, ca: output, adminToken };
  return { address, stop: () => container.stop() };
}
