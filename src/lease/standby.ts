import type { LeaseRow } from '#core/control-rows.ts';
import type { ControlRow, RowVersion, Swap } from '#core/control.ts';
import { backoffMs, codeOf, policyFor } from '#core/errors.ts';
import { fencingTokenOf, type MonoMs } from '#core/position.ts';
import type { LeaseDeps } from './lease.ts';

/** A row that names us as the holder, and when the request that wrote it was made. */
export type LeaseClaim = { readonly row: LeaseRow; readonly version: RowVersion; readonly requestedAt: MonoMs };

/** What a challenger saw of the row, and since when on its own clock. */
export type Observation = { readonly version: RowVersion | null; readonly since: MonoMs };

/**
 * Whether a challenger may take the lease now. A row that moved starts the waiting anew; its own ttl counts, not the
 * challenger's, since it is what the holder reckons with.
 */
export function mayTakeOver(input: {
  readonly row: LeaseRow | null;
  readonly seen: Observation;
  readonly now: MonoMs;
  readonly formerHolder: string | null;
}): boolean {
  const { row, seen, now, formerHolder } = input;
  if (row === null || row.holder === null) return true;
  if (row.holder === formerHolder) return true;
  return now - seen.since >= row.ttlMs;
}

/** Polls often enough that a release is noticed soon and a silent holder within a fraction of its ttl. */
const POLLS_PER_TTL = 10;
const POLL_MS_MAX = 500;

export async function standBy(deps: LeaseDeps, holder: string, signal: AbortSignal): Promise<LeaseClaim> {
  const { control, runtime, key, ttlMs } = deps;
  const pollMs = Math.min(ttlMs / POLLS_PER_TTL, POLL_MS_MAX);
  let seen: Observation | null = null;
  let failures = 0;
  while (true) {
    let waitMs = pollMs;
    signal.throwIfAborted();
    try {
      const found = await control.get(key, signal);
      failures = 0;
      const row = rowOf(found);
      // A swap whose outcome was unknown did take effect.
      if (found !== null && row?.holder === holder) {
        const claim = await confirm(deps, { row, version: found.version }, signal);
        if (claim !== null) return claim;
        continue;
      }
      const version = found?.version ?? null;
      const now = runtime.monotonicMs();
      if (seen === null || seen.version !== version) seen = { version, since: now };
      report(deps, row);
      if (mayTakeOver({ row, seen, now, formerHolder: deps.formerHolder ?? null })) {
        const claim = await take(deps, { holder, row, version }, signal);
        if (claim !== null) return claim;
        continue;
      }
      // Not a poll later than it may be taken: that is time in which nobody captures.
      if (row !== null) waitMs = Math.min(pollMs, Math.max(1, seen.since + row.ttlMs - now));
    } catch (error) {
      signal.throwIfAborted();
      if (policyFor(codeOf(error)).retry !== 'timed') throw error;
      deps.observer?.trouble(error);
      await runtime.sleep(backoffMs({ attempt: failures, firstMs: pollMs, maxMs: 5 * pollMs, random: runtime.random() }), signal);
      failures += 1;
      continue;
    }
    await runtime.sleep(waitMs, signal);
  }
}

async function take(
  deps: LeaseDeps,
  over: { readonly holder: string; readonly row: LeaseRow | null; readonly version: RowVersion | null },
  signal: AbortSignal,
): Promise<LeaseClaim | null> {
  const row: LeaseRow = {
    ...over.row,
    token: fencingTokenOf((over.row?.token ?? 0) + 1),
    holder: over.holder,
    describedAs: deps.describedAs,
    ttlMs: deps.ttlMs,
    renewals: 0,
  };
  const requestedAt = deps.runtime.monotonicMs();
  const swap = await deps.control.swap({ key: deps.key, value: row, expected: over.version }, signal);
  return swap.tag === 'stored' ? { row, version: swap.version, requestedAt } : null;
}

/** Writes our own row once more: its deadline may then be reckoned from a request of which the time is known. */
async function confirm(
  deps: LeaseDeps,
  own: { readonly row: LeaseRow; readonly version: RowVersion },
  signal: AbortSignal,
): Promise<LeaseClaim | null> {
  const row: LeaseRow = { ...own.row, renewals: own.row.renewals + 1 };
  const requestedAt = deps.runtime.monotonicMs();
  const swap: Swap = await deps.control.swap({ key: deps.key, value: row, expected: own.version }, signal);
  return swap.tag === 'stored' ? { row, version: swap.version, requestedAt } : null;
}

export function rowOf(found: ControlRow | null): LeaseRow | null {
  return found === null ? null : (found.value as LeaseRow);
}

function report(deps: LeaseDeps, row: LeaseRow | null): void {
  deps.observer?.facts({
    held: false,
    generation: row?.token ?? null,
    holder: row === null || row.holder === null ? null : (row.describedAs ?? row.holder),
    ttlMs: row?.ttlMs ?? deps.ttlMs,
    expiresAtWallMs: null,
  });
}
