import { expect, test } from 'vitest';
import type { EpochMicros, MonoMs, WallMs } from '#core/position.ts';
import { SourceTime } from '../../src/runtime/source-time.ts';

test("lag is measured on the source's clock, also where the host's clock is wrong and is set", () => {
  const host = { wall: 1_000_000, mono: 500 };
  const time = new SourceTime({ wallMs: () => host.wall as WallMs, monotonicMs: () => host.mono as MonoMs });
  expect(time.secondsSince(0 as EpochMicros)).toBeNull();
  // The source is an hour ahead of this host.
  time.observe(3_600_000_000);
  expect(time.skewMs).toBe(-3_600_000);
  const committedAt = (host.wall * 1_000 + 3_600_000_000) as EpochMicros;
  host.wall += 2_000;
  host.mono += 2_000;
  expect(time.secondsSince(committedAt)).toBe(2);
  host.wall -= 86_400_000;
  expect(time.secondsSince(committedAt)).toBe(2);
  time.observe(null);
  expect(time.secondsSince(committedAt)).toBeNull();
});
