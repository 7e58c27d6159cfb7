// A server program of one's own: started until it serves, stopped, killed, suspended and started again, and gone when the tests end.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ServiceProcessOptions {
  /** For people. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** Asked again and again while the program runs, with what it has printed since its start; true once it serves. */
  readonly isReady: (log: string) => boolean | Promise<boolean>;
}

const readyWithinMs = 90_000;
const linesKeptMax = 400;

/** What runs: ended when this process ends, unless it is killed itself. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class ServiceProcess implements AsyncDisposable {
  readonly #options: ServiceProcessOptions;
  #lines: string[] = [];
  #child: ChildProcess | undefined;

  constructor(options: ServiceProcessOptions) {
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** Undefined while it does not run. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** The last lines that it printed since its start. */
  get log(): string {
    return this.#lines.join('\n');
  }

  /** Starts it, for the first time or again, and waits until it serves. */
  async start(): Promise<void> {
    const { name, command, args, cwd } = this.#options;
    if (this.#child !== undefined) throw new Error(`${name} is running already`);
    // Nothing else of the environment reaches a server: an option of the shell's would change what is tested.
    const env = { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' };
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#lines = [];
    running.add(child);
    const ended = (): void => {
      running.delete(child);
      if (this.#child === child) this.#child = undefined;
    };
    child.once('exit', ended);
    child.once('error', (error) => {
      this.#lines.push(error.message);
      ended();
    });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => this.#keep(text));
    await this.#ready();
  }

  /** An orderly end. */
  async stop(): Promise<void> {
    this.resume();
    await this.#end('SIGTERM');
  }

  /** What a crash looks like from outside. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** It keeps its connections and answers nothing until `resume`. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  #keep(text: string): void {
    this.#lines.push(...text.split('\n').filter((line) => line !== ''));
    this.#lines.splice(0, Math.max(0, this.#lines.length - linesKeptMax));
  }

  async #ready(): Promise<void> {
    const deadline = performance.now() + readyWithinMs;
    while (this.isRunning && performance.now() < deadline) {
      if (await this.#options.isReady(this.log)) return;
      await sleep(20);
    }
    const why = this.isRunning ? `does not serve after ${readyWithinMs} ms` : 'ended before it served';
    await this.kill();
    throw new Error(`${this.#options.name} ${why}:\n${this.log}`);
  }
}
