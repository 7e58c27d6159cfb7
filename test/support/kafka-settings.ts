// server.properties of a broker under test.
import { join } from 'node:path';
import type { Certificate } from './certificates.ts';

/** Ports. */
export interface Listeners {
  readonly plain: number;
  readonly secure: number;
  readonly controller: number;
  /** Further plain ones, each reached through a proxy only. */
  readonly doors: readonly { readonly port: number; readonly proxyPort: number }[];
}

export interface BrokerSettings {
  readonly id: number;
  /** Of all brokers of the cluster. Each is a controller as well. */
  readonly listeners: ReadonlyMap<number, Listeners>;
  readonly secure:
    { readonly users: readonly { readonly name: string; readonly password: string }[]; readonly certificate: Certificate } | undefined;
  readonly folder: string;
}

export const scramMechanisms = ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const;

export function brokerSettings({ id, listeners, secure, folder }: BrokerSettings): Record<string, string> {
  const own = listeners.get(id);
  if (own === undefined) throw new Error(`broker ${id} has no ports`);
  const replicas = String(listeners.size);
  const inSyncMin = String(Math.min(2, listeners.size));
  const addresses = [`PLAIN://127.0.0.1:${own.plain}`, ...(secure === undefined ? [] : [`SECURE://127.0.0.1:${own.secure}`])];
  const behindDoors = own.doors.map(({ port }, at) => `DOOR${at}://127.0.0.1:${port}`);
  const doors = own.doors.map(({ proxyPort }, at) => `DOOR${at}://127.0.0.1:${proxyPort}`);
  return {
    'process.roles': 'broker,controller',
    'node.id': String(id),
    'controller.quorum.voters': [...listeners].map(([voter, { controller }]) => `${voter}@127.0.0.1:${controller}`).join(','),
    listeners: [...addresses, ...behindDoors, `CONTROLLER://127.0.0.1:${own.controller}`].join(','),
    'advertised.listeners': [...addresses, ...doors].join(','),
    'listener.security.protocol.map': [
      'PLAIN:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT',
      ...own.doors.map((_, at) => `DOOR${at}:PLAINTEXT`),
    ].join(','),
    'inter.broker.listener.name': 'PLAIN',
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': join(folder, 'data'),
    ...(secure === undefined ? {} : secureSettings(secure)),

    // A topic that nobody made is a mistake of the test.
    'auto.create.topics.enable': 'false',
    'default.replication.factor': replicas,
    'offsets.topic.replication.factor': replicas,
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.num.partitions': '1',
    'transaction.state.log.min.isr': inSyncMin,
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.num.partitions': '1',
    'share.coordinator.state.topic.min.isr': inSyncMin,

    // Nothing waits longer than it must: groups form at once, a dead broker is noticed soon, and logs are cleaned while a test looks.
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '500',
    'broker.heartbeat.interval.ms': '500',
    'broker.session.timeout.ms': '4000',
    'log.initial.task.delay.ms': '1000',
    'log.retention.check.interval.ms': '1000',
    'log.segment.delete.delay.ms': '1000',
    'log.cleaner.backoff.ms': '500',

    // The cleaner alone would take half of the heap.
    'log.cleaner.dedupe.buffer.size': '4194304',
    'num.network.threads': '2',
    'num.io.threads': '4',
    'background.threads': '2',
    'num.recovery.threads.per.data.dir': '1',
  };
}

function secureSettings({ users, certificate }: NonNullable<BrokerSettings['secure']>): Record<string, string> {
  const listener = 'listener.name.secure';
  const plainUsers = users.map(({ name, password }) => ` user_${name}="${password}"`).join('');
  return {
    [`${listener}.sasl.enabled.mechanisms`]: ['PLAIN', ...scramMechanisms].join(','),
    [`${listener}.plain.sasl.jaas.config`]: `org.apache.kafka.common.security.plain.PlainLoginModule required${plainUsers};`,
    ...Object.fromEntries(
      scramMechanisms.map((mechanism) => [
        `${listener}.${mechanism.toLowerCase()}.sasl.jaas.config`,
        'org.apache.kafka.common.security.scram.ScramLoginModule required;',
      ]),
    ),
    [`${listener}.ssl.keystore.type`]: 'PEM',
    [`${listener}.ssl.keystore.certificate.chain`]: certificate.cert,
    [`${listener}.ssl.keystore.key`]: certificate.key,
  };
}

/** The text of a Java properties file; of two lines for one name the later holds. */
export function propertyLines(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n`)
    .join('');
}
