import type { ControlKey, ControlRow, ControlStore } from '#core/control.ts';
import { backoffMs, CausewayError, type ErrorCode } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';

/** The control store as capture uses it: an unreachable one is asked again until the generation ends, which its lease decides. */
export type ControlAccess = {
  readonly control: ControlStore;
  readonly runtime: Runtime;
  readonly trouble: (error: unknown, during: string) => void;
};

/** What passes by itself, or with a login that is corrected beside. */
const OUTAGES: ReadonlySet<ErrorCode> = new Set(['control_unavailable', 'control_credentials']);

const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 1_000;

async function persist<T>(access: ControlAccess, attempt: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let failures = 0; ; failures += 1) {
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof CausewayError) || !OUTAGES.has(error.code)) throw error;
      access.trouble(error, 'control store');
      const random = access.runtime.random();
      await access.runtime.sleep(backoffMs({ attempt: failures, firstMs: RETRY_FIRST_MS, maxMs: RETRY_MAX_MS, random }), signal);
    }
  }
}

export async function readRow<T>(access: ControlAccess, key: ControlKey, signal: AbortSignal): Promise<T | null> {
  const found = await persist(access, () => access.control.get(key, signal), signal);
  return found === null ? null : (found.value as T);
}

export async function listRows(access: ControlAccess, prefix: string, signal: AbortSignal): Promise<readonly ControlRow[]> {
  return persist(access, () => access.control.list(prefix, signal), signal);
}

export async function removeRow(access: ControlAccess, key: ControlKey, signal: AbortSignal): Promise<void> {
  await persist(
    access,
    async () => {
      const found = await access.control.get(key, signal);
      if (found !== null) await access.control.remove(key, found.version, signal);
    },
    signal,
  );
}

/**
 * Changes one row by compare-and-swap. `change` is given the row as it stands, and returns what is to be stored, or null to
 * leave it, or throws; it is called again after a conflict and after an error, whose outcome is unknown, so it must
 * recognise what it wrote itself. Returns the row as it stands then.
 */
export async function changeRow<T>(
  access: ControlAccess,
  of: { readonly key: ControlKey; readonly change: (current: T | null) => T | null },
  signal: AbortSignal,
): Promise<T | null> {
  return persist(
    access,
    async () => {
      while (true) {
        const found = await access.control.get(of.key, signal);
        const current = found === null ? null : (found.value as T);
        const value = of.change(current);
        if (value === null) return current;
        const swap = await access.control.swap({ key: of.key, value, expected: found?.version ?? null }, signal);
        if (swap.tag === 'stored') return value;
      }
    },
    signal,
  );
}
