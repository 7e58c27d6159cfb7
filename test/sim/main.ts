// The simulator from the command line: many seeds on several threads, or one seed with everything that happened.
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { ChunkResult } from './chunk.ts';
import { Coverage } from './coverage.ts';
import { runStretches, type Stretch } from './crew.ts';
import { drawPlan } from './plan.ts';
import { describeCoverage, describeFailure } from './report.ts';
import { shrink } from './shrink.ts';
import { runPlan } from './world.ts';

const CHUNK_SEEDS = 200;
const CHANGED_MARK = '+';
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
    print(`${describeTotals(results)}, ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`);
  };
  await runStretches(chunks, workers, take);
  return await summary(results, commit);
}

async function summary(results: readonly ChunkResult[], commit: string): Promise<number> {
  const coverage = new Coverage();
  for (const result of results) coverage.merge(result.coverage);
  const failures = results.flatMap((result) => result.failures).sort((a, b) => a.seed - b.seed);
  const invalid = results.flatMap((result) => result.invalid);
  print(describeCoverage(coverage));
  if (invalid.length > 0) print(`too few transactions or faults, so they do not count: ${invalid.join(', ')}`);
  for (const { seed, invariant, text } of failures) print(`seed ${seed} ${invariant}: ${text}`);
  for (const { seed } of failures.slice(0, DESCRIBED_MAX)) {
    const outcome = await runPlan(drawPlan(seed));
    print(`\n${describeFailure(await shrink(outcome))}\nreplay: npm run sim -- --seed ${seed}`);
  }
  print(`\ncommit ${commit}: ${describeTotals(results)}`);
  return failures.length + invalid.length === 0 ? 0 : 1;
}

function describeTotals(results: readonly ChunkResult[]): string {
  const sum = (of: (result: ChunkResult) => number): number => results.reduce((total, result) => total + of(result), 0);
  const [ran, failed, invalid] = [
    sum(({ count }) => count),
    sum(({ failures }) => failures.length),
    sum((result) => result.invalid.length),
  ];
  const cpuMs = (sum(({ cpuSeconds }) => cpuSeconds) * 1_000) / ran;
  return `${ran} seeds: ${ran - failed - invalid} clean, ${failed} failed, ${invalid} not valid; ${cpuMs.toFixed(1)} ms of a thread each`;
}

function readResults(commit: string): ChunkResult[] {
  // Files that differ from their commit are not the same from one run to the next.
  if (values.results === undefined || commit.endsWith(CHANGED_MARK) || !existsSync(values.results)) return [];
  // What ended in the middle of a line left it without its end: that stretch is run again.
  const lines = readFileSync(values.results, 'utf8').split('\n');
  if (lines.at(-1) !== '') writeFileSync(values.results, [...lines.slice(0, -1), ''].join('\n'));
  return lines
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line)
    .filter((line) => line.commit === commit)
    .map(({ result }) => result);
}

/** The commit, and a mark where files of the product or the simulator differ from it. */
function commitHash(): string {
  const git = (...args: readonly string[]): string => execFileSync('git', [...args], { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
  return (
    git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--', '../../src', '../support', '.') === '' ? '' : CHANGED_MARK)
  );
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
