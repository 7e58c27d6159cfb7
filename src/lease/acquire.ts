import { randomName } from '#core/random-name.ts';
import { keep } from './keeper.ts';
import type { Lease, LeaseDeps } from './lease.ts';
import { standBy } from './standby.ts';

/**
 * Waits until the lease is free, and takes it: at once where nobody holds it, otherwise when the row has not moved for the ttl
 * that stands in it, on the local monotonic clock. Rides out an unreachable control store. Rejects with the signal's reason.
 */
export async function acquireLease(deps: LeaseDeps, signal: AbortSignal): Promise<Lease> {
  const holder = randomName(deps.runtime);
  const claim = await standBy(deps, holder, signal);
  return keep(deps, claim);
}
