// A real Kafka cluster of one's own, in KRaft mode: one broker, or three. For tests that kill, suspend or configure brokers; those that
// only need topics take the shared broker from `services.ts`, which is much quicker.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Kafka, logLevel } from 'kafkajs';
import { type Authority, createAuthority } from './certificates.ts';
import { brokerSettings, propertyLines, scramMechanisms, type Listeners } from './kafka-settings.ts';
import { freePort } from './postgres-server.ts';
import { classArchive, fetchedService } from './service-cache.ts';
import { ServiceProcess } from './service-process.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { tempFolder, type TempFolder } from './temp-folder.ts';

export interface KafkaClusterOptions {
  readonly brokers?: 1 | 3;
  /** Adds a listener with TLS and SASL (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512) beside the plain one. */
  readonly users?: readonly KafkaUser[];
  /** How many further ways in there are; see `Door`. None unless given. */
  readonly doors?: number;
  /** Lines of server.properties, over those of `kafka-settings.ts`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** What the brokers' Java is given: `smallJava` unless set. */
  readonly java?: readonly string[];
}

/** A way in for clients whose network has troubles of its own: all that they are told of the brokers leads through these proxies. */
export interface Door {
  readonly addresses: readonly string[];
  /** By broker. */
  readonly proxies: readonly TcpProxy[];
}

export interface KafkaUser {
  readonly name: string;
  readonly password: string;
}

export class KafkaBroker {
  readonly id: number;
  /** Of the plain listener. */
  readonly address: string;
  /** Of the listener with TLS and SASL; nothing listens there unless the cluster has users. */
  readonly secureAddress: string;
  readonly #process: ServiceProcess;
  readonly #properties: string;
  #isPaused = false;

  constructor(id: number, listeners: Listeners, of: { readonly folder: string; readonly java: readonly string[] }) {
    const { folder, java } = of;
    this.id = id;
    this.address = `127.0.0.1:${listeners.plain}`;
    this.secureAddress = `127.0.0.1:${listeners.secure}`;
    this.#properties = join(folder, 'server.properties');
    this.#process = new ServiceProcess({
      name: `Kafka broker ${id}`,
      ...javaCommand('kafka.Kafka', [this.#properties], [...java, '-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info']),
      cwd: folder,
      isReady: (log) => log.includes('Kafka Server started'),
    });
  }

  /** Neither ended nor suspended. */
  get isServing(): boolean {
    return this.#process.isRunning && !this.#isPaused;
  }

  /** Undefined while it does not run. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** The last lines of its log. */
  get log(): string {
    return this.#process.log;
  }

  /** Starts it again with its data after `stop` or `kill`, on the same ports. Of three brokers it needs another one that runs. */
  async start(): Promise<void> {
    this.#isPaused = false;
    await this.#process.start();
  }

  /** An orderly end: its partitions are led by others before it goes. */
  async stop(): Promise<void> {
    await this.#process.stop();
  }

  async kill(): Promise<void> {
    await this.#process.kill();
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** It keeps its connections and answers nothing until `resume`; after four seconds the others lead its partitions. */
  pause(): void {
    this.#process.pause();
    this.#isPaused = true;
  }

  resume(): void {
    this.#process.resume();
    this.#isPaused = false;
  }

  /** Adds settings to server.properties; they hold from the next start on. */
  configure(settings: Readonly<Record<string, string>>): void {
    appendFileSync(this.#properties, propertyLines(settings));
  }
}

export class KafkaCluster implements AsyncDisposable {
  readonly brokers: readonly KafkaBroker[];
  /** The PEM text of the authority that a client of the listener with TLS has to trust. */
  readonly ca: string;
  readonly doors: readonly Door[];
  readonly #folder: TempFolder;

  private constructor(brokers: readonly KafkaBroker[], doors: readonly Door[], ca: string, folder: TempFolder) {
    this.brokers = brokers;
    this.doors = doors;
    this.ca = ca;
    this.#folder = folder;
  }

  /** A new cluster, started and ready for clients. */
  static async create(options: KafkaClusterOptions = {}): Promise<KafkaCluster> {
    const folder = tempFolder();
    const authority = createAuthority('causeway test authority of kafka');
    const listeners = new Map<number, Listeners>();
    const doors = Array.from({ length: options.doors ?? 0 }, () => ({ addresses: [] as string[], proxies: [] as TcpProxy[] }));
    const taken = new Set<number>();
    for (let id = 1; id <= (options.brokers ?? 1); id += 1) {
      const [plain, secure, controller, ...behind] = (await freePorts(3 + doors.length, taken)) as [number, number, number, ...number[]];
      const own: { port: number; proxyPort: number }[] = [];
      for (const [at, door] of doors.entries()) {
        const port = behind[at] ?? 0;
        const proxy = await TcpProxy.create({ host: '127.0.0.1', port });
        door.proxies.push(proxy);
        door.addresses.push(`127.0.0.1:${proxy.port}`);
        own.push({ port, proxyPort: proxy.port });
      }
      listeners.set(id, { plain, secure, controller, doors: own });
    }
    const brokers = [...listeners].map(([id, own]) => {
      const broker = join(folder.path, `broker-${id}`);
      mkdirSync(broker);
      writeFileSync(join(broker, 'server.properties'), propertiesOf(id, listeners, options, authority, broker));
      return new KafkaBroker(id, own, { folder: broker, java: options.java ?? smallJava });
    });
    const cluster = new KafkaCluster(brokers, doors, authority.cert, folder);
    try {
      await format(folder.path, brokers, options.users ?? []);
      await Promise.all(brokers.map((broker) => broker.start()));
      return cluster;
    } catch (error) {
      await cluster.dispose();
      throw error;
    }
  }

  /** Of the plain listeners, for a client's list of brokers. */
  get addresses(): string[] {
    return this.brokers.map(({ address }) => address);
  }

  get secureAddresses(): string[] {
    return this.brokers.map(({ secureAddress }) => secureAddress);
  }

  /** Undefined while no broker leads the partition. */
  async leaderOf(topic: string, partition: number): Promise<KafkaBroker | undefined> {
    const asked = this.brokers.filter(({ isServing }) => isServing).map(({ address }) => address);
    const admin = new Kafka({ brokers: asked, logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    try {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
      const leader = topics[0]?.partitions.find(({ partitionId }) => partitionId === partition)?.leader;
      return this.brokers.find(({ id }) => id === leader);
    } finally {
      await admin.disconnect();
    }
  }

  async dispose(): Promise<void> {
    await Promise.all(this.brokers.map((broker) => broker.kill()));
    for (const { proxies } of this.doors) for (const proxy of proxies) await proxy[Symbol.asyncDispose]();
    this.#folder[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

function propertiesOf(
  id: number,
  listeners: ReadonlyMap<number, Listeners>,
  { users, settings }: KafkaClusterOptions,
  authority: Authority,
  folder: string,
): string {
  const secure =
    users === undefined ? undefined : { users, certificate: authority.issue({ name: `broker-${id}`, hosts: ['127.0.0.1', 'localhost'] }) };
  return propertyLines({ ...brokerSettings({ id, listeners, secure, folder }), ...settings });
}

/** Writes the data folders. Java starts once: the brokers' folders differ only in two lines. */
async function format(folder: string, [first, ...others]: readonly KafkaBroker[], users: readonly KafkaUser[]): Promise<void> {
  if (first === undefined) return;
  const properties = (broker: KafkaBroker): string => join(folder, `broker-${broker.id}`, 'server.properties');
  const data = (broker: KafkaBroker): string => join(folder, `broker-${broker.id}`, 'data');
  const scram = users.flatMap(({ name, password }) =>
    scramMechanisms.flatMap((mechanism) => ['--add-scram', `${mechanism}=[name=${name},password=${password}]`]),
  );
  const clusterId = randomBytes(16).toString('base64url');
  const { command, args } = javaCommand('kafka.tools.StorageTool', [
    'format',
    // One word: an identifier may begin with a hyphen, and would then be taken for an option.
    ...[`--cluster-id=${clusterId}`, '--config', properties(first)],
    ...scram,
  ]);
  await promisify(execFile)(command, args);
  for (const broker of others) {
    cpSync(data(first), data(broker), { recursive: true });
    const meta = join(data(broker), 'meta.properties');
    const own = readFileSync(meta, 'utf8')
      .replace(/^node\.id=.*$/m, `node.id=${broker.id}`)
      .replace(/^directory\.id=.*$/m, `directory.id=${randomBytes(16).toString('base64url')}`);
    writeFileSync(meta, own);
  }
}

/** Small and quick to start rather than quick in the long run: several brokers share a machine of two cores with the tests. */
const smallJava = ['-Xms64m', '-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-XX:-UsePerfData'];

const dumpClasses = '-XX:ArchiveClassesAtExit=';

/** Writes the classes of a broker that starts and stops to this file, for the brokers after it. */
export async function archiveBrokerClasses(file: string): Promise<void> {
  await using cluster = await KafkaCluster.create({ java: [...smallJava, `${dumpClasses}${file}`] });
  for (const broker of cluster.brokers) await broker.stop();
}

/** Runs a class of what comes with Kafka. */
export function javaCommand(
  main: string,
  args: readonly string[],
  java: readonly string[] = smallJava,
): { command: string; args: string[] } {
  const classPath = join(fetchedService('kafka'), '*');
  const archive = classArchive('kafka');
  // A broker takes 1.3 s of the processor to start with it, and 2.4 s without.
  const shared = existsSync(archive) && !java.some((option) => option.startsWith(dumpClasses)) ? [`-XX:SharedArchiveFile=${archive}`] : [];
  return {
    command: 'java',
    args: [...java, ...shared, '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn', '-classpath', classPath, main, ...args],
  };
}

/** Of which none is in `taken`, where they are then. */
async function freePorts(count: number, taken: Set<number>): Promise<number[]> {
  const found: number[] = [];
  while (found.length < count) {
    const port = await freePort();
    if (taken.has(port)) continue;
    taken.add(port);
    found.push(port);
  }
  return found;
}
