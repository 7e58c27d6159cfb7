import { brokenInvariantIn } from '#core/assert.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';

const PAUSE_MIN_MS = 50;
const PAUSE_MAX_MS = 5_000;
/** Attempts after which the pause is the longest. */
const ATTEMPTS_MAX = 10;

/** Grows with each attempt, and is spread so that what was refused together does not come back together. */
export function pauseMs(attempt: number, random: number): number {
  return random * Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** Math.min(attempt, ATTEMPTS_MAX));
}

/** Null where the service asks for fewer requests. */
export async function unlessThrottled<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof CausewayError && error.code === 'sink_throttled') return null;
    throw error;
  }
}

/** Repeats what is throttled, which null says, until it is taken: for long work that would begin again otherwise. */
export async function untilTaken<T>(
  { runtime, onRetry }: { readonly runtime: Runtime; readonly onRetry: (code: ErrorCode) => void },
  signal: AbortSignal,
  work: () => Promise<T | null>,
): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    const taken = await work();
    if (taken !== null) return taken;
    onRetry('sink_throttled');
    await runtime.sleep(pauseMs(attempt, runtime.random()), signal);
  }
}

/** Nothing goes on behind an error: the first one is thrown when all have ended, a broken invariant before any other. */
export async function allEnded<T>(work: readonly Promise<T>[]): Promise<readonly T[]> {
  const ended = await Promise.allSettled(work);
  const broken = ended.find((one) => one.status === 'rejected' && brokenInvariantIn(one.reason) !== null);
  if (broken?.status === 'rejected') throw broken.reason;
  return ended.map((one) => {
    if (one.status === 'rejected') throw one.reason;
    return one.value;
  });
}
