import type { Measured } from './pairs.ts';

export function quantilesOf(latencies: readonly number[]): NonNullable<Measured['latencyMs']> {
  const sorted = [...latencies].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
  return { p50: at(0.5), p99: at(0.99), max: at(1), probes: sorted.length };
}
