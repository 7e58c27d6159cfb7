import { sumOf, table } from '../support/rounds.ts';
import type { GauntletRound } from './round.ts';

/** Tables in Markdown: counts and recovery times by fault, and how daemons ended. */
export function tablesOf(rounds: readonly GauntletRound[]): string[] {
  const recoveries = new Map<string, number[]>();
  for (const round of rounds) {
    for (const [fault, times] of Object.entries(round.recoveries)) recoveries.set(fault, [...(recoveries.get(fault) ?? []), ...times]);
  }
  const counts = sumOf(rounds.map(({ faults }) => faults));
  const timesOf = (times: readonly number[]): string[] => [secondsAt(times, 0.5), secondsAt(times, 0.99)];
  return [
    ...table(
      ['fault', 'times', 'recovery p50, s', 'p99, s'],
      [
        ...counts.map(([fault, count]) => [fault, count, ...timesOf(recoveries.get(fault) ?? [])]),
        ['all', counts.reduce((sum, [, count]) => sum + count, 0), ...timesOf([...recoveries.values()].flat())],
      ],
    ),
    '',
    ...table(['daemon that ended by itself, with', 'times'], sumOf(rounds.map(({ ends }) => ends))),
  ];
}

/** The nearest rank. */
function secondsAt(times: readonly number[], share: number): string {
  const sorted = [...times].sort((a, b) => a - b);
  const found = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  return found === undefined ? '' : (found / 1_000).toFixed(1);
}
