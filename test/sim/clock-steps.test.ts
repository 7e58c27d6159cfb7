import { expect, test } from 'vitest';
import { drawPlan, type Fault } from './plan.ts';
import { describeFailure } from './report.ts';
import { runPlan } from './world.ts';

test('wall clocks of the daemons that are set forward and back change nothing that a process does', async () => {
  for (const seed of [5, 17, 40]) {
    const drawn = drawPlan(seed);
    const plan = { ...drawn, faults: drawn.faults.filter(({ tag }) => tag !== 'clock_step') };
    const steps = plan.clocks.flatMap((_clock, daemon): readonly Fault[] => [
      { tag: 'clock_step', daemon, atMs: 1_500, byMs: 3_600_000 },
      { tag: 'clock_step', daemon, atMs: 6_000, byMs: -90_000_000 },
    ]);
    const [as, stepped] = [await runPlan(plan), await runPlan({ ...plan, faults: [...plan.faults, ...steps] })];
    expect(as.violation, describeFailure(as)).toBeNull();
    expect(stepped.violation, describeFailure(stepped)).toBeNull();
    expect(stepped.coverage.faults.get('clock_step')).toBe(steps.length);
    expect({ calls: stepped.coverage.calls, tookMs: stepped.tookMs }).toEqual({ calls: as.coverage.calls, tookMs: as.tookMs });
  }
});
