// Where one release takes the place of another: two daemons of one pipeline over a broker, a source, a sink and a control store, of which
// each is replaced by one of the other release while writers write.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { present } from '#core/assert.ts';
import type { Judgement } from './accounting.ts';
import { causeway, type Ran } from './command-line.ts';
import { Daemon } from './daemon.ts';
import { LedgerLoad, postgresLedgerSink } from './ledger-load.ts';
import { freePort, PostgresServer } from './postgres-server.ts';
import { wantedMajors } from './postgres-servers.ts';
import { tempFolder, type TempFolder } from './temp-folder.ts';

const lookEveryMs = 100;
const comesUpWithinMs = 120_000;

/** The main file of a release, and what its daemons call themselves. */
export type Release = { readonly program: string; readonly version: string };

type Place = { readonly configFile: string; readonly port: number };
type Servers = { readonly source: PostgresServer; readonly sink: PostgresServer; readonly control: PostgresServer };

export class RollingGround implements AsyncDisposable {
  readonly #servers: Servers;
  readonly #load: LedgerLoad;
  readonly #folder: TempFolder;
  readonly #places: readonly Place[];
  readonly #daemons: Daemon[];

  private constructor(parts: {
    readonly servers: Servers;
    readonly load: LedgerLoad;
    readonly folder: TempFolder;
    readonly places: readonly Place[];
    readonly daemons: Daemon[];
  }) {
    this.#servers = parts.servers;
    this.#load = parts.load;
    this.#folder = parts.folder;
    this.#places = parts.places;
    this.#daemons = parts.daemons;
  }

  static async create(of: {
    readonly brokers: readonly string[];
    readonly topic: string;
    readonly release: Release;
    readonly transactionsPerSecond: number;
  }): Promise<RollingGround> {
    const majors = wantedMajors();
    const [oldest, newest] = [majors[0] ?? 14, majors.at(-1) ?? 18];
    const servers = {
      source: await PostgresServer.create({ major: newest }),
      sink: await PostgresServer.create({ major: oldest }),
      control: await PostgresServer.create({ major: newest }),
    };
    const load = await LedgerLoad.create({
      source: servers.source,
      sink: postgresLedgerSink(servers.sink),
      transactionsPerSecond: of.transactionsPerSecond,
    });
    const folder = tempFolder();
    const places: Place[] = [];
    for (const name of ['a', 'b']) {
      const place = { configFile: join(folder.path, `${name}.yaml`), port: await freePort() };
      writeFileSync(place.configFile, configOf({ servers, brokers: of.brokers, topic: of.topic, port: place.port }));
      places.push(place);
    }
    const daemons = places.map((place) => Daemon.start({ ...place, program: of.release.program }));
    const ground = new RollingGround({ servers, load, folder, places, daemons });
    try {
      await ground.#until('it captures', async () => (await ground.#watermarkSeconds()) > 0);
      for (const daemon of daemons) await ground.#untilServes(daemon, of.release);
      await load.audit();
      return ground;
    } catch (error) {
      await ground[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Stops one daemon in the orderly way and starts one of that release in its place, which is up when this returns. */
  async replace(which: 0 | 1, release: Release): Promise<void> {
    const [daemon, place] = [this.#daemons[which], this.#places[which]];
    if (daemon === undefined || place === undefined) throw new Error(`there is no daemon ${which}`);
    await daemon.stop();
    if (daemon.exit?.code !== 0) throw new Error(`it stopped with ${JSON.stringify(daemon.exit)}:\n${daemon.log.slice(-40).join('\n')}`);
    const next = Daemon.start({ ...place, program: release.program });
    this.#daemons[which] = next;
    await this.#untilServes(next, release);
  }

  /** Waits until everything that was committed until now stands in the sink; returns which one captures then, with its version. */
  async moving(): Promise<{ readonly which: number; readonly version: string }> {
    const seconds = await this.#load.now();
    await this.#until(`the watermark passes ${seconds}`, async () => (await this.#watermarkSeconds()) >= seconds);
    let captures: { readonly which: number; readonly version: string } | null = null;
    await this.#until('one of them captures', async () => {
      for (const [which, daemon] of this.#daemons.entries()) {
        if (!(await daemon.metric('causeway_lease_held')).some(({ value }) => value === 1)) continue;
        const version = await versionOf(daemon);
        if (version !== '') captures = { which, version };
      }
      return captures !== null;
    });
    return present<{ readonly which: number; readonly version: string }>(captures, 'a daemon that captures');
  }

  /** Asks the one that captures to hand over. */
  async stepDown(): Promise<Ran> {
    return await causeway(present(this.#places[0], 'a configuration').configFile, 'lease', 'step-down');
  }

  /** Lets writers write while the releases take turns, lets everything come to rest, and judges. */
  async underLoad(random: () => number, turns: () => Promise<void>): Promise<Judgement> {
    const arrived = (seconds: number): Promise<void> =>
      this.#until(`the watermark passes ${seconds}`, async () => (await this.#watermarkSeconds()) >= seconds);
    return await this.#load.under(random, { faults: turns, arrived });
  }

  async #untilServes(daemon: Daemon, release: Release): Promise<void> {
    await this.#until(`a daemon says that it is ${release.version}`, async () => (await versionOf(daemon)) === release.version);
  }

  async #watermarkSeconds(): Promise<number> {
    const told = await Promise.all(this.#daemons.map((daemon) => daemon.watermarkSeconds()));
    return Math.max(0, ...told.map((seconds) => seconds ?? 0));
  }

  async #until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    const deadlineMs = performance.now() + comesUpWithinMs;
    while (!(await isSo())) {
      const ended = this.#daemons.find(({ exit }) => exit !== null);
      if (ended !== undefined || performance.now() > deadlineMs) {
        const logs = this.#daemons.map(({ log }) => log.slice(-40).join('\n')).join('\n\n');
        throw new Error(`${ended === undefined ? 'too late' : 'a daemon ended'} before ${what}:\n${logs}`);
      }
      await sleep(lookEveryMs);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const daemon of this.#daemons) await daemon.kill();
    const { source, sink, control } = this.#servers;
    for (const server of [source, sink, control]) await server.dispose();
    this.#folder[Symbol.dispose]();
  }
}

/** Empty while it does not answer. */
async function versionOf(daemon: Daemon): Promise<string> {
  const [info] = await daemon.metric('causeway_build_info');
  return /[{,]version="([^"]*)"/.exec(info?.labels ?? '')?.[1] ?? '';
}

function configOf(of: {
  readonly servers: Servers;
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly port: number;
}): string {
  const { servers, brokers, topic, port } = of;
  return `control: { kind: postgres, url: '${servers.control.url('postgres')}', provision: create }
http: { listen: '127.0.0.1:${port}' }
metrics: { listen: '127.0.0.1:${port}' }
logging: { level: debug, format: json }
pipelines:
  ledger:
    source: { kind: postgres, url: '${servers.source.url('app')}', tables: [ledger.*] }
    log:
      kind: kafka
      brokers: [${brokers.map((address) => `'${address}'`).join(', ')}]
      topic: ${topic}
      partitions: 4
      replicationFactor: 1
      minInsyncReplicas: 1
    sinks:
      copy: { kind: postgres, url: '${servers.sink.url('app')}', provision: create }
`;
}
