// A short gauntlet: two daemons, three brokers, a source, a sink and a control store under faults that overlap. CAUSEWAY_TEST_SEED repeats
// its faults, as far as real processes can repeat anything. `npm run gauntlet` does it for longer.
import { expect, test } from 'vitest';
import { innocent } from '../support/accounting.ts';
import { GauntletGround } from '../support/gauntlet-ground.ts';
import { seededRandom } from '../support/random.ts';
import { faultsIn } from '../support/rounds.ts';
import { describeOwn } from '../support/services.ts';
import { brokenPromises } from '../gauntlet/faults.ts';
import { runRound } from '../gauntlet/round.ts';

const seed = Number(process.env['CAUSEWAY_TEST_SEED'] ?? Math.floor(Math.random() * 1_000_000));
const faults = 4;
/** On a machine that does other things as well. */
const withinMs = 600_000;

describeOwn('kafka', `the gauntlet, seed ${seed}`, () => {
  test('two daemons and everything around them are struck at once, and the copy is right', { timeout: withinMs }, async () => {
    await using ground = await GauntletGround.create({ transactionsPerSecond: 10 });
    const happened: string[] = [];
    const wanted = { random: seededRandom(seed), faultsWanted: faults, first: brokenPromises };
    const round = await runRound(ground, wanted, (text) => happened.push(text));
    const logs = ground.posts.map(({ log }) => log.slice(-40).join('\n')).join('\n\n');
    expect(round.verdict, `${happened.join('\n')}\n${logs}`).toEqual({ ...innocent, defects: [] });
    expect(faultsIn([round])).toBeGreaterThanOrEqual(faults);
    expect(round.committed).toBeGreaterThan(50);
    expect(round.marks).toBeGreaterThanOrEqual(round.committed);
    expect(round.effects).toBeGreaterThan(round.marks);
  });
});
