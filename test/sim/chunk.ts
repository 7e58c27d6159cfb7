import { Coverage, type CoverageData } from './coverage.ts';
import { drawPlan, STRUCK_MIN, TRANSACTIONS_MIN } from './plan.ts';
import { runPlan } from './world.ts';

export type ChunkResult = {
  readonly from: number;
  readonly count: number;
  readonly cpuSeconds: number;
  readonly failures: readonly { readonly seed: number; readonly invariant: string; readonly text: string }[];
  /** Seeds that ran without a failure, with fewer transactions or faults than a run has to have. */
  readonly invalid: readonly number[];
  readonly coverage: CoverageData;
};

export async function runChunk(from: number, count: number, onSeed: (seed: number) => void = () => undefined): Promise<ChunkResult> {
  const startedAt = cpuSeconds();
  const coverage = new Coverage();
  const failures: { seed: number; invariant: string; text: string }[] = [];
  const invalid: number[] = [];
  for (let seed = from; seed < from + count; seed += 1) {
    onSeed(seed);
    const outcome = await runPlan(drawPlan(seed));
    // What nobody handles shows here, so that it is known of which seed it is.
    await new Promise((resolve) => setImmediate(resolve));
    coverage.merge(outcome.coverage.toData());
    coverage.add('faults that struck', outcome.struck);
    if (outcome.violation !== null) failures.push({ seed, invariant: outcome.violation.invariant, text: outcome.violation.text });
    else if (outcome.struck < STRUCK_MIN || outcome.transactions < TRANSACTIONS_MIN) invalid.push(seed);
  }
  return { from, count, cpuSeconds: cpuSeconds() - startedAt, failures, invalid, coverage: coverage.toData() };
}

function cpuSeconds(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000_000;
}
