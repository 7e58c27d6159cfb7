// A real Postgres server of one's own: a test that stops, kills or configures a server starts one of these.
// Tests that only need a database take one from `postgres.ts`, which is much quicker.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { type Account, type PostgresBinaries, postgresBinaries, type PostgresMajor, serverAccount } from './postgres-binaries.ts';

export interface PostgresServerOptions {
  readonly major: PostgresMajor;
  /** Lines of postgresql.conf, over the defaults below. */
  readonly settings?: Readonly<Record<string, string>>;
  /** PEM texts. Turns TLS on; without `requireTls` plain connections stay allowed. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  /** Lines of pg_hba.conf that come before the default ones. */
  readonly hba?: readonly string[];
  /** Default C: byte order, the same on every machine. */
  readonly locale?: string;
}

/** Sized so that all files of a run may share one server. */
const defaultSettings: Readonly<Record<string, string>> = {
  wal_level: 'logical',
  max_connections: '300',
  max_wal_senders: '100',
  max_replication_slots: '100',
  max_prepared_transactions: '20',
  shared_buffers: '64MB',
  // A kill of the processes loses nothing that reached the kernel, which is all that a test of crashes needs.
  fsync: 'off',
  full_page_writes: 'off',
  listen_addresses: '127.0.0.1',
  lc_messages: 'C',
  log_min_messages: 'warning',
};

const readyWithinMs = 60_000;
const password = 'causeway';
const linesKeptMax = 400;

/** Servers that live: ended and removed when this process ends, unless it is killed itself. */
const undisposed = new Map<PostgresServer, { child?: ChildProcess }>();
process.on('exit', () => {
  for (const [server, { child }] of undisposed) {
    child?.kill('SIGKILL');
    rmSync(server.directory, { recursive: true, force: true });
  }
});

export class PostgresServer {
  readonly major: PostgresMajor;
  readonly port: number;
  readonly user = 'postgres';
  readonly password = password;
  /** Holds the data folder, the sockets and the TLS files; removed by `dispose`. */
  readonly directory: string;

  readonly #binaries: PostgresBinaries;
  readonly #account: Account | undefined;
  readonly #lines: string[] = [];
  #child: ChildProcess | undefined;

  private constructor(major: PostgresMajor, port: number, directory: string, binaries: PostgresBinaries, account: Account | undefined) {
    this.major = major;
    this.port = port;
    this.directory = directory;
    this.#binaries = binaries;
    this.#account = account;
  }

  /** A new cluster, started and ready for connections. */
  static async create(options: PostgresServerOptions): Promise<PostgresServer> {
    const account = serverAccount();
    const binaries = postgresBinaries(options.major);
    const directory = mkdtempSync(join(tmpdir(), `causeway-pg${options.major}-`));
    const server = new PostgresServer(options.major, await freePort(), directory, binaries, account);
    undisposed.set(server, {});
    try {
      if (account !== undefined) chownSync(directory, account.uid, account.gid);
      await server.#initialise(options);
      await server.start();
      return server;
    } catch (error) {
      await server.dispose();
      throw error;
    }
  }

  get dataDirectory(): string {
    return join(this.directory, 'data');
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** The last lines of the server's log. */
  get log(): string {
    return this.#lines.join('\n');
  }

  /** A connection URL; the superuser's unless another role is named. */
  url(database = 'postgres', role?: { readonly user: string; readonly password?: string }): string {
    const { user, password } = role ?? this;
    const credentials = encodeURIComponent(user) + (password === undefined ? '' : `:${encodeURIComponent(password)}`);
    return `postgres://${credentials}@127.0.0.1:${this.port}/${encodeURIComponent(database)}`;
  }

  async connect(database = 'postgres'): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.url(database) });
    // A server that is killed under its clients must not end the test process; what a query was owed rejects by itself.
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  /** One statement, or several without parameters, on a connection of its own. */
  async query<Row extends pg.QueryResultRow>(text: string, database = 'postgres'): Promise<Row[]> {
    const client = await this.connect(database);
    try {
      return (await client.query<Row>(text)).rows;
    } finally {
      await client.end();
    }
  }

  /** Returns its connection URL. */
  async createDatabase(name: string): Promise<string> {
    await this.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`);
    return this.url(name);
  }

  /** Starts the server again after `stop` or `kill`, on the same port, and waits until it takes connections. */
  async start(): Promise<void> {
    if (this.#child !== undefined) throw new Error('the server is running already');
    const child = spawn(this.#binaries.postgres, ['-D', this.dataDirectory], {
      ...this.#account,
      cwd: this.directory,
      env: serverEnvironment(),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    undisposed.set(this, { child });
    const abandoned = new AbortController();
    child.once('exit', () => {
      if (this.#child === child) this.#child = undefined;
      if (undisposed.has(this)) undisposed.set(this, {});
      abandoned.abort();
    });
    child.once('error', () => {
      abandoned.abort();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#lines.push(...text.split('\n').filter((line) => line !== ''));
      this.#lines.splice(0, Math.max(0, this.#lines.length - linesKeptMax));
    });
    await this.#ready(abandoned.signal);
  }

  /** An orderly end: `fast` ends the sessions and writes a checkpoint, `immediate` leaves recovery to the next start. */
  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.#end((child) => child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT'));
  }

  /** What a crash of the machine looks like from outside: the postmaster and all its processes get SIGKILL at once. */
  async kill(): Promise<void> {
    await this.#end(async (child) => {
      if (child.pid === undefined) return;
      // A stopped postmaster starts no process that the list would miss.
      child.kill('SIGSTOP');
      const children = await childProcesses(child.pid);
      child.kill('SIGKILL');
      for (const pid of children) sendKill(pid);
      // The next start refuses to touch shared memory that a dying backend still holds.
      while (children.some(isAlive)) await sleep(5);
    });
  }

  async restart(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  /** Adds settings to postgresql.conf; they hold from the next start on. */
  configure(settings: Readonly<Record<string, string>>): void {
    appendFileSync(join(this.dataDirectory, 'postgresql.conf'), configurationLines(settings));
  }

  /** Ends the server and removes its data. */
  async dispose(): Promise<void> {
    await this.#end((child) => child.kill('SIGQUIT'));
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
    undisposed.delete(this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  async #end(how: (child: ChildProcess) => unknown): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    await how(child);
    await exited;
    this.#child = undefined;
  }

  async #initialise(options: PostgresServerOptions): Promise<void> {
    const passwordFile = join(this.directory, 'password');
    this.#writeFile(passwordFile, password);
    await promisify(execFile)(
      this.#binaries.initdb,
      [
        `--pgdata=${this.dataDirectory}`,
        `--username=${this.user}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        `--locale=${options.locale ?? 'C'}`,
        '--no-sync',
      ],
      { ...this.#account, cwd: this.directory, env: serverEnvironment() },
    );
    rmSync(passwordFile);
    mkdirSync(join(this.directory, 'sockets'));
    if (this.#account !== undefined) chownSync(join(this.directory, 'sockets'), this.#account.uid, this.#account.gid);
    this.configure({
      ...defaultSettings,
      port: String(this.port),
      unix_socket_directories: join(this.directory, 'sockets'),
      ...(options.tls === undefined ? {} : this.#installTls(options.tls)),
      ...options.settings,
    });
    if (options.hba !== undefined) {
      const path = join(this.dataDirectory, 'pg_hba.conf');
      writeFileSync(path, [...options.hba, readFileSync(path, 'utf8')].join('\n'));
    }
  }

  #installTls(tls: NonNullable<PostgresServerOptions['tls']>): Record<string, string> {
    const install = (name: string, text: string): string => {
      const path = join(this.directory, name);
      this.#writeFile(path, text);
      return path;
    };
    return {
      ssl: 'on',
      ssl_cert_file: install('server.crt', tls.cert),
      ssl_key_file: install('server.key', tls.key),
      ...(tls.clientCa === undefined ? {} : { ssl_ca_file: install('clients.crt', tls.clientCa) }),
    };
  }

  #writeFile(path: string, text: string): void {
    writeFileSync(path, text);
    chmodSync(path, 0o600);
    if (this.#account !== undefined) chownSync(path, this.#account.uid, this.#account.gid);
  }

  async #ready(abandoned: AbortSignal): Promise<void> {
    const deadline = performance.now() + readyWithinMs;
    for (;;) {
      if (abandoned.aborted) throw new Error(`the Postgres ${this.major} server did not start:\n${this.log}`);
      if (isReady(this.dataDirectory, this.#child?.pid)) return;
      if (performance.now() > deadline)
        throw new Error(`the Postgres ${this.major} server is not ready after ${readyWithinMs} ms:\n${this.log}`);
      await sleep(10);
    }
  }
}

function configurationLines(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
    .join('');
}

/** Nothing of the environment reaches a server: PGDATA, PGPORT or a locale of the shell would change what is tested. */
function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' };
}

/** What pg_ctl waits for too. The file of a killed server stays, so the first line has to name this one. */
function isReady(dataDirectory: string, pid: number | undefined): boolean {
  try {
    const lines = readFileSync(join(dataDirectory, 'postmaster.pid'), 'utf8').split('\n');
    return lines[0] === String(pid) && lines[7]?.trim() === 'ready';
  } catch {
    return false;
  }
}

async function childProcesses(parent: number): Promise<number[]> {
  if (process.platform === 'linux') {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => parentOf(pid) === parent);
  }
  const { stdout } = await promisify(execFile)('ps', ['-axo', 'pid=,ppid=']);
  return stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([pid, ppid]) => (pid !== undefined && ppid === parent ? [pid] : []));
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command's name stands in brackets and may hold blanks; the state and the parent follow it.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}

function sendKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It was quicker.
  }
}

/** A process that nobody has collected yet counts as gone: it holds nothing any more. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    if (process.platform !== 'linux') return true;
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
  } catch {
    return false;
  }
}

/**
 * Below the range that the system gives to outgoing connections, so that a stopped server finds its port free again. Each worker of a run
 * draws from a range of its own: a server that starts slowly has not taken its port yet when another worker looks.
 */
export async function freePort(): Promise<number> {
  const first = 15_000 + (Number(process.env['VITEST_POOL_ID'] ?? 0) % 4) * 4_000;
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = randomInt(first, first + 4_000);
    const server = createServer();
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, '127.0.0.1', resolve);
      });
      return port;
    } catch {
      continue;
    } finally {
      server.close();
    }
  }
  throw new Error('no free port found');
}
