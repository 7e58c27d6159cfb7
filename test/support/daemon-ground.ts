// Two databases, a configuration file over them, and the daemon and the command line as an operator runs them.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StatusDocument } from '../../src/http/status-document.ts';
import { causeway, type Ran } from './command-line.ts';
import { Daemon } from './daemon.ts';
import type { PostgresMajor } from './postgres-binaries.ts';
import { freePort } from './postgres-server.ts';
import { TestDatabase } from './postgres.ts';
import { tempFolder, type TempFolder } from './temp-folder.ts';

/** A machine that does other things as well. */
export const soon = { timeout: 30_000, interval: 50 };

export type GroundOptions = {
  /** Entries of `tables`, as YAML. */
  readonly tables?: string;
  /** Names of the sinks; each has a database of its own. */
  readonly sinks?: readonly string[];
  /** Leads the sinks elsewhere than to their databases. */
  readonly sinkUrl?: (source: string) => string;
  /** More keys of the log, as YAML. */
  readonly log?: string;
  /** The control store, as YAML; a file unless given. */
  readonly control?: (source: TestDatabase) => string;
};

export class DaemonGround implements AsyncDisposable {
  readonly source: TestDatabase;
  readonly sinks: ReadonlyMap<string, TestDatabase>;
  readonly file: string;
  readonly port: number;
  readonly #folder: TempFolder;
  readonly #options: GroundOptions;
  #daemon: Daemon | null = null;

  private constructor(parts: {
    readonly source: TestDatabase;
    readonly sinks: ReadonlyMap<string, TestDatabase>;
    readonly folder: TempFolder;
    readonly port: number;
    readonly options: GroundOptions;
  }) {
    this.source = parts.source;
    this.sinks = parts.sinks;
    this.port = parts.port;
    this.#folder = parts.folder;
    this.#options = parts.options;
    this.file = join(parts.folder.path, 'causeway.yaml');
    this.configure(parts.options.tables ?? 'public.*');
  }

  static async create(major: PostgresMajor, options: GroundOptions = {}): Promise<DaemonGround> {
    const source = await TestDatabase.create(major);
    const sinks = new Map<string, TestDatabase>();
    for (const name of options.sinks ?? ['copy']) sinks.set(name, await TestDatabase.create(major));
    return new DaemonGround({ source, sinks, folder: tempFolder(), port: await freePort(), options });
  }

  /** Writes the file anew. The names of slots are the server's, which the tests share. */
  configure(tables: string, sinkNames: readonly string[] = [...this.sinks.keys()]): void {
    const { sinkUrl, control, log = '' } = this.#options;
    const sinks = [...this.sinks.values()].flatMap(({ url }, at) => {
      const name = sinkNames[at];
      // One that is to be added later.
      if (name === undefined) return [];
      const address = sinkUrl === undefined ? url : sinkUrl(this.source.url);
      return `      ${name}: { kind: postgres, url: '${address}', provision: create }`;
    });
    writeFileSync(
      this.file,
      `control: ${control?.(this.source) ?? `{ kind: embedded, path: ${this.#folder.path}/control.db }`}
http: { listen: '127.0.0.1:${this.port}' }
metrics: { listen: '127.0.0.1:${this.port}' }
pipelines:
  main:
    source: { kind: postgres, url: '${this.source.url}', tables: [${tables}], slot: ${this.source.name}, publication: ${this.source.name} }
    log: { kind: embedded, path: ${this.#folder.path}/log.db${log} }
    lease: { ttl: 2s }
    sinks:
${sinks.join('\n')}
`,
    );
  }

  get daemon(): Daemon {
    if (this.#daemon === null) throw new Error('no daemon was started');
    return this.#daemon;
  }

  get sink(): TestDatabase {
    const [sink] = this.sinks.values();
    if (sink === undefined) throw new Error('there is no sink');
    return sink;
  }

  /** Starts the daemon, and waits until its pipeline is in `state`. */
  async start(state = 'streaming'): Promise<void> {
    this.#daemon = Daemon.start({ configFile: this.file, port: this.port });
    const deadlineMs = performance.now() + soon.timeout;
    for (;;) {
      const now = (await this.status())?.state;
      if (now === state) return;
      if (performance.now() > deadlineMs || this.#daemon.exit !== null) {
        throw new Error(`the pipeline is ${now ?? 'not to be seen'}, not ${state}:\n${this.#daemon.log.slice(-20).join('\n')}`);
      }
      await sleep(soon.interval);
    }
  }

  /** Loses what the daemon keeps on this machine. */
  lose(...what: readonly ('control' | 'log')[]): void {
    for (const name of what) for (const end of ['', '-wal', '-shm']) rmSync(join(this.#folder.path, `${name}.db${end}`), { force: true });
  }

  async causeway(...words: readonly string[]): Promise<Ran> {
    return await causeway(this.file, ...words);
  }

  async status(): Promise<StatusDocument['pipelines'][number] | undefined> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.port}/api/v1/status`);
      return ((await response.json()) as StatusDocument).pipelines[0];
    } catch {
      return undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon?.kill();
    for (const sink of this.sinks.values()) await sink.close();
    await this.source.close();
    this.#folder[Symbol.dispose]();
  }
}
