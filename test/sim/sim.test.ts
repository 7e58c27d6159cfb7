import { describe, expect, test } from 'vitest';
import { runChunk } from './chunk.ts';
import { drawPlan } from './plan.ts';
import { describeFailure } from './report.ts';
import { runPlan } from './world.ts';

/** `npm run sim` runs many more. */
const SEEDS = 150;
const GROUPS = 3;

describe('seeds', () => {
  for (let group = 0; group < GROUPS; group += 1) {
    const from = 1 + (group * SEEDS) / GROUPS;
    test(`from ${from} on keep every invariant`, async () => {
      const { failures, invalid } = await runChunk(from, SEEDS / GROUPS);
      expect({ failures, invalid }).toEqual({ failures: [], invalid: [] });
    });
  }

  /** As plans are drawn now: after a change of that they are seeds like any others. */
  test('that once found something keep every invariant', async () => {
    for (const seed of [1_002_286, 1_003_886, 1_032_210, 1_053_926, 1_056_894, 1_060_964, 1_063_357, 1_085_362]) {
      const outcome = await runPlan(drawPlan(seed));
      expect(outcome.violation, describeFailure(outcome)).toBeNull();
    }
  });

  test('replay exactly', async () => {
    for (const seed of [3, 8, 21]) {
      const first = await runPlan(drawPlan(seed));
      const second = await runPlan(drawPlan(seed), { trace: true });
      expect(second.hash, describeFailure(second)).toBe(first.hash);
      expect(second.events).toBe(first.events);
    }
  });

  test('differ from each other', async () => {
    const hashes = await Promise.all([3, 4, 5, 6].map(async (seed) => (await runPlan(drawPlan(seed))).hash));
    expect(new Set(hashes).size).toBe(4);
  });
});
