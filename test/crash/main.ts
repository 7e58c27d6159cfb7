// `npm run crash -- --kills 500 --results FILE [--seed S] [--per-round N]`: kills until there were as many, in rounds that are each
// judged. Ends at the first round after which the copy is wrong. Started again with the same file, seed and commit it goes on.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { commitHash } from '../support/commit.ts';
import { CrashGround } from '../support/crash-ground.ts';
import { seededRandom } from '../support/random.ts';
import { drawFault, inflict, type FaultKind } from './faults.ts';
import type { Operation } from './operation.ts';
import { appendRound, counted, faultsIn, isInnocent, readRounds, summaryOf, type Round } from './results.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '500' },
    results: { type: 'string', default: 'test-results/crash.jsonl' },
    seed: { type: 'string', default: '1' },
    'per-round': { type: 'string', default: '20' },
    rate: { type: 'string', default: '25' },
  },
});
const wanted = Number(values.kills);
const perRound = Number(values['per-round']);
const seed = Number(values.seed);
const file = values.results;
const commit = commitHash(join(import.meta.dirname, '../..'));

// Daemons and servers end with this process; a round that is cut off leaves no line and is done again.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

const rounds = readRounds(file, { commit, seed });
if (rounds.length > 0) say(`goes on behind round ${rounds.length}, ${faultsIn(rounds)} faults`);
await using ground = await CrashGround.create({ transactionsPerSecond: Number(values.rate) });

while (faultsIn(rounds) < wanted && rounds.every(({ verdict }) => isInnocent(verdict))) {
  const round = await runRound(rounds.length + 1, Math.min(perRound, wanted - faultsIn(rounds)));
  rounds.push(round);
  appendRound(file, round);
  say(`round ${round.round}: ${faultsIn([round])} faults, ${round.marks} transactions, ${round.effects} effects, ${round.seconds} s`);
}
say(`commit ${commit}, seed ${seed}\n${summaryOf(rounds)}`);
for (const { round, verdict } of rounds) if (!isInnocent(verdict)) say(`round ${round}: ${JSON.stringify(verdict, null, 2)}`);
if (!rounds.every(({ verdict }) => isInnocent(verdict))) {
  say(ground.daemon.log.slice(-100).join('\n'));
  process.exitCode = 1;
}

async function runRound(number: number, faultsWanted: number): Promise<Round> {
  // Of its own, so that a round is the same wherever a run was gone on with.
  const random = seededRandom(seed * 100_003 + number);
  const startedAt = new Date();
  const faults: FaultKind[] = [];
  const cut: Operation[] = [];
  const judgement = await ground.underLoad(random, async () => {
    for (let fault = 0; fault < faultsWanted; fault += 1) {
      const kind = drawFault(random);
      cut.push(...(await inflict(kind, ground, random)));
      faults.push(kind);
    }
  });
  return {
    commit,
    seed,
    round: number,
    startedAt: startedAt.toISOString(),
    seconds: Math.round((Date.now() - startedAt.getTime()) / 100) / 10,
    faults: counted(faults),
    cut: counted(cut),
    committed: ground.committed,
    ...judgement,
  };
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
