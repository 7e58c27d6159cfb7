import { beforeEach, describe, expect, test } from 'vitest';
import type { LeaseRow } from '#core/control-rows.ts';
import type { ControlKey } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { acquireLease } from '../../src/lease/acquire.ts';
import type { Lease, LeaseDeps } from '../../src/lease/lease.ts';
import { mayTakeOver } from '../../src/lease/standby.ts';
import { memoryControlRows, MemoryControlStore } from '../support/memory-control-store.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const KEY = 'lease/orders' as ControlKey;
const TTL_MS = 15_000;
const never = new AbortController().signal;

/** Loses the replies of the next swaps: they take effect, and the caller is told of an error. */
class LosesReplies extends MemoryControlStore {
  lose = 0;
  override async swap(...args: Parameters<MemoryControlStore['swap']>): ReturnType<MemoryControlStore['swap']> {
    const result = await super.swap(...args);
    if (this.lose === 0) return result;
    this.lose -= 1;
    throw new CausewayError('control_unavailable', 'the reply was lost');
  }
}

let clock = new VirtualClock();
let rows = memoryControlRows();
beforeEach(() => {
  clock = new VirtualClock();
  rows = memoryControlRows();
});

function depsOf(change: Partial<LeaseDeps> = {}): LeaseDeps {
  return { control: new MemoryControlStore(rows), runtime: clock.runtime, key: KEY, describedAs: 'here', ttlMs: TTL_MS, ...change };
}

function row(): LeaseRow {
  return JSON.parse(rows.rows.get(KEY)?.text ?? 'null') as LeaseRow;
}

/** Starts to acquire; what it gets, and when, is told by the result. */
function acquiring(deps: LeaseDeps, signal: AbortSignal = never): { lease: Lease | null; atMs: number | null } {
  const result: { lease: Lease | null; atMs: number | null } = { lease: null, atMs: null };
  acquireLease(deps, signal).then(
    (lease) => {
      result.lease = lease;
      result.atMs = clock.nowMs;
    },
    () => undefined,
  );
  return result;
}

async function held(deps: LeaseDeps = depsOf()): Promise<Lease> {
  const result = acquiring(deps);
  await clock.advance(0);
  if (result.lease === null) throw new Error('the lease was not to be had at once');
  return result.lease;
}

describe('taking the lease', () => {
  test('the first holder gets token 1, and each later one a greater', async () => {
    const first = await held();
    expect(first.token).toBe(1);
    await first.release(never);
    expect(row()).toMatchObject({ token: 1, holder: null });
    const second = await held();
    expect(second.token).toBe(2);
    expect(second.holder).not.toBe(first.holder);
  });

  test('a standby takes over once the row has not moved for its ttl, on its own clock', async () => {
    const first = await held();
    await clock.advance(20_000);
    await first.abandon();
    const movedLast = row().renewals;
    const second = acquiring(depsOf());
    await clock.advance(TTL_MS - 1);
    expect(second.lease).toBeNull();
    await clock.advance(2_000);
    expect(second.lease?.token).toBe(2);
    expect(second.atMs).toBeLessThanOrEqual(20_000 + TTL_MS + 1_500);
    expect(movedLast).toBe(4);
  });

  test('a standby waits for as long as the holder renews', async () => {
    const first = await held();
    const second = acquiring(depsOf());
    await clock.advance(600_000);
    expect(second.lease).toBeNull();
    expect(first.end.tag).toBe('held');
    await first.release(never);
    await clock.advance(1_500);
    expect(second.lease?.token).toBe(2);
  });

  test('a standby loses no more than half a second by how often it looks, whatever the ttl', async () => {
    const ttlMs = 15_300;
    const first = await held(depsOf({ ttlMs }));
    const second = acquiring(depsOf({ ttlMs }));
    await clock.advance(10_050);
    await first.release(never);
    await clock.advance(500);
    expect(second.lease?.token).toBe(2);
    await second.lease?.abandon();
    const goneAt = clock.nowMs;
    const third = acquiring(depsOf({ ttlMs }));
    await clock.advance(20_000);
    expect(third.atMs).toBe(goneAt + ttlMs);
  });

  test("it is the holder's ttl that counts, not the challenger's", () => {
    const held: LeaseRow = { token: 1 as LeaseRow['token'], holder: 'a', describedAs: null, ttlMs: 60_000, renewals: 0 };
    const seen = { version: null, since: 0 as never };
    expect(mayTakeOver({ row: held, seen, now: 59_999 as never, formerHolder: null })).toBe(false);
    expect(mayTakeOver({ row: held, seen, now: 60_000 as never, formerHolder: null })).toBe(true);
    expect(mayTakeOver({ row: held, seen, now: 0 as never, formerHolder: 'a' })).toBe(true);
  });

  test('of two standbys one wins', async () => {
    const first = await held();
    await first.abandon();
    const both = [acquiring(depsOf()), acquiring(depsOf({ ttlMs: 14_000 }))];
    await clock.advance(60_000);
    expect(both.filter(({ lease }) => lease !== null)).toHaveLength(1);
    expect(row().token).toBe(2);
  });

  test('a take-over whose reply was lost is recognised by the own name', async () => {
    const control = new LosesReplies(rows);
    control.lose = 1;
    const result = acquiring(depsOf({ control }));
    await clock.advance(3_000);
    expect(result.lease?.token).toBe(1);
    expect(row()).toMatchObject({ token: 1, holder: result.lease?.holder });
  });

  test('an unreachable store is asked again for as long as it lasts', async () => {
    rows.failure = new CausewayError('control_unavailable', 'away');
    const result = acquiring(depsOf());
    await clock.advance(3_600_000);
    rows.failure = null;
    await clock.advance(10_000);
    expect(result.lease?.token).toBe(1);
  });

  test('a damaged store is not', async () => {
    rows.failure = new CausewayError('control_damaged', 'broken');
    await expect(acquireLease(depsOf(), never)).rejects.toMatchObject({ code: 'control_damaged' });
  });
});

describe('keeping the lease', () => {
  test('renews every third of the ttl, and the deadline is reckoned from before the request', async () => {
    const lease = await held(depsOf({ marginMs: 1_000 }));
    expect(lease.deadline).toBe(TTL_MS - 1_000);
    await clock.advance(5_000);
    expect(row().renewals).toBe(1);
    expect(lease.deadline).toBe(5_000 + TTL_MS - 1_000);
  });

  test('ends at the deadline while the store cannot be reached, and not before', async () => {
    const lease = await held(depsOf({ marginMs: 1_000 }));
    await clock.advance(5_000);
    rows.failure = new CausewayError('control_unavailable', 'away');
    await clock.advance(13_999);
    expect(lease.ended.aborted).toBe(false);
    await clock.advance(1);
    expect(lease.ended.aborted).toBe(true);
    expect(lease.end.tag).toBe('expired');
    // Another could take it only later, even with a clock that is as fast as it may be.
    expect(clock.nowMs).toBeLessThan(5_000 + TTL_MS);
  });

  test('a request that hangs ends at the deadline too', async () => {
    const control = new MemoryControlStore(rows);
    const lease = await held(depsOf({ control, marginMs: 1_000 }));
    control.swap = (_write, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
    await clock.advance(14_000);
    expect(lease.end.tag).toBe('expired');
    await lease.abandon();
  });

  test('survives a store that is away for less than that', async () => {
    const lease = await held();
    rows.failure = new CausewayError('control_unavailable', 'away');
    await clock.advance(12_000);
    rows.failure = null;
    await clock.advance(60_000);
    expect(lease.end.tag).toBe('held');
  });

  test('a renewal whose reply was lost is recognised, and its deadline is not moved by it', async () => {
    const control = new LosesReplies(rows);
    const lease = await held(depsOf({ control }));
    control.lose = 1;
    await clock.advance(5_000);
    const deadline = lease.deadline;
    expect(deadline).toBe(13_500);
    await clock.advance(1_500);
    expect(lease.end.tag).toBe('held');
    expect(lease.deadline).toBeGreaterThan(deadline);
  });

  test('the deadline counts from before a request, however long its answer takes', async () => {
    const control = new MemoryControlStore(rows);
    const lease = await held(depsOf({ control, marginMs: 1_000 }));
    const swap = control.swap.bind(control);
    control.swap = async (write, signal) => {
      await clock.runtime.sleep(3_000, signal);
      return await swap(write, signal);
    };
    await clock.advance(9_000);
    expect(row().renewals).toBe(1);
    expect(lease.deadline).toBe(5_000 + TTL_MS - 1_000);
    await lease.abandon();
  });

  test('a row that tells only of an earlier renewal moves no deadline', async () => {
    const control = new MemoryControlStore(rows);
    const lease = await held(depsOf({ control, marginMs: 1_000 }));
    const swap = control.swap.bind(control);
    let calls = 0;
    control.swap = async (write, signal) => {
      calls += 1;
      const lost = new CausewayError('control_unavailable', 'no answer');
      // The first takes effect without an answer, the second finds that, and nothing behind it arrives.
      if (calls > 2) throw lost;
      const result = await swap(write, signal);
      if (calls === 1) throw lost;
      return result;
    };
    await clock.advance(13_000);
    expect(calls).toBeGreaterThan(2);
    expect(lease.deadline).toBe(TTL_MS - 1_000);
    await clock.advance(1_000);
    expect(lease.end.tag).toBe('expired');
  });

  test('another holder in the row is the end', async () => {
    const lease = await held();
    rows.rows.set(KEY, { text: JSON.stringify({ ...row(), token: 2, holder: 'b' }), version: 'x' as never });
    await clock.advance(5_000);
    expect(lease.end).toMatchObject({ tag: 'lost', error: { code: 'lease_lost' } });
    expect(lease.ended.reason).toMatchObject({ code: 'lease_lost' });
    await lease.release(never);
    expect(row()).toMatchObject({ token: 2, holder: 'b' });
  });

  test('a row that is gone is the end', async () => {
    const lease = await held();
    rows.rows.clear();
    await clock.advance(5_000);
    expect(lease.end.tag).toBe('lost');
  });

  test('how it ended is told once: released, expired, lost, or given up', async () => {
    const told: string[] = [];
    const observer = {
      facts: () => undefined,
      renewed: () => undefined,
      trouble: () => undefined,
      ended: (how: string) => void told.push(how),
    };
    const released = await held(depsOf({ observer }));
    await released.release(never);
    await released.release(never);
    const lost = await held(depsOf({ observer }));
    rows.rows.set(KEY, { text: JSON.stringify({ ...row(), token: 7, holder: null }), version: 'x' as never });
    await clock.advance(TTL_MS);
    await lost.release(never);
    const expired = await held(depsOf({ observer }));
    rows.failure = new CausewayError('control_unavailable', 'away');
    await clock.advance(TTL_MS);
    await expired.release(never);
    rows.failure = null;
    const abandoned = await held(depsOf({ observer, formerHolder: expired.holder }));
    await abandoned.abandon();
    expect(told).toEqual(['released', 'lost', 'expired', 'stepdown']);
  });

  test('a process that has dropped everything takes its own expired row over at once', async () => {
    const lease = await held();
    rows.failure = new CausewayError('control_unavailable', 'away');
    await clock.advance(TTL_MS);
    expect(lease.end.tag).toBe('expired');
    rows.failure = null;
    const next = await held(depsOf({ formerHolder: lease.holder }));
    expect(next.token).toBe(2);
  });

  test('and nobody else’s row at once', async () => {
    const other = await held(depsOf({ describedAs: 'there' }));
    const next = acquiring(depsOf({ formerHolder: '0123456789abcdef' }));
    await clock.advance(4_000);
    expect(next.lease).toBeNull();
    await other.release(never);
    await clock.advance(TTL_MS);
    expect(next.lease?.token).toBe(2);
  });
});
