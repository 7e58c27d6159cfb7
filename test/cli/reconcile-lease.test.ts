// One job reconciles a sink at a time: a second one ends soon, and one whose holder died takes over.
import { expect, test } from 'vitest';
import { controlKeys, type LeaseRow } from '#core/control-rows.ts';
import { codeOf } from '#core/errors.ts';
import { fencingTokenOf } from '#core/position.ts';
import type { CommandContext } from '../../src/cli/context.ts';
import { withReconcileLease } from '../../src/cli/reconcile-lease.ts';
import { acquireLease } from '../../src/lease/acquire.ts';
import type { Lease } from '../../src/lease/lease.ts';
import { exitCodeOf } from '../../src/runtime/supervisor.ts';
import { memoryControlRows, MemoryControlStore } from '../support/memory-control-store.ts';
import { silentLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const key = controlKeys.reconcileLease('main', 'warm');

class Jobs {
  readonly clock = new VirtualClock();
  readonly rows = memoryControlRows();

  async start<T>(work: (lease: Lease, signal: AbortSignal) => Promise<T>, stop = new AbortController()): Promise<T> {
    const io = { stdout: () => undefined, stderr: () => undefined, env: {}, signal: stop.signal };
    const context: CommandContext = {
      io,
      options: { config: '', output: 'table', timeout: '30s' },
      logger: silentLogger,
      parts: { connectors: { source: {}, log: {}, sink: {}, control: {} }, runtime: this.clock.runtime, logger: silentLogger },
    };
    return await withReconcileLease(context, { control: new MemoryControlStore(this.rows), pipeline: 'main', sink: 'warm' }, work);
  }

  row(): LeaseRow {
    return JSON.parse(this.rows.rows.get(key)?.text ?? 'null') as LeaseRow;
  }
}

test('a second job ends with 6 while the first one lives, however long that takes', async () => {
  const jobs = new Jobs();
  const over = Promise.withResolvers<null>();
  const first = jobs.start(async (lease, signal) => {
    await over.promise;
    return { token: lease.token, aborted: signal.aborted };
  });
  await jobs.clock.advance(60_000);
  let isBegun = false;
  const second = jobs.start(() => Promise.resolve((isBegun = true)));
  const error: unknown = await jobs.clock.runUntil(second.catch((reason: unknown) => reason));
  expect([codeOf(error), exitCodeOf(codeOf(error)), isBegun]).toEqual(['lease_held', 6, false]);
  expect((error as Error).message).toMatch(/reconcile\) reconciles the sink warm of main/);
  expect(jobs.clock.nowMs).toBe(80_000);
  over.resolve(null);
  expect(await jobs.clock.runUntil(first)).toEqual({ token: 1, aborted: false });
  expect(jobs.row()).toMatchObject({ token: 1, holder: null });
  expect(jobs.clock.sleeping).toBe(0);
});

test('one whose holder died takes over after its ttl, with a greater token', async () => {
  const jobs = new Jobs();
  const deps = { control: new MemoryControlStore(jobs.rows), runtime: jobs.clock.runtime, key, describedAs: 'dead', ttlMs: 15_000 };
  const dead = await jobs.clock.runUntil(acquireLease(deps, new AbortController().signal));
  await dead.abandon();
  const startedAtMs = jobs.clock.nowMs;
  expect(await jobs.clock.runUntil(jobs.start((lease) => Promise.resolve([lease.token, jobs.clock.nowMs - startedAtMs])))).toEqual([
    2, 15_000,
  ]);
});

test('the next one begins at once, also where the one before failed', async () => {
  const jobs = new Jobs();
  const failed = jobs.start(() => Promise.reject(new Error('failed')));
  await expect(jobs.clock.runUntil(failed)).rejects.toThrow('failed');
  expect(await jobs.clock.runUntil(jobs.start((lease) => Promise.resolve(lease.token)))).toBe(2);
  expect(jobs.clock.nowMs).toBe(0);
});

test('a job whose lease was taken is told, and leaves it to the other', async () => {
  const jobs = new Jobs();
  const work = jobs.start(async (_, signal) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    signal.throwIfAborted();
  });
  const ended = work.catch((reason: unknown) => reason);
  await jobs.clock.advance(1_000);
  const taken: LeaseRow = { ...jobs.row(), token: fencingTokenOf(7), holder: 'other', describedAs: 'other' };
  const control = new MemoryControlStore(jobs.rows);
  const { signal } = new AbortController();
  await control.swap({ key, value: taken, expected: (await control.get(key, signal))?.version ?? null }, signal);
  await jobs.clock.advance(15_000);
  expect(codeOf(await ended)).toBe('lease_lost');
  expect(jobs.row()).toMatchObject({ token: 7, holder: 'other' });
});

test('a job that is told to end while it waits ends with that', async () => {
  const jobs = new Jobs();
  const over = Promise.withResolvers<null>();
  const first = jobs.start(() => over.promise);
  await jobs.clock.advance(1_000);
  const stop = new AbortController();
  const second = jobs.start(() => Promise.resolve(null), stop);
  const ended = second.catch((reason: unknown) => reason);
  await jobs.clock.advance(1_000);
  stop.abort(new Error('interrupted'));
  expect(await ended).toMatchObject({ message: 'interrupted' });
  over.resolve(null);
  await jobs.clock.runUntil(first);
});
