import { controlKeys, type LeaseRow } from '#core/control-rows.ts';
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
