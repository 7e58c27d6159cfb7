// What schedules are written out with: plans, and how they have to end.
import { expect } from 'vitest';
import type { CallFault, Plan, PlannedOp, PlannedTransaction } from './plan.ts';
import { describeFailure } from './report.ts';
import { runPlan, type Outcome } from './world.ts';

export const EVERY_MS = 60;

/** One transaction after another. */
export function transactions(...of: readonly (readonly PlannedOp[])[]): readonly PlannedTransaction[] {
  return of.map((ops, index) => ({ atMs: index * EVERY_MS, shared: false, ops }));
}

export function put(key: number, options: { readonly table?: number; readonly refused?: boolean } = {}): PlannedOp {
  return { op: 'put', table: options.table ?? 0, key, refused: options.refused ?? false };
}

export function partial(key: number): PlannedOp {
  return { op: 'partial', table: 0, key, refused: false };
}

export function remove(key: number): PlannedOp {
  return { op: 'delete', table: 0, key };
}

/** Writes to nine keys for as long as it takes, so that something is always on its way. */
export function steadily(seconds: number): readonly PlannedTransaction[] {
  return transactions(
    ...Array.from({ length: (seconds * 1_000) / EVERY_MS }, (_, index) => [put(index % 9), put((index + 4) % 9, { table: 1 })]),
  );
}

export function call(kind: CallFault['kind'], site: CallFault['site'], more: Partial<CallFault> = {}): CallFault {
  return { tag: 'call', kind, site, daemon: 0, afterMs: 2_000, skip: 0, ms: 300, ...more };
}

async function play(plan: Partial<Plan>): Promise<Outcome> {
  const daemons = plan.daemons ?? 1;
  return runPlan({
    seed: 1,
    daemons,
    sinks: ['warm'],
    partitions: 3,
    applyEverywhere: false,
    clocks: Array.from({ length: daemons }, () => ({ rate: 1, wallSkewMs: 0 })),
    limits: { batchRowsMax: 20, pendingBytesMax: 1_000_000, readAheadBytesMax: 1_000_000 },
    transactions: [],
    faults: [],
    ...plan,
  });
}

export async function settles(plan: Partial<Plan>): Promise<Outcome> {
  const outcome = await play(plan);
  expect(outcome.end, describeFailure(outcome)).toBe('settled');
  return outcome;
}

/** Every fault of it is one that nothing gets over: how it ended, and with which codes. */
export async function stops(plan: Partial<Plan>): Promise<readonly string[]> {
  const outcome = await play(plan);
  expect(outcome.end, describeFailure(outcome)).toBe('stopped');
  return [...outcome.coverage.figures.keys()].filter((name) => name.startsWith('state ')).map((name) => name.slice('state '.length));
}

export const figure = (outcome: Outcome, name: string): number => outcome.coverage.figures.get(name) ?? 0;
