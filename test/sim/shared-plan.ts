// Draws of their own, so that the other plans stay as they are.
import { Dice } from './chance.ts';
import type { CallFault, Fault, GroupFault, Plan } from './plan.ts';
import { faultsOf, type Site } from './sites.ts';

/** One seed in so many has a log that shares partitions out. */
const SHARED_SHARE = 0.35;
const SHARED_DRAWS = 0x5eed0001;
const CLOCK_DRAWS = 0x5eed0002;
const CLOCK_STEP_SHARE = 0.3;
const START_PASSED_SHARE = 0.06;

const groupSites: readonly Site[] = ['group.join', 'group.sync', 'group.heartbeat', 'group.leave', 'group.offsets', 'log.commit'];

/** In a part of the seeds: the plan with a log that shares its partitions out, more daemons, and what goes wrong with a group. */
export function sharedPlan(plan: Plan, { busyMs, hasTerminal }: { readonly busyMs: number; readonly hasTerminal: boolean }): Plan {
  const dice = new Dice(plan.seed ^ SHARED_DRAWS);
  if (!dice.chance(SHARED_SHARE)) return plan;
  const daemons = dice.whole(2, 3);
  const clocks = [...plan.clocks];
  for (const clock of plan.clocks) while (clocks.length < daemons) clocks.push(clock);
  const partitions = dice.whole(2, 5);
  const shared: Plan = { ...plan, daemons, clocks, partitions, sharesPartitions: true, applyEverywhere: true };
  // Such a log frees by age and not by its size.
  const faults: Fault[] = plan.faults.filter(({ tag }) => tag !== 'log_limit');
  for (let left = dice.whole(1, 5); left > 0; left -= 1) faults.push(drawGroupFault(dice, shared, busyMs));
  for (let left = dice.whole(0, 3); left > 0; left -= 1) faults.push(drawGroupCallFault(dice, shared, busyMs));
  if (dice.chance(0.4))
    faults.push({
      tag: 'pause',
      daemon: dice.whole(0, daemons - 1),
      atMs: dice.whole(500, busyMs),
      forMs: dice.whole(1_600, 6_000),
      clock: 'runs',
    });
  if (!hasTerminal && dice.chance(START_PASSED_SHARE))
    faults.push({ tag: 'log_start_passed', sink: dice.pick(plan.sinks), atMs: dice.whole(3_000, busyMs) });
  // What the log has freed a sink that goes back would need again.
  const frees = faults.some(({ tag }) => tag === 'log_start_passed');
  return { ...shared, faults: frees ? faults.filter(({ tag }) => tag !== 'sink_back') : faults };
}

/** Wall clocks may be set at any time, on any host. */
export function withClockSteps(plan: Plan, busyMs: number): Plan {
  const dice = new Dice(plan.seed ^ CLOCK_DRAWS);
  if (!dice.chance(CLOCK_STEP_SHARE)) return plan;
  const steps = Array.from({ length: dice.whole(1, 4) }, (): Fault => {
    const daemon = dice.chance(0.3) ? null : dice.whole(0, plan.daemons - 1);
    return { tag: 'clock_step', daemon, atMs: dice.whole(0, busyMs), byMs: dice.whole(-7_200_000, 7_200_000) };
  });
  return { ...plan, faults: [...plan.faults, ...steps] };
}

function drawGroupFault(dice: Dice, plan: Plan, busyMs: number): GroupFault {
  const sink = dice.pick(plan.sinks);
  const atMs = dice.whole(500, busyMs);
  const tag = dice.weighted({ group_storm: 3, group_kicked: 6, commit_refused: 2, group_erased: 2, send_doubled: 4 });
  switch (tag) {
    case 'group_storm':
      return { tag, sink, atMs, forMs: dice.whole(500, 4_000), everyMs: dice.whole(30, 600) };
    case 'group_kicked':
      return { tag, sink, daemon: dice.whole(0, plan.daemons - 1), atMs, forMs: dice.chance(0.4) ? 0 : dice.whole(100, 5_000) };
    case 'commit_refused':
      return { tag, sink, atMs, forMs: dice.whole(200, 4_000) };
    case 'group_erased':
      return { tag, sink, atMs, whole: dice.chance(0.5) };
    case 'send_doubled':
      return { tag, atMs, laterMs: dice.chance(0.4) ? 0 : dice.whole(5, 6_000) };
  }
}

function drawGroupCallFault(dice: Dice, plan: Plan, busyMs: number): CallFault {
  const site = dice.pick(groupSites);
  const [daemon, afterMs, skip, ms] = [dice.whole(0, plan.daemons - 1), dice.whole(0, busyMs), dice.whole(0, 5), dice.whole(5, 3_000)];
  return { tag: 'call', kind: dice.pick(faultsOf[site]), site, daemon, afterMs, skip, ms };
}
