// A command line as a process of its own, which can be killed in the middle.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { compileCache } from './daemon.ts';

const root = join(import.meta.dirname, '../..');

/** Commands that run: killed when this process ends, however it ends. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class CommandProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #err = '';

  constructor(configFile: string, ...words: readonly string[]) {
    this.#child = spawn(process.execPath, [join(root, 'src/main.ts'), ...words, '-c', configFile], {
      cwd: root,
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...compileCache },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    running.add(this.#child);
    this.#exited = once(this.#child, 'exit').then(() => void running.delete(this.#child));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#err += text));
  }

  /** Null while it runs. */
  get exit(): string | null {
    const { exitCode, signalCode } = this.#child;
    return exitCode === null && signalCode === null ? null : `${exitCode ?? signalCode ?? ''}`;
  }

  get err(): string {
    return this.#err;
  }

  /** As a crash: nothing is finished, stored or released. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}
