import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Kafka, logLevel, type Admin, type ISocketFactory, type LogEntry, type Producer } from 'kafkajs';
import { CausewayError } from '#core/errors.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import { saslMechanism, tlsOptions } from './authentication.ts';
import type { Config } from './config.ts';
import { kafkaError } from './errors.ts';
import { clusterOf, type Cluster, type ClusterOptions } from './kafkajs-internals.ts';
import { timeRequests } from './kafkajs-repairs.ts';

export type ConnectionConfig = Pick<Config, 'brokers' | 'tls' | 'sasl' | 'requestTimeout' | 'connectTimeout'>;

export type ClientParts = {
  readonly config: ConnectionConfig;
  /** What the brokers' own logs and quotas show. */
  readonly clientId: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
};

const KEEP_ALIVE_MS = 60_000;
/** Of one call of the client; what lasts longer is tried again by us, with a new client. */
const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 1_000;

/** One client of kafkajs with the sockets that it opened: nothing else ends a request that is on its way. */
export class KafkaClient implements AsyncDisposable {
  readonly kafka: Kafka;
  readonly #options: ClusterOptions;
  readonly #sockets: Sockets;

  constructor(options: Omit<ClusterOptions, 'socketFactory'>, { runtime, logger }: Pick<ClientParts, 'runtime' | 'logger'>) {
    this.#sockets = new Sockets();
    timeRequests(this.#sockets.open, runtime);
    this.#options = { ...options, socketFactory: this.#sockets.open };
    this.kafka = new Kafka({ ...this.#options, logLevel: logLevel.WARN, logCreator: () => (entry) => tell(logger, entry) });
  }

  /** The brokers with their topics, for fetching without a consumer group. */
  cluster(): Cluster {
    return clusterOf(this.kafka, this.#options);
  }

  /** Every request is rejected, and no connection is made any more. */
  destroy(): void {
    this.#sockets.destroy();
  }

  /** Rejects with the signal's reason as soon as it aborts, and the client is then of no more use. Errors are CausewayErrors. */
  async use<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const aborted = Promise.withResolvers<never>();
    const abort = (): void => {
      this.destroy();
      aborted.reject(signal.reason as Error);
    };
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await Promise.race([work(), aborted.promise]);
    } catch (error) {
      signal.throwIfAborted();
      throw kafkaError(error);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.destroy();
    return Promise.resolve();
  }
}

/** Connects to nothing yet. Errors: `log_credentials` where a file of `tls` cannot be read. */
export async function openClient(parts: ClientParts, signal: AbortSignal): Promise<KafkaClient> {
  signal.throwIfAborted();
  const { config, clientId, runtime, logger } = parts;
  const ssl = await tlsOptions(config.tls);
  signal.throwIfAborted();
  const first = Math.floor(runtime.random() * config.brokers.length);
  return new KafkaClient(
    {
      brokers: [...config.brokers.slice(first), ...config.brokers.slice(0, first)].map(withoutColons),
      clientId,
      ...(ssl === null ? {} : { ssl }),
      ...(config.sasl === undefined ? {} : { sasl: saslMechanism(config.sasl, runtime) }),
      connectionTimeout: config.connectTimeout,
      authenticationTimeout: config.connectTimeout,
      requestTimeout: config.requestTimeout,
      // Enough for each of the configured brokers to be asked once.
      retry: {
        retries: Math.max(2, config.brokers.length),
        initialRetryTime: RETRY_FIRST_MS,
        maxRetryTime: RETRY_MAX_MS,
        factor: 0,
        multiplier: 2,
      },
    },
    { runtime, logger },
  );
}

/**
 * The producer that the log needs: what it sends stands in the log once or not at all, as long as one send after the other is awaited
 * and none was refused. kafkajs tries a send once more by itself, which an idempotent producer has to allow.
 */
export function producerOf({ kafka }: KafkaClient): Producer {
  return kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    retry: { retries: 1, initialRetryTime: RETRY_FIRST_MS, maxRetryTime: RETRY_MAX_MS, factor: 0, multiplier: 1 },
    // Each message names its partition.
    createPartitioner: () => {
      return ({ message }) => message.partition ?? Number.NaN;
    },
  });
}

/** One admin client, made when it is first needed and anew after any failure. Calls wait for each other. */
export class KeptAdmin implements AsyncDisposable {
  readonly #parts: ClientParts;
  #open: { readonly client: KafkaClient; readonly admin: Admin } | null = null;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: ClientParts) {
    this.#parts = parts;
  }

  use<T>(signal: AbortSignal, work: (admin: Admin) => Promise<T>): Promise<T> {
    const result = this.#last.then(() => this.#run(signal, work));
    this.#last = result.catch(() => undefined);
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.#drop();
  }

  async #run<T>(signal: AbortSignal, work: (admin: Admin) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const client = this.#open?.client ?? (await openClient(this.#parts, signal));
    try {
      return await client.use(signal, async () => {
        this.#open ??= { client, admin: await connectedAdmin(client) };
        return await work(this.#open.admin);
      });
    } catch (error) {
      client.destroy();
      this.#open = null;
      throw error;
    }
  }

  #drop(): void {
    this.#open?.client.destroy();
    this.#open = null;
  }
}

async function connectedAdmin({ kafka }: KafkaClient): Promise<Admin> {
  const admin = kafka.admin();
  await admin.connect();
  return admin;
}

/** kafkajs cuts an address at its first colon. */
export function withoutColons(address: string): string {
  return address.replace(/^\[(.*)\]/, (_all, host: string) => host.replaceAll(':', '_'));
}

/** What `withoutColons` was given; any other host as it is. */
export function withColons(host: string): string {
  const address = host.replaceAll('_', ':');
  return isIP(address) === 6 ? address : host;
}

class Sockets {
  readonly #open = new Set<Socket>();
  #destroyed = false;

  /** What kafkajs opens connections with. */
  readonly open: ISocketFactory = ({ host: named, port, ssl, onConnect }) => {
    if (this.#destroyed) throw new CausewayError('log_unavailable', 'the client was closed');
    const host = withColons(named);
    // The types of kafkajs leave out that `ssl` is null without TLS.
    const tls = ssl as typeof ssl | null;
    const name = isIP(host) === 0 ? { servername: host } : {};
    const socket = tls === null ? connect({ host, port }, onConnect) : connectTls({ host, port, ...name, ...tls }, onConnect);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    // A send waits for its reply before the next: held back for more to come, its last packet would only come later.
    socket.setNoDelay(true);
    this.#open.add(socket);
    socket.once('close', () => {
      this.#open.delete(socket);
      // kafkajs does this to a closed one at each attempt to connect again, and each time a listener is left behind.
      socket.unref = () => socket;
    });
    return socket;
  };

  destroy(): void {
    this.#destroyed = true;
    // Without an error kafkajs would not notice.
    for (const socket of this.#open) socket.destroy(new Error('the client was closed'));
  }
}

/** Fields of kafkajs that name something; others can hold what a broker or a server for tokens said. */
const FIELDS = ['broker', 'topic', 'partition', 'groupId', 'memberId', 'nodeId', 'retryCount', 'retryTime'] as const;

/** Whatever matters comes as an error, which is told where it is known what it means. */
function tell(logger: Logger, { namespace, label, log }: LogEntry): void {
  const fields: Record<string, string | number> = {};
  for (const field of FIELDS) {
    const value: unknown = log[field];
    if (typeof value === 'string' || typeof value === 'number') fields[field] = value;
  }
  logger.log('debug', `kafkajs: ${log.message}`, { ...fields, namespace, level: label.toLowerCase() });
}
