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
  /** Null without a goal. */
  readonly reached: boolean | null;
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

type Pair = Result['pairs'][number];

/** Who takes part in a run: what is measured stands under its name. */
export type Contestant = { readonly name: string; readonly measure: (run: number) => Promise<Measured> };

export type Turn = { readonly measured: ReadonlyMap<string, Measured>; readonly loadAverage: number };

/** Each once in every run, one after the other. */
export async function takeTurns(name: string, runs: number, contestants: readonly Contestant[]): Promise<Turn[]> {
  const turns: Turn[] = [];
  for (let run = 0; run < runs; run += 1) {
    const measured = new Map<string, Measured>();
    for (const contestant of contestants) {
      const found = await contestant.measure(run);
      tell(`${name} ${run + 1}/${runs}`, contestant.name, found);
      measured.set(contestant.name, found);
    }
    turns.push({ measured, loadAverage: loadavg()[0] ?? 0 });
  }
  return turns;
}

/** Two of those that took turns. */
export function pairsOf(turns: readonly Turn[], ours: string, reference: string): Pair[] {
  return turns.map(({ measured, loadAverage }) => ({
    ours: measuredOf(measured, ours),
    reference: measuredOf(measured, reference),
    loadAverage,
  }));
}

export function measuredOf(measured: ReadonlyMap<string, Measured>, name: string): Measured {
  const found = measured.get(name);
  if (found === undefined) throw new Error(`nothing was measured for ${name}`);
  return found;
}

async function alternate({ name, reference, runs, ours, theirs }: Contest): Promise<Pair[]> {
  const turns = await takeTurns(name, runs, [
    { name: 'causeway', measure: ours },
    { name: reference, measure: theirs },
  ]);
  return pairsOf(turns, 'causeway', reference);
}

/** Ours over the reference in rows a second: more is better. */
export async function compareRates(contest: Contest, goal: number): Promise<Result> {
  return ratesResult({ ...contest, pairs: await alternate(contest) }, goal);
}

/** Ours over the reference in time from commit to visible: less is better. */
export async function compareLatencies(contest: Contest, goal: number): Promise<Result> {
  return latenciesResult({ ...contest, pairs: await alternate(contest) }, { goal, bound: ['p50', 'p99'] });
}

type Compared = Pick<Result, 'name' | 'what' | 'reference' | 'pairs'>;

/** Without a goal the figures stand beside each other, and nothing is missed. */
export function ratesResult({ name, what, reference, pairs }: Compared, goal: number | null): Result {
  const ratio = spreadOf(pairs.map((pair) => rate(pair.ours) / rate(pair.reference)));
  const reached = goal === null ? null : ratio.median >= goal;
  return { name, what, reference, goal: goal === null ? 'none' : `at least ${goal}`, reached, ratios: { rate: ratio }, pairs };
}

type Quantile = 'p50' | 'p99';

export function latenciesResult(
  { name, what, reference, pairs }: Compared,
  { goal, bound }: { readonly goal: number; readonly bound: readonly Quantile[] },
): Result {
  const of = (quantile: Quantile): Spread =>
    spreadOf(pairs.map((pair) => (pair.ours.latencyMs?.[quantile] ?? NaN) / (pair.reference.latencyMs?.[quantile] ?? NaN)));
  const ratios = { p50: of('p50'), p99: of('p99') };
  const reached = bound.every((quantile) => ratios[quantile].median <= goal);
  return { name, what, reference, goal: `at most ${goal} for ${bound.join(' and ')}`, reached, ratios, pairs };
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
