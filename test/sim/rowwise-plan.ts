// Draws of their own, so that the other plans stay as they are.
import { Dice } from './chance.ts';
import type { CallFault, Fault, Plan } from './plan.ts';
import { faultsOf, type Site } from './sites.ts';

/** One seed in so many has a sink that takes rows one by one. */
const ROWWISE_SHARE = 0.25;
const ROWWISE_DRAWS = 0x5eed0003;

const siteWeights = { 'sink.put': 12, 'sink.step': 5, 'sink.read': 3, 'sink.look': 2, 'sink.sweep': 1, 'sink.assign': 1 } satisfies Partial<
  Record<Site, number>
>;

/** In a part of the seeds: the plan with sinks that take a batch row by row, and what goes wrong between its rows. */
export function withRowwiseSinks(plan: Plan, busyMs: number): Plan {
  const dice = new Dice(plan.seed ^ ROWWISE_DRAWS);
  if (!dice.chance(ROWWISE_SHARE)) return plan;
  const chosen = plan.sinks.filter(() => dice.chance(0.6));
  const rowwise = chosen.length > 0 ? chosen : plan.sinks.slice(0, 1);
  // A table of such a store never goes back in its place: what is restored is another table, which the connector refuses.
  const faults: Fault[] = plan.faults.filter((fault) => fault.tag !== 'sink_back' || !rowwise.includes(fault.sink));
  for (let left = dice.whole(4, 12); left > 0; left -= 1) faults.push(drawFault(dice, plan, { busyMs, isSure: left <= 2 }));
  return { ...plan, rowwise, faults };
}

function drawFault(dice: Dice, plan: Plan, of: { readonly busyMs: number; readonly isSure: boolean }): CallFault {
  // There are always more rows.
  const site = of.isSure ? 'sink.put' : dice.weighted(siteWeights);
  const kind = dice.pick(faultsOf[site]);
  const daemon = of.isSure ? null : dice.whole(0, plan.daemons - 1);
  const afterMs = dice.whole(0, of.isSure ? of.busyMs / 4 : of.busyMs);
  return {
    tag: 'call',
    kind,
    site,
    daemon,
    afterMs,
    skip: dice.whole(0, 12),
    ms: dice.chance(0.7) ? dice.whole(5, 800) : dice.whole(800, 5_000),
  };
}
