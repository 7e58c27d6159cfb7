import { parseRowKey, type RowKey } from '#core/key.ts';
import { isParked } from './checkers/scene.ts';
import type { Coverage } from './coverage.ts';
import { sites } from './sites.ts';
import type { Outcome } from './world.ts';

/** What a person needs to understand a failure: the invariant, the plan, and all that happened to the key. */
export function describeFailure(outcome: Outcome): string {
  const { plan, violation } = outcome;
  if (violation === null) return `seed ${plan.seed}: ${outcome.end}`;
  const { transactions, faults, ...world } = plan;
  const lines = [
    `seed ${plan.seed}: ${violation.invariant} at ${violation.atMs.toFixed(1)} ms`,
    `  ${violation.text}${violation.key === null ? '' : `  key ${violation.key}`}`,
    `  world: ${JSON.stringify(world)}`,
    ...faults.map((fault) => `  fault: ${JSON.stringify(fault)}`),
    `  ${transactions.length} transactions${transactions.length > 12 ? '' : ':'}`,
    ...(transactions.length > 12 ? [] : transactions.map((transaction) => `    ${JSON.stringify(transaction)}`)),
  ];
  if (violation.key !== null) lines.push(...historyOf(outcome, violation.key));
  return lines.join('\n');
}

function historyOf({ scene, plan }: Outcome, key: RowKey): readonly string[] {
  const lines = [`  history of ${key} at the source:`];
  for (const { sequence, what, partial, refused, row } of scene.truth.moments(key)) {
    lines.push(
      `    ${sequence} ${what}${partial ? ' partial' : ''}${refused ? ' refused' : ''} ${row === null ? '' : JSON.stringify(row)}`,
    );
  }
  for (const sink of plan.sinks) {
    const stored = scene.sinks.get(sink)?.stored(parseRowKey(key).table, key);
    const live = stored?.values ?? null;
    const values = live === null ? (stored === undefined ? 'no row' : 'tombstone') : JSON.stringify([...live.values()]);
    lines.push(`  in ${sink}: ${stored?.sequence ?? ''} ${values}${isParked(scene, sink, key) ? ' (parked)' : ''}`);
  }
  return lines;
}

/** A table of every fault at every call, by count, and of everything else that was counted. */
export function describeCoverage(coverage: Coverage): string {
  const lines = ['calls and the faults that struck there:'];
  for (const [index, site] of sites.entries()) {
    const struck = [...coverage.faults]
      .filter(([name]) => name.endsWith(` ${site}`))
      .map(([name, count]) => `${name.slice(0, name.indexOf(' '))} ${count}`)
      .sort();
    lines.push(`  ${site.padEnd(22)} ${String(coverage.calls[index] ?? 0).padStart(11)}   ${struck.join(', ')}`);
  }
  lines.push('faults of the world:');
  for (const [name, count] of [...coverage.faults].sort())
    if (!/ \w+\.\w+$/.test(name)) lines.push(`  ${name.padEnd(22)} ${String(count).padStart(11)}`);
  lines.push('counted:');
  for (const [name, count] of [...coverage.figures].sort()) lines.push(`  ${name.padEnd(34)} ${String(count).padStart(11)}`);
  return lines.join('\n');
}
