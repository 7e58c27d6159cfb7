// Results as a table for people.
import { rate, type Measured, type Result, type Spread } from './pairs.ts';
import type { Usage } from './usage.ts';

export function printResult(result: Result): void {
  console.log(`\n${result.name}: ${result.what}\n  beside ${result.reference}; goal ${result.goal}`);
  const lines = result.pairs.map((pair, run) => [String(run + 1), figure(pair.ours), figure(pair.reference), pair.loadAverage.toFixed(1)]);
  printTable([['run', 'causeway', result.reference, 'load average'], ...lines]);
  for (const [name, spread] of Object.entries(result.ratios)) console.log(`  ratio of ${name}: ${ratio(spread)}`);
  if (result.reached !== null) console.log(`  ${result.reached ? 'reached' : 'NOT REACHED'}`);
  const last = result.pairs.at(-1);
  if (last === undefined) return;
  printUsage('causeway, last run', last.ours.usage);
  printUsage(`${result.reference}, last run`, last.reference.usage);
}

export function printUsage(title: string, usage: readonly Usage[]): void {
  console.log(`  ${title}`);
  printTable([
    ['process', 'CPU s', 'peak MiB'],
    ...usage.map(({ name, processes, cpuSeconds, peakMiB }) => [
      processes > 1 ? `${name} (${processes})` : name,
      cpuSeconds.toFixed(2),
      peakMiB.toFixed(0),
    ]),
  ]);
}

function figure(measured: Measured): string {
  const { latencyMs } = measured;
  if (latencyMs !== undefined) return `p50 ${latencyMs.p50.toFixed(1)} p99 ${latencyMs.p99.toFixed(1)} ms`;
  return `${Math.round(rate(measured))} rows/s`;
}

function ratio({ median, least, greatest }: Spread): string {
  return `median ${median.toFixed(2)} (${least.toFixed(2)} to ${greatest.toFixed(2)})`;
}

function printTable(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows)
    console.log(
      `    ${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('   ')
        .trimEnd()}`,
    );
}
