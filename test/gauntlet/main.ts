// `npm run gauntlet -- --faults 1000 --results FILE [--sink KIND] [--seed S] [--per-round N] [--rate N]`: faults that overlap, of two
// daemons, their brokers, their servers and the network between them. What happened stands in FILE.trace; where something went wrong, or took long, the
// daemons' logs beside it.
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { GauntletGround } from '../support/gauntlet-ground.ts';
import { sinkKinds } from '../support/gauntlet-sink.ts';
import { conclude, courseOf, runRounds, say } from '../support/rounds.ts';
import { tablesOf } from './results.ts';
import { runRound, type GauntletRound } from './round.ts';

/** What takes longer to recover from is to be explained by the daemons' logs. */
const slowMs = 30_000;

const course = courseOf({ count: 'faults', sinks: sinkKinds, faults: 1_000, rate: 10, file: 'test-results/gauntlet.jsonl' });
mkdirSync(dirname(course.file), { recursive: true });
await using ground = await GauntletGround.create({ sink: course.sink, transactionsPerSecond: course.transactionsPerSecond });

const tell = (text: string): void => appendFileSync(`${course.file}.trace`, `${new Date().toISOString()} ${text}\n`);
try {
  const rounds = await runRounds<GauntletRound>(course, async (of) => {
    const told = await runRound(ground, of, tell);
    if (Object.values(told.recoveries).some((times) => times.some((ms) => ms > slowMs))) keepLogs(`slow-${Date.now()}.`);
    return told;
  });
  if (!conclude(course, rounds, tablesOf(rounds))) {
    process.exitCode = 1;
    keepLogs('');
    await keepEvidence();
  }
} catch (error) {
  keepLogs('');
  throw error;
}

function keepLogs(name: string): void {
  for (const [at, { log }] of ground.posts.entries()) {
    const file = `${course.file}.${name}daemon-${at}.log`;
    writeFileSync(file, `${log.join('\n')}\n`);
    say(`the log of daemon ${at}: ${file}`);
  }
}

async function keepEvidence(): Promise<void> {
  const lines = await ground.servers.sink.evidence?.();
  if (lines === undefined) return;
  const file = `${course.file}.evidence.jsonl`;
  writeFileSync(file, `${lines.join('\n')}\n`);
  say(`what the sink acknowledged, and what took effect there: ${file}`);
}
