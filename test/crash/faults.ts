// The faults of a long crash run, each at a moment that the seed chose.
import { setTimeout as sleep } from 'node:timers/promises';
import type { CrashGround } from '../support/crash-ground.ts';
import { operations, operationsOf, type Operation } from './operation.ts';

/** How often each is drawn, in percent. */
const shares = {
  'kill of the daemon': 62,
  'kill of a daemon that comes up': 14,
  'kill of the source server': 6,
  'kill of the sink server': 6,
  'freeze of the daemon': 3,
  'freeze with a standby': 3,
  'termination of the walsender': 6,
} as const;

export type FaultKind = keyof typeof shares;

/** What a kill of the daemon is aimed at. It is taken as it comes where the aim is not met in time. */
const aims: readonly Operation[] = operations.filter(
  (operation) =>
    !['coming up', 'standing by', 'opening a generation', 'making tables', 'another statement at the sink'].includes(operation),
);
const aimWithinMs = 1_500;

export function drawFault(random: () => number): FaultKind {
  let left = random() * 100;
  for (const [kind, share] of Object.entries(shares)) {
    left -= share;
    if (left < 0) return kind as FaultKind;
  }
  return 'kill of the daemon';
}

/** Returns the operations that were cut, for a kill of the daemon; nothing otherwise. */
export async function inflict(kind: FaultKind, ground: CrashGround, random: () => number): Promise<readonly Operation[]> {
  if (kind !== 'kill of a daemon that comes up') await ground.untilMoving();
  await sleep(random() * (kind === 'kill of a daemon that comes up' ? 2_500 : 500));
  switch (kind) {
    case 'kill of the daemon':
      return await killAimed(ground, { aim: aims[Math.floor(random() * aims.length)] ?? null, random });
    case 'kill of a daemon that comes up':
      return await killAimed(ground, { aim: null, random });
    case 'kill of the source server':
      await ground.source.kill();
      await sleep(random() * 500);
      await ground.source.start();
      return [];
    case 'kill of the sink server':
      await ground.sink.kill();
      await sleep(random() * 500);
      await ground.sink.start();
      return [];
    case 'freeze of the daemon':
      await ground.freezeDaemon({ standby: false }, random);
      return [];
    case 'freeze with a standby':
      await ground.freezeDaemon({ standby: true }, random);
      return [];
    case 'termination of the walsender':
      await ground.terminateWalsenders();
      return [];
  }
}

/** Stops the daemon for a few milliseconds to see what it is at, lets it go on where that is not the aim, and kills it where it is. */
async function killAimed(
  ground: CrashGround,
  { aim, random }: { readonly aim: Operation | null; readonly random: () => number },
): Promise<readonly Operation[]> {
  const { daemon, folder } = ground;
  const source = await ground.source.connect('app');
  const sink = await ground.sink.connect('app');
  try {
    const deadlineMs = performance.now() + aimWithinMs;
    while (true) {
      const frozenAtMs = performance.now();
      daemon.freeze();
      const cut = await operationsOf({ daemon, folder, source, sink, frozenAtMs });
      if (aim === null || cut.includes(aim) || performance.now() > deadlineMs) {
        await ground.killDaemon();
        return cut;
      }
      daemon.thaw();
      await sleep(random() * 20);
    }
  } finally {
    await source.end();
    await sink.end();
  }
}
