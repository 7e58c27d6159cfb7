import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mutate, type Mutant, type Suite } from './mutant.ts';

/** `broken`: the mutant is no program, so that what it breaks was not what was noticed. */
export type Outcome = {
  readonly tag: 'caught' | 'survived' | 'broken';
  /** What noticed it was a time-out: on a machine that is busy otherwise, try it again. */
  readonly late: boolean;
  readonly seconds: number;
  readonly output: string;
};

/** A test that hangs on a mutant has noticed it. */
const suiteWithinMs = 180_000;

/** A copy of a commit in a temporary folder, so that nobody who works in the checkout meets a mutant. */
export class MutantCheckout implements Disposable {
  readonly #folder: string;

  constructor(root: string, commit: string) {
    this.#folder = mkdtempSync(join(tmpdir(), 'causeway-mutants-'));
    const archive = execFileSync('git', ['-C', root, 'archive', '--format=tar', commit], { maxBuffer: 2 ** 30 });
    execFileSync('tar', ['-x', '-C', this.#folder], { input: archive });
    symlinkSync(join(root, 'node_modules'), join(this.#folder, 'node_modules'));
  }

  /** Whether the suite passes as it stands: one that fails anyway would catch every mutant. */
  async passes(suite: Suite): Promise<Outcome & { readonly tests: boolean }> {
    const run = await this.#run(suite);
    return {
      ...run,
      tests: run.tag === 'survived' && !/no tests|0 passed|skipped\)\s*$/.test(run.output) && /[1-9]\d* passed/.test(run.output),
    };
  }

  async try(mutant: Mutant): Promise<Outcome> {
    const path = join(this.#folder, mutant.file);
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, mutate(mutant, text));
    try {
      return await this.#run(mutant.suite);
    } finally {
      writeFileSync(path, text);
    }
  }

  async #run({ project, files, only }: Suite): Promise<Outcome> {
    const startedMs = performance.now();
    const filter = only === undefined ? [] : ['-t', only];
    const child = spawn(
      process.execPath,
      [join(this.#folder, 'node_modules/vitest/vitest.mjs'), 'run', '--project', project, '--bail', '1', ...files, ...filter],
      {
        cwd: this.#folder,
        // The newest server is enough: a mutant is caught once or not at all.
        env: { ...process.env, CAUSEWAY_TEST_POSTGRES_MAJORS: '18', CAUSEWAY_TEST_SERVICES: 'required', NO_COLOR: '1', CI: '1' },
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: suiteWithinMs,
        killSignal: 'SIGKILL',
      },
    );
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
    const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
    const text = Buffer.concat(output).toString('utf8');
    const isBroken = code !== 0 && /ReferenceError|PARSE_ERROR|Transform failed|No test files found/.test(text);
    const late = code === null || /(Test|Hook) timed out in/.test(text);
    return { tag: code === 0 ? 'survived' : isBroken ? 'broken' : 'caught', late, seconds, output: text };
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
