import { controlKeys, type LeaseRow, type StatusRow } from '#core/control-rows.ts';
import type { ControlKey, ControlStore } from '#core/control.ts';
import type { Runtime } from '#core/runtime.ts';

export async function valueOf<T>(control: ControlStore, key: ControlKey, signal: AbortSignal): Promise<T | null> {
  const row = await control.get(key, signal);
  return row === null ? null : (row.value as T);
}

/** Changes a row by compare-and-swap, over whoever writes it at the same time. Returning null leaves it. */
export async function changeRow<T>(
  control: ControlStore,
  input: { readonly key: ControlKey; readonly change: (now: T | null) => T | null },
  signal: AbortSignal,
): Promise<T | null> {
  while (true) {
    const row = await control.get(input.key, signal);
    const value = input.change(row === null ? null : (row.value as T));
    if (value === null) return null;
    const swap = await control.swap({ key: input.key, value, expected: row?.version ?? null }, signal);
    if (swap.tag === 'stored') return value;
  }
}

/** How often the lease is looked at while it is found out whether its holder lives. */
const LOOK_MS = 200;

/**
 * The name of a living holder, or null. Clocks of two machines cannot be compared, so a holder counts as living until its row
 * has not moved for its ttl.
 */
export async function livingHolder(
  deps: { readonly control: ControlStore; readonly runtime: Runtime; readonly pipeline: string; readonly onWait: (row: LeaseRow) => void },
  signal: AbortSignal,
): Promise<string | null> {
  const { control, runtime, pipeline } = deps;
  const key = controlKeys.lease(pipeline);
  const first = await control.get(key, signal);
  const row = first === null ? null : (first.value as LeaseRow);
  if (first === null || row === null || row.holder === null) return null;
  deps.onWait(row);
  const startedAt = runtime.monotonicMs();
  while (runtime.monotonicMs() - startedAt < row.ttlMs) {
    await runtime.sleep(LOOK_MS, signal);
    const now = await control.get(key, signal);
    const current = now === null ? null : (now.value as LeaseRow);
    if (current === null || current.holder === null) return null;
    if (now?.version !== first.version) return current.describedAs ?? current.holder;
  }
  return null;
}

/** A daemon writes its status every two seconds; one that was silent for this long does not run, or cannot reach the control store. */
export const SILENT_MS = 10_000;

/** A little more than the time between two writes of a daemon that lives. */
const STATUS_MOVES_MS = 3_000;

/**
 * True while a daemon serves the pipeline although nobody holds its lease: one that cannot capture lets the lease go and takes it
 * again every ten seconds.
 */
export async function daemonLives(
  deps: { readonly control: ControlStore; readonly runtime: Runtime; readonly pipeline: string },
  signal: AbortSignal,
): Promise<boolean> {
  const { control, runtime, pipeline } = deps;
  const key = controlKeys.status(pipeline);
  const first = await control.get(key, signal);
  if (first === null || runtime.wallMs() - (first.value as StatusRow).writtenAtWallMs >= SILENT_MS) return false;
  const startedAt = runtime.monotonicMs();
  while (runtime.monotonicMs() - startedAt < STATUS_MOVES_MS) {
    await runtime.sleep(LOOK_MS, signal);
    if ((await control.get(key, signal))?.version !== first.version) return true;
  }
  return false;
}
