import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { MonoMs } from '#core/position.ts';
import { untilBeatMs } from '#core/runtime.ts';

test('loops that began at any time meet at the multiples of their periods', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.double({ min: 0, max: 1e9, noNaN: true }), (halves, nowMs) => {
      const periodMs = halves * 500;
      const waitMs = untilBeatMs(periodMs, nowMs as MonoMs);
      expect(waitMs).toBeGreaterThanOrEqual(periodMs / 10);
      expect(waitMs).toBeLessThanOrEqual(1.1 * periodMs + 1);
      // Rounded up to whole milliseconds: never a moment before.
      expect((nowMs + waitMs + 1e-6) % periodMs).toBeLessThan(1.001);
    }),
  );
});

test('a timer that ran a little early waits for the next beat, not for the rest of this one', () => {
  expect(untilBeatMs(1_000, 1_999.6 as MonoMs)).toBe(1_001);
  expect(untilBeatMs(1_000, 2_000 as MonoMs)).toBe(1_000);
  expect(untilBeatMs(1_000, 2_000.3 as MonoMs)).toBe(1_000);
});
