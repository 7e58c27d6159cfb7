// The daemon as a process of its own, from a configuration file.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const root = join(import.meta.dirname, '..');
const linesKeptMax = 200;

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A Node process that runs a program of this checkout; killed when this process ends. */
export class Program {
  readonly pid: number;
  readonly lines: string[] = [];
  readonly #said: string[] = [];
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;

  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(process.execPath, args, {
      cwd: root,
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (this.#child.pid === undefined) throw new Error(`${args.join(' ')} did not start`);
    this.pid = this.#child.pid;
    running.add(this.#child);
    this.#exited = once(this.#child, 'close').then(() => void running.delete(this.#child));
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.#keep(line));
    }
    if (this.#child.stdout !== null) createInterface({ input: this.#child.stdout }).on('line', (line) => this.#say(line));
  }

  /** Null while it runs. */
  get exit(): string | null {
    const { exitCode, signalCode } = this.#child;
    return exitCode === null && signalCode === null ? null : `${exitCode ?? signalCode ?? ''}`;
  }

  get tail(): string {
    return this.lines.slice(-15).join('\n');
  }

  /** The last lines of its output. */
  get out(): string {
    return this.#said.join('\n');
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#exited;
  }

  /** As a crash: nothing is finished, stored or released. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** However it ends. */
  async exited(): Promise<void> {
    await this.#exited;
  }

  async ended(): Promise<void> {
    await this.#exited;
    if (this.exit !== '0') throw new Error(`the program ended with ${this.exit ?? ''}:\n${this.tail}`);
  }

  #keep(line: string): void {
    this.lines.push(line);
    this.lines.splice(0, Math.max(0, this.lines.length - linesKeptMax));
  }

  #say(line: string): void {
    this.#said.push(line);
    this.#said.splice(0, Math.max(0, this.#said.length - linesKeptMax));
  }
}

export type DaemonOptions = {
  readonly configFile: string;
  /** Of its HTTP and metrics endpoint. */
  readonly port: number;
  readonly roles: string;
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
};

export class BenchDaemon extends Program {
  readonly #port: number;

  constructor({ configFile, port, roles, nodeArgs, env }: DaemonOptions) {
    super([...shippedNodeArgs(), ...(nodeArgs ?? []), 'dist/src/main.js', 'run', '-c', configFile, '--role', roles], env);
    this.#port = port;
  }

  isStreaming(): Promise<boolean> {
    return this.isIn('streaming');
  }

  /** A sink has come past its start. */
  async isApplying(): Promise<boolean> {
    return (await this.#metrics()).includes('causeway_sink_watermark_timestamp_seconds{');
  }

  async isIn(state: 'streaming' | 'standby'): Promise<boolean> {
    return new RegExp(`^causeway_pipeline_state\\{[^}]*state="${state}"[^}]*\\} 1$`, 'm').test(await this.#metrics());
  }

  async #metrics(): Promise<string> {
    return await fetch(`http://127.0.0.1:${this.#port}/metrics`).then(
      (response) => response.text(),
      () => '',
    );
  }
}

/** What the installed command gives to Node, so that the daemon runs here as it does there. */
function shippedNodeArgs(): string[] {
  const [first = ''] = readFileSync(join(root, 'dist/src/main.js'), 'utf8').split('\n');
  return first.split(' ').filter((word) => word.startsWith('--'));
}
