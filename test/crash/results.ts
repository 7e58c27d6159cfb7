// What a long crash run found, one line of JSON for each round, appended to a file: a run that ends in between is gone on with.
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import type { Verdict } from '../support/accounting.ts';
import type { FaultKind } from './faults.ts';
import type { Operation } from './operation.ts';

export type Round = {
  readonly commit: string;
  readonly seed: number;
  readonly round: number;
  readonly startedAt: string;
  readonly seconds: number;
  readonly faults: Readonly<Partial<Record<FaultKind, number>>>;
  /** Operations of the daemon that a kill cut. A kill can cut several at once. */
  readonly cut: Readonly<Partial<Record<Operation, number>>>;
  readonly committed: number;
  readonly marks: number;
  readonly effects: number;
  readonly verdict: Verdict;
};

/** Of this commit and seed. */
export function readRounds(file: string, of: { readonly commit: string; readonly seed: number }): Round[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Round)
    .filter(({ commit, seed }) => commit === of.commit && seed === of.seed);
}

export function appendRound(file: string, round: Round): void {
  appendFileSync(file, `${JSON.stringify(round)}\n`);
}

export function isInnocent(verdict: Verdict): boolean {
  return Object.values(verdict).every((found: readonly string[]) => found.length === 0);
}

export function faultsIn(rounds: readonly Round[]): number {
  return sumOf(rounds.map(({ faults }) => faults)).reduce((sum, [, count]) => sum + count, 0);
}

export function summaryOf(rounds: readonly Round[]): string {
  const wrong = rounds.filter(({ verdict }) => !isInnocent(verdict)).length;
  const seconds = Math.round(rounds.reduce((sum, round) => sum + round.seconds, 0));
  return [
    `${faultsIn(rounds)} faults in ${rounds.length} rounds and ${seconds} s; rounds with a wrong copy: ${wrong}`,
    '',
    ...table('fault', sumOf(rounds.map(({ faults }) => faults))),
    '',
    ...table('operation that a kill of the daemon cut', sumOf(rounds.map(({ cut }) => cut))),
  ].join('\n');
}

export function counted<Name extends string>(names: readonly Name[]): Partial<Record<Name, number>> {
  const counts: Partial<Record<Name, number>> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function sumOf(each: readonly Readonly<Partial<Record<string, number>>>[]): (readonly [string, number])[] {
  const sums = new Map<string, number>();
  for (const counts of each) for (const [name, count] of Object.entries(counts)) sums.set(name, (sums.get(name) ?? 0) + (count ?? 0));
  return [...sums].sort(([, a], [, b]) => b - a);
}

function table(head: string, rows: readonly (readonly [string, number])[]): string[] {
  return [`| ${head} | times |`, '|---|---|', ...rows.map(([name, count]) => `| ${name} | ${count} |`)];
}
