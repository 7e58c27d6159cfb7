import { digest } from '#core/hash.ts';
import type { Difference } from '#core/sink.ts';
import { CloseLooks, publish } from './close-look.ts';
import type { ReconcileDeps } from './deps.ts';
import { SinkStanding } from './standing.ts';

/** What a repair would publish. The name stands for the run and each of its differences: another set of them has another name. */
export type RepairPlan = {
  readonly plan: string;
  readonly run: string;
  readonly differences: readonly Difference[];
  /** A register that is ahead of the source takes no change: what put it there has to be undone at the sink. */
  readonly beyondRepair: number;
};

export async function planRepair(deps: ReconcileDeps, run: string, signal: AbortSignal): Promise<RepairPlan> {
  const all: Difference[] = [];
  for await (const some of deps.sink.reports.list(run, signal)) all.push(...some);
  const named = all.map(({ kind, key, cut }) => JSON.stringify([kind, key, cut])).toSorted();
  const differences = all.filter(({ cause }) => cause !== 'sequence_ahead');
  return { plan: `${run}.${digest(named.join('\n'))}`, run, differences, beyondRepair: all.length - differences.length };
}

const LANE = 0;

/** `parked`: the sink refuses what was published, and keeps it in the dead-letter queue. */
export type Repaired = {
  readonly published: number;
  readonly settled: number;
  readonly parked: number;
  readonly left: readonly Difference[];
};

/**
 * Has the capture holder publish what the source holds of each key now, at the place of a barrier: a change that is newer than that makes
 * the repair a no-op. Then looks at each key again. What still differs is returned.
 */
export async function repair(
  deps: ReconcileDeps,
  differences: readonly Difference[],
  of: { readonly onRepaired: (keys: number) => void },
  signal: AbortSignal,
): Promise<Repaired> {
  const standing = new SinkStanding(deps);
  await using rows = deps.source.rows();
  const looks = new CloseLooks({ deps, standing, rows, lane: LANE });
  let settled = 0;
  let parked = 0;
  const left: Difference[] = [];
  for (const [table, own] of Map.groupBy(differences, (difference) => difference.table)) {
    for (let from = 0; from < own.length; from += deps.options.closeLookKeys) {
      const keys = own.slice(from, from + deps.options.closeLookKeys).map(({ key }) => key);
      const { high } = await publish(deps, { table, keys, lane: LANE }, signal);
      await standing.hasPassed(high, signal);
      const look = await looks.look(table, keys, signal);
      settled += keys.length - look.differences.length - look.parked;
      parked += look.parked;
      left.push(...look.differences);
      of.onRepaired(keys.length);
    }
  }
  return { published: differences.length, settled, parked, left };
}
