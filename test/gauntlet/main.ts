// `npm run gauntlet -- --faults 1000 --results FILE [--seed S] [--per-round N] [--rate N]`: faults that overlap, of two daemons, their
// brokers, their servers and the network between them. What happened stands in FILE.trace; where something went wrong, the daemons' logs
// beside it.
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { GauntletGround } from '../support/gauntlet-ground.ts';
import { conclude, courseOf, runRounds, say } from '../support/rounds.ts';
import { tablesOf } from './results.ts';
import { runRound, type GauntletRound } from './round.ts';

const course = courseOf({ count: 'faults', faults: 1_000, rate: 10, file: 'test-results/gauntlet.jsonl' });
mkdirSync(dirname(course.file), { recursive: true });
await using ground = await GauntletGround.create({ transactionsPerSecond: course.transactionsPerSecond });

const tell = (text: string): void => appendFileSync(`${course.file}.trace`, `${new Date().toISOString()} ${text}\n`);
try {
  const rounds = await runRounds<GauntletRound>(course, (of) => runRound(ground, of, tell));
  if (!conclude(course, rounds, tablesOf(rounds))) keepLogs();
} catch (error) {
  keepLogs();
  throw error;
}

function keepLogs(): void {
  process.exitCode = 1;
  for (const [at, { log }] of ground.posts.entries()) {
    const file = `${course.file}.daemon-${at}.log`;
    writeFileSync(file, `${log.join('\n')}\n`);
    say(`the log of daemon ${at}: ${file}`);
  }
}
