// Ours and the reference in turn, A B A B …, so that what else the machine does meets both alike.
import { loadavg } from 'node:os';
import type { Usage } from './usage.ts';

export type Measured = {
  readonly rows: number;
  readonly seconds: number;
  readonly usage: readonly Usage[];
  /** Commit to visible, where that is what was measured. */
  readonly latencyMs?: { readonly p50: number; readonly p99: number; readonly max: number; readonly probes: number };
};

export type Spread = { readonly median: number; readonly least: number; readonly greatest: number };

export type Result = {
  readonly name: string;
  readonly what: string;
  readonly reference: string;
  /** In words, as the goal is written in docs/performance.md. */
  readonly goal: string;
  readonly reached: boolean;
  readonly ratios: Readonly<Record<string, Spread>>;
  readonly pairs: readonly { readonly ours: Measured; readonly reference: Measured; readonly loadAverage: number }[];
};

export type Contest = {
  readonly name: string;
  readonly what: string;
  readonly reference: string;
  readonly runs: number;
  readonly ours: (run: number) => Promise<Measured>;
  readonly theirs: (run: number) => Promise<Measured>;
};

export async function alternate(contest: Contest): Promise<Result['pairs']> {
  const pairs: { ours: Measured; reference: Measured; loadAverage: number }[] = [];
  for (let run = 0; run < contest.runs; run += 1) {
    const ours = await contest.ours(run);
    tell(`${contest.name} ${run + 1}/${contest.runs}`, 'causeway', ours);
    const reference = await contest.theirs(run);
    tell(`${contest.name} ${run + 1}/${contest.runs}`, contest.reference, reference);
    pairs.push({ ours, reference, loadAverage: loadavg()[0] ?? 0 });
  }
  return pairs;
}

/** Ours over the reference in rows a second: more is better. */
export async function compareRates(contest: Contest, goal: number): Promise<Result> {
  const pairs = await alternate(contest);
  const ratio = spreadOf(pairs.map(({ ours, reference }) => rate(ours) / rate(reference)));
  const { name, what, reference } = contest;
  return { name, what, reference, goal: `at least ${goal}`, reached: ratio.median >= goal, ratios: { rate: ratio }, pairs };
}

/** Ours over the reference in time from commit to visible: less is better. */
export async function compareLatencies(contest: Contest, goal: number): Promise<Result> {
  const pairs = await alternate(contest);
  const of = (quantile: 'p50' | 'p99'): Spread =>
    spreadOf(pairs.map(({ ours, reference }) => (ours.latencyMs?.[quantile] ?? NaN) / (reference.latencyMs?.[quantile] ?? NaN)));
  const ratios = { p50: of('p50'), p99: of('p99') };
  const { name, what, reference } = contest;
  const reached = ratios.p50.median <= goal && ratios.p99.median <= goal;
  return { name, what, reference, goal: `at most ${goal}`, reached, ratios, pairs };
}

export function rate({ rows, seconds }: Measured): number {
  return rows / seconds;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  const median = sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
  return { median, least: sorted[0] ?? NaN, greatest: sorted.at(-1) ?? NaN };
}

function tell(where: string, who: string, measured: Measured): void {
  const { latencyMs, rows, seconds } = measured;
  const figure =
    latencyMs === undefined
      ? `${Math.round(rows / seconds)} rows/s (${rows} in ${seconds.toFixed(2)} s)`
      : `p50 ${latencyMs.p50.toFixed(1)} ms  p99 ${latencyMs.p99.toFixed(1)} ms  max ${latencyMs.max.toFixed(1)} ms`;
  console.error(`${where.padEnd(24)} ${who.padEnd(20)} ${figure}`);
}
