import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { WallMs } from '#core/position.ts';
import { leaseSpec } from '../../../connectors/control-kubernetes/lease-spec.ts';
import { microTime } from '../../../connectors/lib/time/micro-time.ts';

const now = Date.UTC(2026, 1, 28, 23, 59, 59, 7) as WallMs;

test('a time is written as the calendar has it, in six digits', () => {
  expect(microTime(now)).toBe('2026-02-28T23:59:59.007000Z');
  fc.assert(
    fc.property(fc.integer({ min: 0, max: Date.UTC(9999, 11, 31) }), (ms) => {
      expect(microTime(ms as WallMs)).toBe(new Date(ms).toISOString().replace('Z', '000Z'));
    }),
  );
  expect(microTime((now + 0.9) as WallMs)).toBe('2026-02-28T23:59:59.007000Z');
});

test('a released lease names nobody, and a token beyond the field stays at its greatest', () => {
  const row = { token: 2 ** 40, holder: null, describedAs: null, ttlMs: 100, renewals: 3 };
  expect(leaseSpec(row, now)).toEqual({
    holderIdentity: null,
    leaseDurationSeconds: 1,
    leaseTransitions: 2 ** 31 - 1,
    renewTime: microTime(now),
  });
  expect(leaseSpec({ ...row, holder: 'abc' }, now)?.holderIdentity).toBe('abc');
});

test('what is no row of a lease has no fields', () => {
  expect([null, 1, 'x', [], {}, { token: '1', holder: null, ttlMs: 1, renewals: 0 }].map((value) => leaseSpec(value, now))).toEqual(
    Array.from({ length: 6 }, () => null),
  );
});
