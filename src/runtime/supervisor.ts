import { codeOf, type ErrorCode } from '#core/errors.ts';
import type { Logger, Runtime } from '#core/runtime.ts';
import { errorFields } from './logger.ts';
import type { StopSignals } from './policy.ts';

export type Unit = { readonly name: string; readonly run: (signals: StopSignals) => Promise<void> };

/** A request from outside to end. */
export interface StopRequests {
  /** Resolves with the name of the next request; the same one may come again. */
  next(signal: AbortSignal): Promise<string>;
}

export type SupervisorDeps = {
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly requests: StopRequests;
  readonly graceMs: number;
  /** Told as soon as a stop begins. */
  readonly onStopping: () => void;
};

/** What the other pipelines get once one of them ended the process: its lease is gone, so the rest is worth little time. */
const FATAL_GRACE_MS = 5_000;
/** After the second stage nothing is waited for but the unwinding of what was aborted. */
const UNWIND_MS = 2_000;

/** The exit code of what ended the process by itself. */
export function exitCodeOf(code: ErrorCode): number {
  switch (code) {
    case 'usage':
    case 'config_invalid':
      return 2;
    case 'refused':
      return 4;
    case 'lease_lost':
    case 'lease_held':
    case 'fenced':
      return 6;
    case 'reconcile_inconclusive':
      return 9;
    default:
      return 1;
  }
}

type Ending = { readonly reason: 'requested'; readonly request: string } | { readonly reason: 'fatal'; readonly error: unknown };

/**
 * Runs every unit until a request to stop or until one of them fails for good. A stop has two stages: the units get the grace
 * to finish, then they are killed; a second request kills at once. Resolves with the exit code of the process.
 */
export async function supervise(units: readonly Unit[], deps: SupervisorDeps): Promise<number> {
  const { runtime, logger, requests } = deps;
  const stop = new AbortController();
  const kill = new AbortController();
  const over = new AbortController();
  const firstFatal = Promise.withResolvers<Ending>();
  const all = Promise.all(
    units.map(async (unit) => {
      try {
        await unit.run({ stop: stop.signal, kill: kill.signal });
      } catch (error) {
        if (kill.signal.aborted && error === kill.signal.reason) return;
        logger.log('error', 'the process ends, because recovery inside it cannot be proved', { unit: unit.name, ...errorFields(error) });
        firstFatal.resolve({ reason: 'fatal', error });
      }
    }),
  );
  const requested = requests.next(over.signal).then((request): Ending => ({ reason: 'requested', request }));
  try {
    const ending = await Promise.race([firstFatal.promise, requested, all.then((): Ending | null => null)]);
    if (ending === null) return await finalCode(firstFatal.promise);
    deps.onStopping();
    const graceMs = ending.reason === 'fatal' ? Math.min(deps.graceMs, FATAL_GRACE_MS) : deps.graceMs;
    if (ending.reason === 'requested') logger.log('info', 'stopping', { signal: ending.request, graceSeconds: graceMs / 1_000 });
    stop.abort(abortReason('the process stops'));

    const done = all.then(() => 'done' as const);
    const late = elapsed(runtime, graceMs, over.signal).then(() => 'late' as const);
    // A request that was waited for from the start and did not come yet is the next one.
    const again = (ending.reason === 'requested' ? requests.next(over.signal) : requested).then(() => 'again' as const);
    const how = await Promise.race([done, late, again]);
    if (how !== 'done') {
      logger.log('warn', how === 'late' ? 'the grace is over: dropping what is in hand' : 'asked again: dropping what is in hand');
      kill.abort(abortReason('the process is killed'));
      const unwound = await Promise.race([done, elapsed(runtime, UNWIND_MS, over.signal).then(() => 'stuck' as const)]);
      if (unwound === 'stuck') logger.log('warn', 'something did not end; the process ends anyway');
    }
    const fatal = ending.reason === 'fatal' ? ending : await settledFatal(firstFatal.promise);
    if (fatal?.reason === 'fatal') return exitCodeOf(codeOf(fatal.error));
    if (how === 'done') logger.log('info', 'stopped');
    return how === 'done' ? 0 : 1;
  } finally {
    over.abort(abortReason('over'));
  }
}

/** Resolves after that time; never where the signal aborts first, as what raced it has been decided then. */
async function elapsed(runtime: Runtime, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await runtime.sleep(ms, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    await new Promise<never>(() => undefined);
  }
}

async function finalCode(fatal: Promise<Ending>): Promise<number> {
  const ending = await settledFatal(fatal);
  return ending?.reason === 'fatal' ? exitCodeOf(codeOf(ending.error)) : 0;
}

/** The failure that is there already, if any. */
async function settledFatal(fatal: Promise<Ending>): Promise<Ending | null> {
  return Promise.race([fatal, Promise.resolve(null)]);
}

function abortReason(why: string): DOMException {
  return new DOMException(why, 'AbortError');
}
