// Two servers, the pipelines between them, and the waiting for what happens there.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { freePort, PostgresServer } from '../test/support/postgres-server.ts';
import { BenchDaemon, type Program } from './daemon.ts';
import { finishRows, makeTables, tables } from './load.ts';

/** Commits are on the disk before they count; checkpoints and vacuum stay out of runs that are shorter than what they cost. */
export const serverSettings = {
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  shared_buffers: '256MB',
  max_wal_size: '16GB',
  checkpoint_timeout: '60min',
  autovacuum: 'off',
};

const POLL_MS = 10;
const GIVE_UP_MS = 900_000;

export type PipelineOptions = {
  readonly register?: 'sidecar' | 'inline';
  readonly sinkDatabase?: string;
  /** Whose files are used: the pipeline's own unless set. */
  readonly files?: string;
  readonly leaseTtl?: string;
  /** The `log` of the configuration: the embedded one unless set. */
  readonly log?: Readonly<Record<string, unknown>>;
  /** The `sink` of the configuration: the Postgres of the arena unless set. */
  readonly sink?: Readonly<Record<string, unknown>>;
  /** The `tables` of the source: all of `bench`, without what they hold, unless set. */
  readonly tables?: readonly Readonly<Record<string, unknown>>[];
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
};

/** Source, sink and a folder for what the daemons keep. Everything is gone when it is disposed. */
export class Arena implements AsyncDisposable {
  readonly source: PostgresServer;
  readonly sink: PostgresServer;
  readonly folder: string;
  /** A session at the source's database. */
  readonly client: pg.Client;

  private constructor(source: PostgresServer, sink: PostgresServer, folder: string, client: pg.Client) {
    this.source = source;
    this.sink = sink;
    this.folder = folder;
    this.client = client;
  }

  static async create(): Promise<Arena> {
    const source = await PostgresServer.create({ major: 18, settings: serverSettings });
    const sink = await PostgresServer.create({ major: 18, settings: serverSettings });
    const folder = mkdtempSync(join(tmpdir(), 'causeway-bench-'));
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
    await source.createDatabase('bench');
    const client = await source.connect('bench');
    await makeTables(client);
    await client.query('CREATE PUBLICATION reference FOR TABLES IN SCHEMA bench');
    return new Arena(source, sink, folder, client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.end().catch(() => undefined);
    await this.source.dispose();
    await this.sink.dispose();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Where the daemon of a pipeline keeps its files. */
  filesOf(pipeline: string): { readonly control: string; readonly log: string } {
    return { control: join(this.folder, `${pipeline}-control.db`), log: join(this.folder, `${pipeline}-log.db`) };
  }

  /** The configuration file that `start` writes. */
  configOf(pipeline: string): string {
    return join(this.folder, `${pipeline}.yaml`);
  }

  async start(pipeline: string, roles: string, options: PipelineOptions = {}): Promise<BenchDaemon> {
    const files = this.filesOf(options.files ?? pipeline);
    const port = await freePort();
    const config = {
      version: 1,
      control: { kind: 'embedded', path: files.control },
      http: { listen: `127.0.0.1:${port}` },
      metrics: { listen: `127.0.0.1:${port}` },
      logging: { format: 'json' },
      pipelines: {
        [pipeline]: {
          source: { kind: 'postgres', url: this.source.url('bench'), tables: options.tables ?? [{ name: 'bench.*', snapshot: 'never' }] },
          log: options.log ?? { kind: 'embedded', path: files.log, bytesMax: '32GiB' },
          lease: { ttl: options.leaseTtl ?? '15s' },
          sinks: {
            copy: options.sink ?? {
              kind: 'postgres',
              url: this.sink.url(options.sinkDatabase ?? 'postgres'),
              provision: 'create',
              register: options.register ?? 'sidecar',
            },
          },
        },
      },
    };
    const configFile = this.configOf(options.files ?? pipeline);
    // JSON is YAML.
    writeFileSync(configFile, JSON.stringify(config));
    return new BenchDaemon({
      configFile,
      port,
      roles,
      nodeArgs: [...profiling(pipeline), ...(options.nodeArgs ?? [])],
      env: options.env ?? {},
    });
  }

  /** A first start that makes slot and publication, so that what is written afterwards is the pipeline's backlog. */
  async prepare(pipeline: string, options: PipelineOptions = {}): Promise<void> {
    const daemon = await this.start(pipeline, 'capture', options);
    const slot = `causeway_${pipeline}`;
    await this.untilActive(slot, daemon);
    // The checkpoint of the first second stands in the control store: from now on a stop leaves everything in order.
    await until(() => daemon.isStreaming(), `${pipeline} streams`, daemon);
    await daemon.stop();
    await this.untilSql(`SELECT 1 FROM pg_replication_slots WHERE slot_name = '${slot}' AND NOT active`, this.client);
  }

  async makeSlot(slot: string): Promise<void> {
    await this.client.query(`SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`);
  }

  async dropSlot(slot: string): Promise<void> {
    await this.untilSql(`SELECT 1 FROM pg_replication_slots WHERE slot_name = '${slot}' AND NOT active`, this.client);
    await this.client.query(`SELECT pg_drop_replication_slot('${slot}')`);
  }

  /** A database at the sink with the empty tables. */
  async makeCopy(database: string, withTables: boolean): Promise<pg.Client> {
    await this.sink.createDatabase(database);
    const client = await this.sink.connect(database);
    if (withTables) await client.query(tables);
    return client;
  }

  /** Resolves with the moment at which somebody streams from the slot. */
  async untilActive(slot: string, daemon?: Program): Promise<number> {
    return await this.untilSql(`SELECT 1 FROM pg_replication_slots WHERE slot_name = '${slot}' AND active`, this.client, daemon);
  }

  /** Resolves with the moment at which the last transaction of the backlog is whole at the sink. */
  async untilFinished(sink: pg.Client, daemon?: Program): Promise<number> {
    return await this.untilSql(`SELECT 1 FROM (SELECT count(*) AS rows FROM bench.finish) f WHERE rows = ${finishRows}`, sink, daemon);
  }

  async untilSql(text: string, client: pg.Client, daemon?: Program): Promise<number> {
    return await until(
      async () => {
        // A table that the daemon has not made yet.
        const found = await client.query(text).catch(() => null);
        return (found?.rows.length ?? 0) > 0;
      },
      text,
      daemon,
    );
  }
}

export async function until(isSo: () => Promise<boolean>, what: string, daemon?: Program): Promise<number> {
  const startMs = performance.now();
  for (;;) {
    if (await isSo()) return performance.now();
    const tail = (): string => daemon?.tail ?? '';
    if (daemon !== undefined && daemon.exit !== null) throw new Error(`the daemon ended before: ${what}\n${tail()}`);
    if (performance.now() - startMs > GIVE_UP_MS) throw new Error(`given up waiting for: ${what}\n${tail()}`);
    await sleep(POLL_MS);
  }
}

/** The process whose children are a server's backends. */
export function postmasterOf(server: PostgresServer): number {
  return Number(readFileSync(join(server.dataDirectory, 'postmaster.pid'), 'utf8').split('\n')[0]);
}

/** `CAUSEWAY_BENCH_PROFILE=folder` leaves a CPU profile of each daemon there; `CAUSEWAY_BENCH_NODE_ARGS` are given to its Node. */
function profiling(pipeline: string): string[] {
  const folder = process.env['CAUSEWAY_BENCH_PROFILE'];
  const others = process.env['CAUSEWAY_BENCH_NODE_ARGS']?.split(' ') ?? [];
  return folder === undefined ? others : ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-name=${pipeline}-${Date.now()}.cpuprofile`];
}
