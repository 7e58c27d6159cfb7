import type { Plan } from './plan.ts';
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
