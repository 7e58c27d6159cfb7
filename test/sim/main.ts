// The simulator from the command line: many seeds on several threads, or one seed with everything that happened.
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { ChunkResult } from './chunk.ts';
import { Coverage } from './coverage.ts';
import { runStretches, type Stretch } from './crew.ts';
import { drawPlan } from './plan.ts';
import { describeCoverage, describeFailure } from './report.ts';
import { shrink } from './shrink.ts';
import { runPlan } from './world.ts';

const CHUNK_SEEDS = 200;
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
  const chunks: Stretch[] = [];
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
  await runStretches(chunks, workers, take);
  return await summary(results, commit);
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
