// `npm run fuzz -- --inputs N --seed S [--target NAME]`: gives damaged input to everything that reads what others wrote. An input that is
// not answered with a clean end or an error with a code is added to the corpus; then the exit code is 1.
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect, parseArgs } from 'node:util';
import { commitHash } from '../support/commit.ts';
import { Chance } from './chance.ts';
import { addToCorpus, readCorpus } from './corpus.ts';
import { judged, type Failure } from './judge.ts';
import { openTargets } from './targets.ts';
import type { Target } from './target.ts';
import { Watchdog } from './watchdog.ts';

const { values } = parseArgs({
  options: { inputs: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' }, target: { type: 'string' } },
});
const seed = Number(values.seed);
const failuresMax = 20;
/** Of this process, whatever it is given. */
const rssBytesMax = 1024 ** 3;

const opened = await openTargets();
const isWanted = ({ name }: Target): boolean => values.target === undefined || name === values.target;
const targets = opened.filter(isWanted);
// One that is left open, like a server that listens, would keep the process.
for (const target of opened) if (!isWanted(target)) await target[Symbol.asyncDispose]();
if (targets.length === 0) throw new Error('--target names no target');
const weights = targets.reduce((sum, { weight }) => sum + weight, 0);
const startedMs = performance.now();
const unhandled: unknown[] = [];
process.on('unhandledRejection', (error) => unhandled.push(error));
process.on('uncaughtException', (error) => unhandled.push(error));

await using watchdog = new Watchdog(join(tmpdir(), `causeway-fuzz-hang-${process.pid}.hex`));
let failures = 0;
let peakBytes = 0;
let given = 0;
try {
  for (const target of targets) await fuzz(target);
} catch (error) {
  // A defect of what makes the inputs, not of what they are given to: nothing more can be told.
  say(inspect(error));
  process.exit(2);
}
for (const error of unhandled) {
  failures += 1;
  say(`an error that nobody waited for: ${String(error)}`);
}
say(
  `commit ${commitHash(join(import.meta.dirname, '../..'))}, seed ${seed}: ${given} inputs in ` +
    `${Math.round((performance.now() - startedMs) / 1_000)} s, ${failures} failures, ${Math.round(peakBytes / 1024 ** 2)} MB at most`,
);
process.exitCode = failures === 0 ? 0 : 1;

async function fuzz(target: Target): Promise<void> {
  const inputs = Math.ceil((Number(values.inputs) * target.weight) / weights);
  const targetStartedMs = performance.now();
  for (const { input } of readCorpus(target)) {
    watchdog.begins(input);
    report(target, await judged(target, input), false);
  }
  let number = 0;
  for (; number < inputs && failures < failuresMax; number += 1) {
    // Each input has a seed of its own, so that one can be made again without those before it.
    const input = target.make(new Chance(seed * 1_000_003 + number));
    watchdog.begins(input);
    report(target, await judged(target, input), true);
    if (number % 500 === 0) watchMemory(target);
  }
  given += number;
  say(`${target.name}: ${number} inputs in ${Math.round((performance.now() - targetStartedMs) / 1_000)} s`);
  await target[Symbol.asyncDispose]();
}

function report(target: Target, failure: Failure | null, isNew: boolean): void {
  if (failure === null) return;
  failures += 1;
  say(`${failure.target}: ${failure.what}\n    ${isNew ? addToCorpus(target, failure.input) : failure.input.toString('hex')}`);
}

function watchMemory(target: Target): void {
  const { rss } = process.memoryUsage();
  peakBytes = Math.max(peakBytes, rss);
  if (rss <= rssBytesMax) return;
  failures += failuresMax;
  say(`${target.name}: the process takes ${Math.round(rss / 1024 ** 2)} MB`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
