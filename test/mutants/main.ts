// `npm run mutants [-- --only NAME | --sample N --seed S | --list] [--results FILE] [--workers N]`: breaks a copy of the last commit in one
// small way after the other, and runs the tests that must notice. Exit code 1 where one of them does not. Started again with the same
// file and commit it goes on with those that were not tried.
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { commitHash } from '../support/commit.ts';
import { seededRandom } from '../support/random.ts';
import { MutantCheckout, type Outcome } from './checkout.ts';
import { mutants } from './list.ts';
import type { Mutant } from './mutant.ts';

type Line = Pick<Outcome, 'seconds' | 'late'> & { readonly commit: string; readonly mutant: string; readonly outcome: Outcome['tag'] };

const { values } = parseArgs({
  options: {
    list: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    results: { type: 'string' },
    /** So many mutants at a time, each in a copy of its own. */
    workers: { type: 'string', default: '1' },
    /** Runs each suite without a mutant first, which shows a suite that fails or finds no test. */
    control: { type: 'boolean', default: false },
  },
});
const root = join(import.meta.dirname, '../..');

if (values.list) {
  for (const { name, breaks, file, suite } of mutants)
    say(`${name}\n    ${breaks}; ${file}; ${suite.files.join(', ')} ${suite.only ?? ''}`);
} else {
  process.exitCode = (await run(chosen())) ? 0 : 1;
}

function chosen(): readonly Mutant[] {
  if (values.only !== undefined) {
    const wanted = new Set(values.only);
    const found = mutants.filter(({ name }) => wanted.has(name));
    if (found.length !== wanted.size) throw new Error('--only names a mutant that is not in the list: see --list');
    return found;
  }
  if (values.sample === undefined) return mutants;
  // Those that start a server or simulate take longer, so that a fixed share leaves them out.
  const random = seededRandom(Number(values.seed));
  const shuffled = mutants
    .filter(({ suite }) => suite.project !== 'integration' && suite.project !== 'sim')
    .map((mutant) => ({ mutant, place: random() }))
    .sort((a, b) => a.place - b.place);
  return shuffled.slice(0, Number(values.sample)).map(({ mutant }) => mutant);
}

async function run(wanted: readonly Mutant[]): Promise<boolean> {
  // What is tried is the last commit, whatever stands in the working tree.
  const commit = commitHash(root).replace('+', '');
  const before = tried(commit);
  using copies = new DisposableStack();
  const checkouts = Array.from({ length: Number(values.workers) }, () => copies.use(new MutantCheckout(root, commit)));
  if (values.control) await control(checkouts, wanted);
  const left = wanted.filter(({ name }) => before.get(name) !== 'caught');
  let caught = wanted.length - left.length;
  await shareOut(checkouts, left, async (checkout, mutant) => {
    const { tag, late, seconds, output } = await checkout.try(mutant);
    if (tag === 'caught') caught += 1;
    say(`${tag.padEnd(8)} ${mutant.name} (${mutant.breaks}; ${seconds} s${late ? ', by a time-out' : ''})`);
    if (tag !== 'caught') say(output.trim().slice(-1_500));
    remember({ commit, mutant: mutant.name, outcome: tag, late, seconds });
  });
  say(`commit ${commit}: caught ${caught}/${wanted.length}`);
  return caught === wanted.length;
}

async function control(checkouts: readonly MutantCheckout[], wanted: readonly Mutant[]): Promise<void> {
  const suites = [...new Set(wanted.map(({ suite }) => JSON.stringify(suite)))];
  await shareOut(checkouts, suites, async (checkout, text) => {
    const { tests, output } = await checkout.passes(JSON.parse(text) as Mutant['suite']);
    if (!tests) throw new Error(`without any mutant ${text} does not pass, or holds no test:\n${output.slice(-3_000)}`);
  });
  say('every suite passes without a mutant');
}

/** Each copy takes the next one when it is done with its last. */
async function shareOut<Item>(
  checkouts: readonly MutantCheckout[],
  items: readonly Item[],
  take: (checkout: MutantCheckout, item: Item) => Promise<void>,
): Promise<void> {
  const next = items.values();
  await Promise.all(
    checkouts.map(async (checkout) => {
      for (const item of next) await take(checkout, item);
    }),
  );
}

function tried(commit: string): ReadonlyMap<string, Line['outcome']> {
  const file = values.results;
  if (file === undefined || !existsSync(file)) return new Map();
  const lines = readFileSync(file, 'utf8').split('\n');
  return new Map(
    lines
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line)
      .filter((line) => line.commit === commit)
      .map(({ mutant, outcome }) => [mutant, outcome]),
  );
}

function remember(line: Line): void {
  if (values.results === undefined) return;
  mkdirSync(dirname(values.results), { recursive: true });
  appendFileSync(values.results, `${JSON.stringify(line)}\n`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
