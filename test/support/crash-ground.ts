// Where crashes happen: two servers, writers, and daemons that are killed and started again.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Judgement } from './accounting.ts';
import { Daemon } from './daemon.ts';
import { LedgerLoad, postgresLedgerSink } from './ledger-load.ts';
import { freePort, PostgresServer } from './postgres-server.ts';
import { wantedMajors } from './postgres-servers.ts';

export const leaseTtlMs = 1_000;
const comesUpWithinMs = 60_000;
const drainsWithinMs = 90_000;

export class CrashGround implements AsyncDisposable {
  readonly folder: string;
  readonly source: PostgresServer;
  readonly sink: PostgresServer;
  /** Another one can stand by beside it. */
  daemon!: Daemon;
  readonly #load: LedgerLoad;
  readonly #ports: readonly [number, number];

  private constructor(parts: {
    readonly folder: string;
    readonly source: PostgresServer;
    readonly sink: PostgresServer;
    readonly ports: readonly [number, number];
    readonly load: LedgerLoad;
  }) {
    this.folder = parts.folder;
    this.source = parts.source;
    this.sink = parts.sink;
    this.#ports = parts.ports;
    this.#load = parts.load;
  }

  static async create(options: { readonly transactionsPerSecond: number }): Promise<CrashGround> {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-crash-'));
    const majors = wantedMajors();
    const source = await PostgresServer.create({ major: majors.at(-1) ?? 18 });
    const sink = await PostgresServer.create({ major: majors[0] ?? 14 });
    const load = await LedgerLoad.create({ source, sink: postgresLedgerSink(sink), ...options });
    const ground = new CrashGround({ folder, source, sink, ports: [await freePort(), await freePort()], load });
    ground.daemon = ground.start();
    await ground.daemon.untilWatermark(0, comesUpWithinMs);
    await load.audit();
    return ground;
  }

  get committed(): number {
    return this.#load.committed;
  }

  /** `beside`: on the other port than that daemon. */
  start(beside?: Daemon): Daemon {
    const which = beside?.port === this.#ports[0] ? 1 : 0;
    const port = this.#ports[which];
    const configFile = join(this.folder, `daemon-${which}.yaml`);
    writeFileSync(
      configFile,
      `control: { kind: embedded, path: '${join(this.folder, 'control.db')}' }
http: { listen: '127.0.0.1:${port}' }
metrics: { listen: '127.0.0.1:${port}' }
logging: { level: debug, format: json }
pipelines:
  ledger:
    source: { kind: postgres, url: '${this.source.url('app')}', tables: [ledger.*] }
    log: { kind: embedded, path: '${join(this.folder, 'log.db')}' }
    lease: { ttl: ${leaseTtlMs}ms }
    sinks:
      copy: { kind: postgres, url: '${this.sink.url('app')}', provision: create }
`,
    );
    return Daemon.start({ configFile, port });
  }

  /** Runs the faults while writers write, lets everything come to rest, and judges. */
  async underLoad(random: () => number, faults: () => Promise<void>): Promise<Judgement> {
    return await this.#load.under(random, { faults, arrived: (seconds) => this.daemon.untilWatermark(seconds, drainsWithinMs) });
  }

  /** Waits until the daemon applies: its watermark passes this moment of the source's clock. */
  async untilMoving(running: Daemon = this.daemon): Promise<void> {
    await running.untilWatermark(await this.#load.now(), drainsWithinMs);
  }

  async killDaemon(): Promise<void> {
    await this.daemon.kill();
    this.daemon = this.start();
  }

  /**
   * The daemon stands still for longer than its lease. With a standby, that one takes over, both run for a while, and the one
   * that was frozen has to notice by itself.
   */
  async freezeDaemon(options: { readonly standby: boolean }, random: () => number): Promise<void> {
    const frozen = this.daemon;
    const standby = options.standby ? this.start(frozen) : undefined;
    frozen.freeze();
    if (standby === undefined) {
      await sleep(1.5 * leaseTtlMs);
      frozen.thaw();
      return;
    }
    // One that froze while it wrote to the log keeps the file locked, and then nobody can take over before it goes on. Nor can
    // anybody tell then when the standby will come up: an error of waiting for it would be seen by whoever waits next.
    const takenOver = this.untilMoving(standby);
    takenOver.catch(() => undefined);
    await Promise.race([takenOver, sleep(4 * leaseTtlMs)]);
    frozen.thaw();
    await sleep(random() * 1_000);
    await frozen.kill();
    this.daemon = standby;
  }

  /** Returns how many walsenders there were. */
  async terminateWalsenders(): Promise<number> {
    const rows = await this.source.query('SELECT pg_terminate_backend(pid) FROM pg_stat_replication', 'app');
    return rows.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon.kill();
    await this.source.dispose();
    await this.sink.dispose();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
