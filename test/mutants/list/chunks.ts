import { unit, type Mutant } from '../mutant.ts';

const shown = 'src/chunk/shown.ts';
const window = 'src/chunk/window.ts';

/** Rows that are read beside the stream: what a read has to show, what it leaves to the stream, and when it counts as done. */
export const chunkMutants: readonly Mutant[] = [
  {
    name: 'rows are read though a commit that was shown is not among them',
    file: shown,
    find: '    for (const other of this.#commits.values()) if (other <= commit) return false;\n',
    put: '',
    breaks: 'counterexample 7',
    suite: unit('chunk/shown', 'capture/load'),
  },
  {
    name: 'the next holder forgets what was shown and not seen',
    file: 'src/capture/chunks.ts',
    find: 'new ShownTransactions(unshownOf(checkpoint), options.shownMax)',
    put: 'new ShownTransactions(unshownOf(checkpoint) === null ? null : [], options.shownMax)',
    breaks: 'counterexample 7',
    suite: unit('capture/load'),
  },
  {
    name: 'a read waits for every commit that was shown',
    file: shown,
    find: 'if (other <= commit) return false;',
    put: 'if (other >= 0n) return false;',
    breaks: 'counterexample 22',
    suite: unit('chunk/shown'),
  },
  {
    name: 'a key of which only parts were shown is left to the log',
    file: window,
    find: "      else if (hot !== 'settled') whole.push(folded(row, hot));\n",
    put: '',
    breaks: 'counterexamples 2 and 23',
    suite: unit('chunk/window', 'capture/load'),
  },
  {
    name: 'a row is published as it was read though it changed meanwhile',
    file: window,
    find: 'if (hot === undefined) cold.push(row);',
    put: "if (hot === undefined || hot === 'settled') cold.push(row);",
    breaks: 'counterexample 7',
    suite: unit('chunk/window'),
  },
  {
    name: 'a load is open only behind the first watermark',
    file: 'src/capture/session.ts',
    find: '    await this.#chunks.open(signal);\n',
    put: '',
    breaks: 'A3, counterexample 24',
    suite: unit('capture/load'),
  },
  {
    name: 'a chunk counts as done while its records are on their way',
    file: 'src/capture/loads.ts',
    find: 'records <= this.#durable',
    put: 'records <= this.#durable || records > 0',
    breaks: 'C1',
    suite: unit('capture/load'),
  },
];
