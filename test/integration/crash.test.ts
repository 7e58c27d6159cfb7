// Real crashes under load: the daemon, the servers and the connections between them are killed and frozen while writers go on.
// CAUSEWAY_TEST_SEED repeats a run's moments, as far as real processes can repeat anything. `npm run crash` does it for longer.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { innocent } from '../support/accounting.ts';
import { CrashGround } from '../support/crash-ground.ts';
import { seededRandom } from '../support/random.ts';

const seed = Number(process.env['CAUSEWAY_TEST_SEED'] ?? Math.floor(Math.random() * 1_000_000));
/** Of one test, on a machine that does other things as well: a run that is let go would go on into the next test. */
const testWithinMs = 300_000;

describe(`crashes under load, seed ${seed}`, { timeout: testWithinMs }, () => {
  const random = seededRandom(seed);
  let ground: CrashGround;

  beforeAll(async () => {
    ground = await CrashGround.create({ transactionsPerSecond: 25 });
  });

  afterAll(async () => {
    await ground[Symbol.asyncDispose]();
  });

  test('six kills of the daemon', async () => {
    await isRightAfter(async () => {
      for (let kill = 0; kill < 6; kill += 1) {
        // Every second one hits a daemon that is still starting, or waits for the lease of the one before, or has just begun.
        const isUp = kill % 2 === 0;
        if (isUp) await ground.untilMoving();
        await somewhen(isUp ? 600 : 2_500);
        await ground.killDaemon();
      }
    });
  });

  test('two kills of the source server', async () => {
    await isRightAfter(async () => {
      for (let kill = 0; kill < 2; kill += 1) {
        await ground.untilMoving();
        await somewhen(500);
        await ground.source.kill();
        await somewhen(500);
        await ground.source.start();
      }
    });
  });

  test('two kills of the sink server', async () => {
    await isRightAfter(async () => {
      for (let kill = 0; kill < 2; kill += 1) {
        await ground.untilMoving();
        await somewhen(500);
        await ground.sink.kill();
        await somewhen(500);
        await ground.sink.start();
      }
    });
  });

  test('two freezes of the daemon, longer than its lease, one with another that takes over', async () => {
    await isRightAfter(async () => {
      for (let freeze = 0; freeze < 2; freeze += 1) {
        await ground.untilMoving();
        await somewhen(500);
        await ground.freezeDaemon({ standby: freeze % 2 === 0 }, random);
      }
    });
  });

  test('two walsenders terminated', async () => {
    await isRightAfter(async () => {
      for (let kill = 0; kill < 2; kill += 1) {
        await ground.untilMoving();
        await somewhen(500);
        expect(await ground.terminateWalsenders()).toBeGreaterThan(0);
      }
    });
  });

  async function isRightAfter(faults: () => Promise<void>): Promise<void> {
    const before = ground.committed;
    const { verdict, marks, effects } = await ground.underLoad(random, faults);
    expect(ground.committed).toBeGreaterThan(before + 20);
    expect(verdict, ground.daemon.log.slice(-40).join('\n')).toEqual(innocent);
    expect(marks).toBeGreaterThanOrEqual(ground.committed);
    expect(effects).toBeGreaterThan(marks);
  }

  async function somewhen(withinMs: number): Promise<void> {
    await sleep(random() * withinMs);
  }
});
