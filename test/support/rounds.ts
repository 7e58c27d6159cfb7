// A long run of faults in rounds that are each judged, one line of JSON for each, appended to a file: a run that ends in between is gone
// on with. It ends at the first round that went wrong.
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Judgement, Verdict } from './accounting.ts';
import { commitHash } from './commit.ts';
import { seededRandom } from './random.ts';

export type Counts = Readonly<Partial<Record<string, number>>>;

export type Round = Judgement & {
  readonly commit: string;
  readonly sink: string;
  readonly seed: number;
  readonly round: number;
  readonly startedAt: string;
  readonly seconds: number;
  readonly faults: Counts;
  readonly committed: number;
};

/** What a kind of run tells of a round itself. */
export type Told<R extends Round> = Omit<R, 'commit' | 'sink' | 'seed' | 'round' | 'startedAt' | 'seconds'>;

export type Course = {
  readonly commit: string;
  /** The kind of the store that is copied to. */
  readonly sink: string;
  readonly seed: number;
  readonly faultsWanted: number;
  readonly faultsPerRound: number;
  readonly transactionsPerSecond: number;
  readonly file: string;
};

/** What the command line asks for; `count` names the option that says how many faults. */
export function courseOf<Sink extends string>(defaults: {
  readonly count: string;
  /** Kinds of sinks to choose from; the first one unless asked. */
  readonly sinks: readonly [Sink, ...Sink[]];
  readonly faults: number;
  readonly rate: number;
  readonly file: string;
}): Course & { readonly sink: Sink } {
  const { values } = parseArgs({
    options: {
      [defaults.count]: { type: 'string', default: String(defaults.faults) },
      results: { type: 'string', default: defaults.file },
      seed: { type: 'string', default: '1' },
      'per-round': { type: 'string', default: '20' },
      rate: { type: 'string', default: String(defaults.rate) },
      sink: { type: 'string', default: defaults.sinks[0] },
    },
  });
  const sink = defaults.sinks.find((kind) => kind === values['sink']);
  if (sink === undefined) throw new Error(`--sink is one of ${defaults.sinks.join(', ')}`);
  // Daemons and servers end with this process; a round that is cut off leaves no line and is done again.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  return {
    commit: commitHash(join(import.meta.dirname, '../..')),
    sink,
    seed: Number(values['seed']),
    faultsWanted: Number(values[defaults.count]),
    faultsPerRound: Number(values['per-round']),
    transactionsPerSecond: Number(values['rate']),
    file: values.results,
  };
}

/** Runs what is left of the course. Returns all of its rounds. */
export async function runRounds<R extends Round>(
  course: Course,
  run: (of: { readonly random: () => number; readonly faultsWanted: number }) => Promise<Told<R>>,
): Promise<readonly R[]> {
  const { commit, sink, seed, file, faultsWanted, faultsPerRound } = course;
  const rounds = readRounds<R>(course);
  if (rounds.length > 0) say(`goes on behind round ${rounds.length}, ${faultsIn(rounds)} faults`);
  while (faultsIn(rounds) < faultsWanted && rounds.every(({ verdict }) => isInnocent(verdict))) {
    const number = rounds.length + 1;
    const startedAt = new Date();
    // Chance of its own, so that a round is the same wherever a run was gone on with.
    const random = seededRandom(seed * 100_003 + number);
    const told = await run({ random, faultsWanted: Math.min(faultsPerRound, faultsWanted - faultsIn(rounds)) });
    const seconds = Math.round((Date.now() - startedAt.getTime()) / 100) / 10;
    const round = { commit, sink, seed, round: number, startedAt: startedAt.toISOString(), seconds, ...told } as R;
    rounds.push(round);
    mkdirSync(dirname(file), { recursive: true });
    appendFileSync(file, `${JSON.stringify(round)}\n`);
    say(`round ${number}: ${faultsIn([round])} faults, ${round.marks} transactions, ${round.effects} effects, ${seconds} s`);
  }
  return rounds;
}

/** Of this commit, sink and seed. */
function readRounds<R extends Round>({ file, commit, sink, seed }: Course): R[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as R)
    .filter((round) => round.commit === commit && round.sink === sink && round.seed === seed);
}

/** Tells what was found. Returns whether every round went well. */
export function conclude({ commit, sink, seed }: Course, rounds: readonly Round[], tables: readonly string[]): boolean {
  const wrong = rounds.filter(({ verdict }) => !isInnocent(verdict));
  const seconds = Math.round(rounds.reduce((sum, round) => sum + round.seconds, 0));
  say(`commit ${commit}, sink ${sink}, seed ${seed}`);
  say(`${faultsIn(rounds)} faults in ${rounds.length} rounds and ${seconds} s; rounds that went wrong: ${wrong.length}`);
  say(['', ...tables].join('\n'));
  for (const { round, verdict } of wrong) say(`round ${round}: ${JSON.stringify(verdict, null, 2)}`);
  return wrong.length === 0;
}

export function isInnocent(verdict: Verdict): boolean {
  return Object.values(verdict).every((found: readonly string[]) => found.length === 0);
}

export function faultsIn(rounds: readonly Pick<Round, 'faults'>[]): number {
  return sumOf(rounds.map(({ faults }) => faults)).reduce((sum, [, count]) => sum + count, 0);
}

export function counted<Name extends string>(names: readonly Name[]): Partial<Record<Name, number>> {
  const counts: Partial<Record<Name, number>> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** The most frequent first. */
export function sumOf(each: readonly Counts[]): (readonly [string, number])[] {
  const sums = new Map<string, number>();
  for (const counts of each) for (const [name, count] of Object.entries(counts)) sums.set(name, (sums.get(name) ?? 0) + (count ?? 0));
  return [...sums].sort(([, a], [, b]) => b - a);
}

export function table(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string[] {
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)];
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
