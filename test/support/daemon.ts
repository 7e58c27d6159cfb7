// The daemon as a process of its own, as an operator runs it: started from a configuration file, watched from outside, killed.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const root = join(import.meta.dirname, '../..');
const linesKeptMax = 2_000;

/**
 * For programs of ours that a test starts: what the first of them compiled, the next ones read. Files are found by their content. With it a
 * start takes 0.2 s of the processor instead of 0.6 s.
 */
export const compileCache: Readonly<Record<string, string>> = { NODE_COMPILE_CACHE: join(root, 'node_modules/.cache/node') };

export interface DaemonOptions {
  readonly configFile: string;
  /** Of its HTTP and metrics endpoints. */
  readonly port: number;
  /** What the configuration file refers to. */
  readonly env?: Readonly<Record<string, string>>;
  /** The main file; that of this tree unless given. */
  readonly program?: string;
}

/** Daemons that live: killed when this process ends, however it ends. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** One sample of a metric: its labels and its value. */
export interface Sample {
  readonly labels: string;
  readonly value: number;
}

export class Daemon {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #exited: Promise<void>;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
    running.add(child);
    this.#exited = once(child, 'exit').then(() => {
      running.delete(child);
    });
    if (child.stderr === null) throw new Error('the daemon was started without a pipe for its log');
    createInterface({ input: child.stderr }).on('line', (line) => {
      this.#lines.push(line);
      this.#lines.splice(0, Math.max(0, this.#lines.length - linesKeptMax));
    });
  }

  static start(options: DaemonOptions): Daemon {
    const child = spawn(process.execPath, [options.program ?? join(root, 'src/main.ts'), 'run', '-c', options.configFile], {
      cwd: root,
      // Only what the file refers to: settings of the shell, such as PGHOST, must not reach the daemon.
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...compileCache, ...options.env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    return new Daemon(child, options.port);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Null while it runs. */
  get exit(): { readonly code: number | null; readonly signal: NodeJS.Signals | null } | null {
    const { exitCode, signalCode } = this.#child;
    return exitCode === null && signalCode === null ? null : { code: exitCode, signal: signalCode };
  }

  /** The last lines of its log. */
  get log(): readonly string[] {
    return this.#lines;
  }

  /** As a crash: nothing is finished, stored or released. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** As an operator stops it. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#exited;
  }

  /** As a machine that stands still: sessions stay open, clocks go on. */
  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child.kill('SIGCONT');
  }

  /** All samples of one moment, by metric. Empty while the daemon does not answer. */
  async samples(): Promise<ReadonlyMap<string, readonly Sample[]>> {
    const text = (await this.#get('/metrics')) ?? '';
    const samples = text.split('\n').flatMap((line) => {
      const [, name = '', labels = '', value] = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)/.exec(line) ?? [];
      return value === undefined ? [] : [{ name, labels, value: Number(value) }];
    });
    return Map.groupBy(samples, ({ name }) => name);
  }

  /** The samples of one metric. */
  async metric(name: string): Promise<readonly Sample[]> {
    return (await this.samples()).get(name) ?? [];
  }

  /**
   * Seconds since 1970 on the source's clock: all that was committed there before stands in every sink that tells how far
   * it is. Undefined while none does.
   */
  async watermarkSeconds(): Promise<number | undefined> {
    const told = [...watermarksIn(await this.samples()).values()];
    return told.length === 0 ? undefined : Math.min(...told);
  }

  /** Waits until the watermark reaches `seconds`. A daemon that ends, or takes longer, throws with the end of its log. */
  async untilWatermark(seconds: number, withinMs: number): Promise<void> {
    const deadlineMs = performance.now() + withinMs;
    for (;;) {
      const watermark = await this.watermarkSeconds();
      if (watermark !== undefined && watermark >= seconds) return;
      const stands = `the watermark stands at ${watermark ?? 'nothing'}, short of ${seconds}`;
      if (this.exit !== null) throw new Error(`${stands}, and the daemon ended with ${JSON.stringify(this.exit)}:\n${this.#tail()}`);
      if (performance.now() > deadlineMs) throw new Error(`${stands}:\n${this.#tail()}`);
      await sleep(50);
    }
  }

  #tail(): string {
    return this.#lines.slice(-40).join('\n');
  }

  async #get(path: string): Promise<string | undefined> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.port}${path}`, { signal: AbortSignal.timeout(2_000) });
      return response.ok ? await response.text() : undefined;
    } catch {
      return undefined;
    }
  }
}

/** Of each sink that tells one. */
export function watermarksIn(samples: ReadonlyMap<string, readonly Sample[]>): ReadonlyMap<string, number> {
  const found = samples.get('causeway_sink_watermark_timestamp_seconds') ?? [];
  return new Map(found.map(({ labels, value }) => [/sink="([^"]*)"/.exec(labels)?.[1] ?? '', value]));
}
