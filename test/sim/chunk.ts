import { Coverage, type CoverageData } from './coverage.ts';
import { drawPlan } from './plan.ts';
import { runPlan } from './world.ts';

export type ChunkResult = {
  readonly from: number;
  readonly count: number;
  readonly seconds: number;
  readonly failures: readonly { readonly seed: number; readonly invariant: string; readonly text: string }[];
  readonly coverage: CoverageData;
};

/** Each seed counts only with at least so many faults that struck. */
const STRUCK_MIN = 3;

export async function runChunk(from: number, count: number, onSeed: (seed: number) => void = () => undefined): Promise<ChunkResult> {
  const startedMs = performance.now();
  const coverage = new Coverage();
  const failures: { seed: number; invariant: string; text: string }[] = [];
  for (let seed = from; seed < from + count; seed += 1) {
    onSeed(seed);
    const outcome = await runPlan(drawPlan(seed));
    // What nobody handles shows here, so that it is known of which seed it is.
    await new Promise((resolve) => setImmediate(resolve));
    coverage.merge(outcome.coverage.toData());
    coverage.add('faults that struck', outcome.struck);
    if (outcome.struck < STRUCK_MIN) coverage.add(`seeds with fewer than ${STRUCK_MIN} faults`);
    if (outcome.violation !== null) failures.push({ seed, invariant: outcome.violation.invariant, text: outcome.violation.text });
  }
  return { from, count, seconds: (performance.now() - startedMs) / 1_000, failures, coverage: coverage.toData() };
}
