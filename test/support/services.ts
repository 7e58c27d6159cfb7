// What integration tests say to have one of the real systems, Postgres excepted.
import { describe, inject } from 'vitest';
import type { SharedAddresses } from './shared-containers.ts';
import type { SharedName } from './shared-services.ts';

/** A suite that takes the system of all files, by `sharedService`; shown as skipped where it is not to be had. */
export function describeShared(name: SharedName, title: string, suite: () => void): void {
  describe.skipIf(!inject('services').shared.includes(name))(title, suite);
}

/** A suite that starts servers of its own, to kill or configure them; shown as skipped where the system is not here. */
export function describeOwn(name: SharedName, title: string, suite: () => void): void {
  describe.skipIf(!inject('services').own.includes(name))(title, suite);
}

/**
 * Where the system is that all files share; the first to ask starts it. Nothing is cleaned up between files: a test gives what it makes a
 * name of its own.
 */
export async function sharedService<Name extends SharedName>(name: Name): Promise<SharedAddresses[Name]> {
  const response = await fetch(`${inject('services').url}/${name}`);
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as SharedAddresses[Name];
}
