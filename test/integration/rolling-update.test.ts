// Two daemons go over to another release, one after the other, and back, under load and without a stop. What it shows and what not stands
// in docs/upgrade.md. CAUSEWAY_TEST_SEED repeats the load of a run.
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { innocent } from '../support/accounting.ts';
import { otherRelease, thisRelease } from '../support/other-release.ts';
import { seededRandom } from '../support/random.ts';
import { RollingGround } from '../support/rolling-ground.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { tempFolder } from '../support/temp-folder.ts';

const seed = Number(process.env['CAUSEWAY_TEST_SEED'] ?? Math.floor(Math.random() * 1_000_000));
/** On a machine that does other things as well. */
const withinMs = 600_000;

describeShared('kafka', `a rolling update, seed ${seed}`, () => {
  test(
    'two daemons go over to another release and back, one hands over when it is asked to, and the copy is right',
    { timeout: withinMs },
    async () => {
      using folder = tempFolder();
      const [from, to] = [thisRelease(), otherRelease(folder.path)];
      const { brokers } = await sharedService('kafka');
      const topic = `rolling-${randomBytes(4).toString('hex')}`;
      await using ground = await RollingGround.create({ brokers, topic, release: from, transactionsPerSecond: 10 });
      const captured: string[] = [];
      const { verdict, marks, effects } = await ground.underLoad(seededRandom(seed), async () => {
        captured.push((await ground.moving()).version);
        for (const [which, release] of [
          [0, to],
          [1, to],
          [0, from],
          [1, from],
        ] as const) {
          await ground.replace(which, release);
          captured.push((await ground.moving()).version);
        }
        const { which } = await ground.moving();
        const asked = await ground.stepDown();
        expect(asked.code, asked.err).toBe(0);
        expect((await ground.moving()).which).toBe(1 - which);
      });
      expect(verdict).toEqual(innocent);
      expect(new Set(captured)).toEqual(new Set([from.version, to.version]));
      expect(marks).toBeGreaterThan(50);
      expect(effects).toBeGreaterThan(marks);
    },
  );
});
