// `npm run crash -- --kills 500 --results FILE [--seed S] [--per-round N] [--rate N]`: faults of one daemon and of its servers.
import { CrashGround } from '../support/crash-ground.ts';
import { conclude, counted, courseOf, runRounds, say, sumOf, table, type Counts, type Round } from '../support/rounds.ts';
import { drawFault, inflict, type FaultKind } from './faults.ts';
import type { Operation } from './operation.ts';

type CrashRound = Round & {
  /** Operations of the daemon that a kill cut. A kill can cut several at once. */
  readonly cut: Counts;
};

const course = courseOf({ count: 'kills', sinks: ['postgres'], faults: 500, rate: 25, file: 'test-results/crash.jsonl' });
await using ground = await CrashGround.create({ transactionsPerSecond: course.transactionsPerSecond });

const rounds = await runRounds<CrashRound>(course, async ({ random, faultsWanted }) => {
  const faults: FaultKind[] = [];
  const cut: Operation[] = [];
  const judgement = await ground.underLoad(random, async () => {
    for (let fault = 0; fault < faultsWanted; fault += 1) {
      const kind = drawFault(random);
      cut.push(...(await inflict(kind, ground, random)));
      faults.push(kind);
    }
  });
  return { faults: counted(faults), cut: counted(cut), committed: ground.committed, ...judgement };
});
const tables = [
  ...table(['fault', 'times'], sumOf(rounds.map(({ faults }) => faults))),
  '',
  ...table(['operation that a kill of the daemon cut', 'times'], sumOf(rounds.map(({ cut }) => cut))),
];
if (!conclude(course, rounds, tables)) {
  say(ground.daemon.log.slice(-100).join('\n'));
  process.exitCode = 1;
}
