import type { Plan, PlannedOp } from './plan.ts';
import { runPlan, type Outcome } from './world.ts';

/**
 * The smallest plan found that breaks the same invariant: faults are left out one by one, then transactions in halves, quarters
 * and so on, as long as the run still fails in the same way.
 */
export async function shrink(failed: Outcome, runsMax = 600): Promise<Outcome> {
  let best = failed;
  let runs = 0;
  const fails = async (plan: Plan): Promise<boolean> => {
    if (runs >= runsMax) return false;
    runs += 1;
    const outcome = await runPlan(plan);
    if (outcome.violation?.invariant !== failed.violation?.invariant) return false;
    best = outcome;
    return true;
  };
  const faultsOut = async (): Promise<void> => {
    for (let at = best.plan.faults.length - 1; at >= 0; at -= 1) {
      await fails({ ...best.plan, faults: best.plan.faults.filter((_, index) => index !== at) });
    }
  };
  await faultsOut();
  for (let size = Math.ceil(best.plan.transactions.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = best.plan.transactions.length - size; from >= 0; from -= size) {
      const { transactions } = best.plan;
      await fails({ ...best.plan, transactions: [...transactions.slice(0, from), ...transactions.slice(from + size)] });
    }
  }
  for (const [index, { ops }] of (best.plan.loads?.before ?? []).entries()) {
    for (let size = ops.length; size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let from = ops.length - size; from >= 0; from -= size) await fails(withoutRows(best.plan, index, ops.slice(from, from + size)));
    }
  }
  for (const [index, transaction] of best.plan.transactions.entries()) {
    for (let at = transaction.ops.length - 1; at >= 0; at -= 1) {
      const transactions = best.plan.transactions.map((each, other) =>
        other === index ? { ...each, ops: each.ops.filter((_, op) => op !== at) } : each,
      );
      await fails({ ...best.plan, transactions });
    }
  }
  await faultsOut();
  return best;
}

/** The plan without some of the rows that are there before the pipeline begins. */
function withoutRows(plan: Plan, index: number, ops: readonly PlannedOp[]): Plan {
  if (plan.loads === undefined) return plan;
  const before = plan.loads.before.map((each, other) =>
    other === index ? { ...each, ops: each.ops.filter((op) => !ops.includes(op)) } : each,
  );
  return { ...plan, loads: { ...plan.loads, before } };
}
