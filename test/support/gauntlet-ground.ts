// Where everything happens at once: two daemons that share one pipeline over three brokers, a source, a sink and a control store, each
// server of its own and each way from a daemon to a server through a proxy of its own.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Judgement } from './accounting.ts';
import { DaemonPost } from './daemon-post.ts';
import { gauntletSink, type GauntletSink, type SinkKind } from './gauntlet-sink.ts';
import { type Door, type KafkaBroker, KafkaCluster } from './kafka-cluster.ts';
import { LedgerLoad } from './ledger-load.ts';
import { freePort, PostgresServer } from './postgres-server.ts';
import { wantedMajors } from './postgres-servers.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { tempFolder, type TempFolder } from './temp-folder.ts';

export const leaseTtlMs = 3_000;
export const partitions = 4;
export const places = ['source', 'sink', 'broker', 'control store'] as const;
export type Place = (typeof places)[number];
/** Of the lease: the daemon that captures, and the one that stands by. Both apply. */
export type Role = 'holder' | 'standby';

const daemons = 2;
const topic = 'ledger';
const lookEveryMs = 250;
const comesUpWithinMs = 120_000;
/** The longest pause between two attempts of the product is half a minute. */
const recoversWithinMs = 180_000;

type Servers = { readonly source: PostgresServer; readonly sink: GauntletSink; readonly control: PostgresServer };

export class GauntletGround implements AsyncDisposable {
  readonly servers: Servers;
  readonly cluster: KafkaCluster;
  readonly posts: readonly DaemonPost[];
  /** By daemon; at a broker there is one for each broker. */
  readonly ways: readonly Readonly<Record<Place, readonly TcpProxy[]>>[];
  readonly #load: LedgerLoad;
  readonly #folder: TempFolder;
  readonly #watching = new AbortController();
  readonly #watched: readonly Promise<void>[];
  readonly #struckBrokers = new Set<KafkaBroker>();
  /** The highest that any daemon has told, of each sink. One that does not know enough of a sink tells nothing of it. */
  readonly #watermarks: Map<string, number>;
  /** The number of the daemon that was last seen to capture. */
  #holder = 0;

  private constructor(parts: {
    readonly servers: Servers;
    readonly cluster: KafkaCluster;
    readonly posts: readonly DaemonPost[];
    readonly ways: GauntletGround['ways'];
    readonly load: LedgerLoad;
    readonly folder: TempFolder;
  }) {
    this.servers = parts.servers;
    this.cluster = parts.cluster;
    this.posts = parts.posts;
    this.ways = parts.ways;
    this.#load = parts.load;
    this.#watermarks = new Map(parts.servers.sink.configured(parts.servers.sink.port).map((line) => [line.slice(0, line.indexOf(':')), 0]));
    this.#folder = parts.folder;
    this.#watched = this.posts.map((post, at) => this.#watch(post, at));
  }

  static async create({
    sink = 'postgres',
    transactionsPerSecond,
  }: {
    readonly sink?: SinkKind;
    readonly transactionsPerSecond: number;
  }): Promise<GauntletGround> {
    const newest = wantedMajors().at(-1) ?? 18;
    const servers: Servers = {
      source: await PostgresServer.create({ major: newest }),
      sink: await gauntletSink(sink),
      control: await PostgresServer.create({ major: newest }),
    };
    const cluster = await KafkaCluster.create({ brokers: 3, doors: daemons });
    const load = await LedgerLoad.create({ source: servers.source, sink: servers.sink, transactionsPerSecond });
    const folder = tempFolder();
    const ways: Record<Place, readonly TcpProxy[]>[] = [];
    const posts: DaemonPost[] = [];
    for (const [at, door] of cluster.doors.entries()) {
      const way = async ({ port }: { readonly port: number }): Promise<TcpProxy> => await TcpProxy.create({ host: '127.0.0.1', port });
      const [source, sink, control] = await Promise.all([way(servers.source), way(servers.sink), way(servers.control)]);
      ways.push({ source: [source], sink: [sink], broker: door.proxies, 'control store': [control] });
      const port = await freePort();
      const configFile = join(folder.path, `daemon-${at}.yaml`);
      writeFileSync(configFile, configOf(servers, { source, sink, control, door, port }));
      posts.push(new DaemonPost({ configFile, port, env: servers.sink.env }));
    }
    const ground = new GauntletGround({ servers, cluster, posts, ways, load, folder });
    try {
      await ground.#untilWatermark(1, comesUpWithinMs);
      await load.audit();
      return ground;
    } catch (error) {
      await ground[Symbol.asyncDispose]();
      throw error;
    }
  }

  get committed(): number {
    return this.#load.committed;
  }

  /** Numbers of daemons change their roles all the time. */
  numberOf(role: Role): number {
    return role === 'holder' ? this.#holder : 1 - this.#holder;
  }

  /**
   * Kills the broker that leads the partition, and starts it again. Returns whether there was one: nobody leads while the brokers choose,
   * one that is struck already does not count, and one of them stays, so that there is always somebody to ask.
   */
  async killLeader(partition: number, forMs: number): Promise<boolean> {
    if (this.#struckBrokers.size >= this.cluster.brokers.length - 1) return false;
    const leader = await this.cluster.leaderOf(topic, partition);
    if (leader === undefined || this.#struckBrokers.has(leader) || this.#struckBrokers.size >= this.cluster.brokers.length - 1)
      return false;
    this.#struckBrokers.add(leader);
    await leader.kill();
    await sleep(forMs);
    await leader.start();
    this.#struckBrokers.delete(leader);
    return true;
  }

  /** Waits until everything that was committed until now stands in the sink, and returns how long that took. */
  async recovered(): Promise<number> {
    const startedAtMs = performance.now();
    // The servers' clock is that of this machine.
    await this.#untilWatermark(Date.now() / 1_000, recoversWithinMs);
    return performance.now() - startedAtMs;
  }

  /** Runs the faults while writers write, lets everything come to rest, and judges. */
  async underLoad(random: () => number, faults: () => Promise<void>): Promise<Judgement> {
    return await this.#load.under(random, { faults, arrived: (seconds) => this.#untilWatermark(seconds, recoversWithinMs) });
  }

  async #untilWatermark(seconds: number, withinMs: number): Promise<void> {
    const deadlineMs = performance.now() + withinMs;
    while (Math.min(...this.#watermarks.values()) < seconds) {
      if (performance.now() > deadlineMs) {
        throw new Error(`the watermarks stand at ${JSON.stringify([...this.#watermarks])}, short of ${seconds}, after ${withinMs} ms`);
      }
      await sleep(lookEveryMs);
    }
  }

  async #watch(post: DaemonPost, at: number): Promise<void> {
    const { signal } = this.#watching;
    while (!signal.aborted) {
      const { watermarks, captures } = await post.look();
      for (const [name, seconds] of watermarks) this.#watermarks.set(name, Math.max(this.#watermarks.get(name) ?? 0, seconds));
      if (captures) this.#holder = at;
      await sleep(lookEveryMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watching.abort();
    await Promise.all(this.#watched);
    for (const post of this.posts) await post[Symbol.asyncDispose]();
    for (const { source, sink, 'control store': control } of this.ways) {
      for (const proxy of [...source, ...sink, ...control]) await proxy[Symbol.asyncDispose]();
    }
    await this.cluster.dispose();
    const { source, sink, control } = this.servers;
    for (const server of [source, sink, control]) await server.dispose();
    this.#folder[Symbol.dispose]();
  }
}

type Reached = {
  readonly source: TcpProxy;
  readonly sink: TcpProxy;
  readonly control: TcpProxy;
  readonly door: Door;
  readonly port: number;
};

function configOf({ source, sink, control }: Servers, by: Reached): string {
  const through = (server: PostgresServer, proxy: TcpProxy, database: string): string => {
    const url = new URL(server.url(database));
    url.port = String(proxy.port);
    return url.href;
  };
  return `control: { kind: postgres, url: '${through(control, by.control, 'postgres')}', provision: create }
http: { listen: '127.0.0.1:${by.port}' }
metrics: { listen: '127.0.0.1:${by.port}' }
logging: { level: debug, format: json }
pipelines:
  ledger:
    source: { kind: postgres, url: '${through(source, by.source, 'app')}', tables: [ledger.*] }
    log:
      kind: kafka
      brokers: [${by.door.addresses.map((address) => `'${address}'`).join(', ')}]
      topic: ${topic}
      partitions: ${partitions}
      requestTimeout: 2s
      connectTimeout: 2s
    lease: { ttl: ${leaseTtlMs}ms }
    sinks:
      ${sink.configured(by.sink.port).join('\n      ')}
`;
}
