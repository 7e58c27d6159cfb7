import { isAborted } from './aborted.ts';
import { keepRunning, type Loop, type PolicyDeps, type StopSignals } from './policy.ts';
import type { Wanted } from './wanted.ts';

export type UnitDeps = PolicyDeps & {
  readonly wanted: Wanted;
  /** Told whether the loop runs: false while it is not wanted. */
  readonly onRunning: (running: boolean) => void;
};

/** Runs a loop while it is wanted, and stops it in the gentle way while it is not, until the process stops. */
export async function runUnit(loop: Loop, deps: UnitDeps, signals: StopSignals): Promise<void> {
  const ending = AbortSignal.any([signals.stop, signals.kill]);
  while (!ending.aborted) {
    await deps.wanted.until(true, ending);
    if (isAborted(ending)) return;
    const unwanted = new AbortController();
    const watched = new AbortController();
    const watching = deps.wanted.until(false, watched.signal).then(() => {
      if (!deps.wanted.on) unwanted.abort(new DOMException('not wanted now', 'AbortError'));
    });
    deps.onRunning(true);
    try {
      await keepRunning(loop, deps, { stop: AbortSignal.any([signals.stop, unwanted.signal]), kill: signals.kill });
    } finally {
      deps.onRunning(false);
      watched.abort();
      await watching;
    }
  }
}
