// The simulator from the command line: many seeds on several threads, or one seed with everything that happened.
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { ChunkResult } from './chunk.ts';
import { Coverage } from './coverage.ts';
import { drawPlan } from './plan.ts';
import { describeCoverage, describeFailure } from './report.ts';
import { shrink } from './shrink.ts';
import { runPlan } from './world.ts';

const CHUNK_SEEDS = 200;
/** A seed that takes longer goes round in a circle. */
const SEED_SECONDS_MAX = 60;
/** Failures that are made small and described; the others are named. */
const DESCRIBED_MAX = 3;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    workers: { type: 'string', default: '2' },
    results: { type: 'string' },
    seed: { type: 'string' },
  },
});

process.exitCode = values.seed === undefined ? await runMany() : await runOne(Number(values.seed));

async function runOne(seed: number): Promise<number> {
  const outcome = await runPlan(drawPlan(seed), { trace: true });
  print(outcome.trace.join('\n'));
  print(`${outcome.end} after ${outcome.tookMs.toFixed(0)} ms, ${outcome.struck} faults, ${outcome.events} events, trace ${outcome.hash}`);
  if (outcome.violation === null) return 0;
  print(describeFailure(outcome));
  print('\nas small as it gets:');
  print(describeFailure(await shrink(outcome)));
  return 1;
}

type Line = { readonly commit: string; readonly result: ChunkResult };

async function runMany(): Promise<number> {
  const [from, seeds, workers] = [Number(values.from), Number(values.seeds), Number(values.workers)];
  const commit = commitHash();
  const results = readResults(commit);
  const done = new Set(results.map((result) => `${result.from}+${result.count}`));
  const chunks: { readonly from: number; readonly count: number }[] = [];
  for (let at = from; at < from + seeds; at += CHUNK_SEEDS) {
    const count = Math.min(CHUNK_SEEDS, from + seeds - at);
    if (!done.has(`${at}+${count}`)) chunks.push({ from: at, count });
  }
  const startedMs = performance.now();
  const take = (result: ChunkResult): void => {
    results.push(result);
    if (values.results !== undefined) appendFileSync(values.results, `${JSON.stringify({ commit, result } satisfies Line)}\n`);
    const ran = results.reduce((sum, { count }) => sum + count, 0);
    const failed = results.reduce((sum, { failures }) => sum + failures.length, 0);
    print(`${ran} seeds, ${failed} failed, ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`);
  };
  await Promise.all(Array.from({ length: workers }, () => drive(chunks, take)));
  return await summary(results, commit);
}

/** One thread, for as long as there are chunks. */
async function drive(chunks: { readonly from: number; readonly count: number }[], take: (result: ChunkResult) => void): Promise<void> {
  let chunk = chunks.shift();
  if (chunk === undefined) return;
  const worker = new Worker(new URL('worker.ts', import.meta.url));
  try {
    for (; chunk !== undefined; chunk = chunks.shift()) take(await answer(worker, chunk));
  } finally {
    await worker.terminate();
  }
}

function answer(worker: Worker, chunk: { readonly from: number; readonly count: number }): Promise<ChunkResult> {
  return new Promise((resolve, reject) => {
    let seed = chunk.from;
    const stuck = (): void => reject(new Error(`seed ${seed} does not come to an end`));
    let timer = setTimeout(stuck, SEED_SECONDS_MAX * 1_000);
    const ended = (act: () => void): void => {
      clearTimeout(timer);
      worker.removeAllListeners();
      act();
    };
    worker.on(
      'message',
      (message: { readonly tag: 'seed'; readonly seed: number } | { readonly tag: 'done'; readonly result: ChunkResult }) => {
        if (message.tag === 'done') {
          ended(() => resolve(message.result));
          return;
        }
        seed = message.seed;
        clearTimeout(timer);
        timer = setTimeout(stuck, SEED_SECONDS_MAX * 1_000);
      },
    );
    worker.on('error', (error: unknown) => ended(() => reject(new Error(`seed ${seed} ended the thread`, { cause: error }))));
    worker.postMessage(chunk);
  });
}

async function summary(results: readonly ChunkResult[], commit: string): Promise<number> {
  const coverage = new Coverage();
  for (const result of results) coverage.merge(result.coverage);
  const failures = results.flatMap((result) => result.failures).sort((a, b) => a.seed - b.seed);
  print(describeCoverage(coverage));
  for (const { seed, invariant, text } of failures) print(`seed ${seed} ${invariant}: ${text}`);
  for (const { seed } of failures.slice(0, DESCRIBED_MAX)) {
    const outcome = await runPlan(drawPlan(seed));
    print(`\n${describeFailure(await shrink(outcome))}\nreplay: npm run sim -- --seed ${seed}`);
  }
  const ran = results.reduce((sum, { count }) => sum + count, 0);
  print(`\n${ran} seeds at ${commit}: ${failures.length === 0 ? 'clean' : `${failures.length} failed`}`);
  return failures.length === 0 ? 0 : 1;
}

function readResults(commit: string): ChunkResult[] {
  if (values.results === undefined || !existsSync(values.results)) return [];
  return readFileSync(values.results, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
    .filter((line) => line.commit === commit)
    .map(({ result }) => result);
}

/** The commit, and a mark where files of the product or the simulator differ from it. */
function commitHash(): string {
  const git = (...args: readonly string[]): string => execFileSync('git', [...args], { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
  return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--', '../../src', '..') === '' ? '' : '+');
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
