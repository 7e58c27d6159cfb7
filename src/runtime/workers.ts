import { controlKeys, type WorkerRow } from '#core/control-rows.ts';
import type { ControlKey, ControlStore, RowVersion } from '#core/control.ts';
import { codeOf, policyFor } from '#core/errors.ts';
import { randomName } from '#core/random-name.ts';
import { type Logger, type Runtime, untilBeatMs } from '#core/runtime.ts';
import type { SinkStatus } from '../http/status-document.ts';
import { isAborted } from './aborted.ts';
import { errorFields } from './logger.ts';

/** Well below the time after which a silent process counts as gone. */
const WRITE_MS = 4_000;
/** A row that has not moved for this long is of a process that went away. */
const FORGET_MS = 60_000;

export type WorkersDeps = {
  readonly pipeline: string;
  /** For people: host and process id. */
  readonly describedAs: string;
  readonly control: ControlStore;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** True while this process has the capture lease: the status row tells of its own partitions. */
  readonly captures: () => boolean;
  readonly sinks: () => readonly SinkStatus[];
};

/**
 * Where a log shares its partitions out, tells commands which of them this process applies while another one captures, and, while it
 * captures itself, clears away what processes left that are gone.
 */
export async function followWorkers(deps: WorkersDeps, signal: AbortSignal): Promise<void> {
  const { runtime, logger } = deps;
  const own = controlKeys.worker(deps.pipeline, randomName(runtime));
  const silent = new Silent();
  let clearedAtMs = Number.NEGATIVE_INFINITY;
  /** The row may stand. */
  let told = false;
  let failed = false;
  while (!isAborted(signal)) {
    try {
      await runtime.sleep(untilBeatMs(WRITE_MS, runtime.monotonicMs()), signal);
      const captures = deps.captures();
      const applied = captures ? [] : deps.sinks().filter(({ partitions }) => partitions.length > 0);
      if (told || applied.length > 0) {
        // Whatever becomes of the answer, the row may stand from now on.
        told = true;
        told = await tell(deps, { key: own, applied }, signal);
      }
      if (captures && runtime.monotonicMs() - clearedAtMs >= FORGET_MS / 2) {
        await forgetSilent(deps, silent, signal);
        clearedAtMs = runtime.monotonicMs();
      }
      failed = false;
    } catch (error) {
      if (isAborted(signal)) return;
      if (policyFor(codeOf(error)).retry === 'fatal') throw error;
      if (!failed) logger.log('debug', 'what this process applies could not be written', errorFields(error));
      failed = true;
    }
  }
}

/** Returns whether the row stands. */
async function tell(
  { control, runtime, describedAs }: WorkersDeps,
  { key, applied }: { readonly key: ControlKey; readonly applied: readonly SinkStatus[] },
  signal: AbortSignal,
): Promise<boolean> {
  const current = await control.get(key, signal);
  if (applied.length === 0) {
    if (current !== null) await control.remove(key, current.version, signal);
    return false;
  }
  const value = { describedAs, writtenAtWallMs: runtime.wallMs(), sinks: applied } satisfies WorkerRow;
  await control.swap({ key, value, expected: current?.version ?? null }, signal);
  return true;
}

/** Since when each row stands as it does, on this process's own clock. */
class Silent {
  readonly #seen = new Map<string, { readonly version: RowVersion; readonly sinceMs: number }>();

  sinceMs(key: string, version: RowVersion, nowMs: number): number {
    const known = this.#seen.get(key);
    if (known?.version === version) return known.sinceMs;
    this.#seen.set(key, { version, sinceMs: nowMs });
    return nowMs;
  }

  keep(keys: ReadonlySet<string>): void {
    for (const key of this.#seen.keys()) if (!keys.has(key)) this.#seen.delete(key);
  }
}

async function forgetSilent({ pipeline, control, runtime }: WorkersDeps, silent: Silent, signal: AbortSignal): Promise<void> {
  const rows = await control.list(controlKeys.workers(pipeline), signal);
  const nowMs = runtime.monotonicMs();
  for (const { key, version } of rows) {
    if (nowMs - silent.sinceMs(key, version, nowMs) >= FORGET_MS) await control.remove(key, version, signal);
  }
  silent.keep(new Set(rows.map(({ key }) => key)));
}
