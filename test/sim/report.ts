import { parseRowKey, type RowKey } from '#core/key.ts';
import { isParked } from './checkers/scene.ts';
import type { Coverage } from './coverage.ts';
import type { PlannedLoads } from './plan.ts';
import { callFaultKinds, faultsOf, sites } from './sites.ts';
import type { Outcome } from './world.ts';

/** Of a row that is too large the rest says nothing. */
const VALUE_SHOWN_MAX = 40;

/** What a person needs to understand a failure: the invariant, the plan, and all that happened to the key. */
export function describeFailure(outcome: Outcome): string {
  const { plan, violation } = outcome;
  if (violation === null) return `seed ${plan.seed}: ${outcome.end}`;
  const { transactions, faults, loads, ...world } = plan;
  const lines = [
    `seed ${plan.seed}: ${violation.invariant} at ${violation.atMs.toFixed(1)} ms`,
    `  ${violation.text}${violation.key === null ? '' : `  key ${violation.key}`}`,
    `  world: ${JSON.stringify(world)}`,
    ...(loads === undefined ? [] : describeLoads(loads)),
    ...faults.map((fault) => `  fault: ${JSON.stringify(fault)}`),
    `  ${transactions.length} transactions${transactions.length > 12 ? '' : ':'}`,
    ...(transactions.length > 12 ? [] : transactions.map((transaction) => `    ${JSON.stringify(transaction)}`)),
  ];
  if (violation.key !== null) lines.push(...historyOf(outcome, violation.key));
  return lines.join('\n');
}

function describeLoads({ before, ...how }: PlannedLoads): readonly string[] {
  const rows = before.map(({ ops }) => ops.flatMap((op) => ('key' in op ? [`${op.table}/${op.key}`] : [])).join(' '));
  return [`  loads: ${JSON.stringify(how)}`, `  rows before: ${rows.join(', ')}`];
}

function historyOf({ scene, plan }: Outcome, key: RowKey): readonly string[] {
  const lines = [`  history of ${key} at the source:`];
  for (const { sequence, what, partial, refused, row } of scene.truth.moments(key)) {
    lines.push(`    ${sequence} ${what}${partial ? ' partial' : ''}${refused ? ' refused' : ''} ${row === null ? '' : valuesOf(row)}`);
  }
  for (const sink of plan.sinks) {
    const stored = scene.sinks.get(sink)?.stored(parseRowKey(key).table, key);
    const live = stored?.values ?? null;
    const values = live === null ? (stored === undefined ? 'no row' : 'tombstone') : valuesOf([...live.values()]);
    lines.push(`  in ${sink}: ${stored?.sequence ?? ''} ${values}${isParked(scene, sink, key) ? ' (parked)' : ''}`);
  }
  return lines;
}

function valuesOf(row: readonly (string | null | undefined)[]): string {
  return JSON.stringify(row.map((value) => (value === null || value === undefined ? value : value.slice(0, VALUE_SHOWN_MAX))));
}

/** Tables in Markdown: every fault at every call, by count, and everything else that was counted. */
export function describeCoverage(coverage: Coverage): string {
  const rows = sites.map((site, index) => [
    `\`${site}\``,
    String(coverage.calls[index] ?? 0),
    ...callFaultKinds.map((kind) => (faultsOf[site].includes(kind) ? String(coverage.faults.get(`${kind} ${site}`) ?? 0) : '')),
  ]);
  const ofCalls = new Set(sites.flatMap((site) => callFaultKinds.map((kind) => `${kind} ${site}`)));
  const others = [...coverage.faults].filter(([name]) => !ofCalls.has(name)).map(([name, count]) => [name, String(count)]);
  return [
    tableOf(['call', 'made', ...callFaultKinds], rows),
    tableOf(['fault of the world, end of a process', 'times'], others.sort()),
    tableOf(['counted', 'times'], [...coverage.figures].map(([name, count]) => [name, String(count)]).sort()),
  ].join('\n\n');
}

function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}
