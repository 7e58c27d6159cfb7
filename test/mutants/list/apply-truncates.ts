import { unit, type Mutant } from '../mutant.ts';

const hold = 'src/apply/hold.ts';
const standing = 'src/apply/standing.ts';
const sweeper = 'src/apply/sweeper.ts';

/** Truncates: their floors, and the sweep that they wait for. */
export const applyTruncateMutants: readonly Mutant[] = [
  {
    name: 'nobody looks whether a truncate can be swept until the next look that is due',
    file: 'src/apply/hold.ts',
    find: "if (step.record.tag === 'truncate') context.truncates.ring();",
    put: '',
    breaks: 'a truncate that is finished soon',
    suite: unit('apply/truncate'),
  },
  {
    name: 'a truncate of a table that nobody shows any more ends the process',
    file: 'src/apply/sweeper.ts',
    find: 'if (schema === null) {',
    put: "if (schema === null) {\n        throw new Error('a truncated table has a schema');",
    breaks: 'O4, section 5: a control store that was lost',
    suite: unit('apply/truncate'),
  },
  {
    name: 'a batch crosses a control record',
    file: hold,
    find: 'await this.#flush();\n        await this.#alone(step.record, step.bytes);',
    put: 'await this.#alone(step.record, step.bytes);',
    breaks: 'A1, counterexample 3',
    suite: unit('apply/truncate', 'apply/dead-letter', 'apply/crash'),
  },
  {
    name: 'the floor of a truncate is ignored',
    file: standing,
    find: 'return floor !== null && sequence <= floor;',
    put: 'return false;',
    breaks: 'A1 A2, counterexample 3',
    suite: unit('apply/truncate'),
  },
  {
    name: 'the floor of a truncate is not stored',
    file: standing,
    find: 'floors: [...this.#floors].flatMap(([table, sequences]) => sequences.map((sequence) => ({ table, sequence }))),',
    put: 'floors: [],',
    breaks: 'A1 A2, counterexample 3',
    suite: unit('apply/truncate'),
  },
  {
    name: 'a floor releases no parked key',
    file: hold,
    find: 'this.#standing.raiseFloor(record.table, record.sequence, context.swept.get(record.table));\n        await this.#parking.releaseBelowFloors();',
    put: 'this.#standing.raiseFloor(record.table, record.sequence, context.swept.get(record.table));',
    breaks: 'A6',
    suite: unit('apply/truncate'),
  },
  {
    name: 'a key that a truncate releases is left without a tombstone',
    file: 'src/apply/parking.ts',
    find: 'await this.#bury(below);',
    put: '',
    breaks: 'A2, counterexample 3',
    suite: unit('apply/dead-letter'),
  },
  {
    name: 'sweep without waiting for the other partitions',
    file: sweeper,
    find: 'if (!passed) continue;',
    put: '',
    breaks: 'A1, counterexample 3',
    suite: unit('apply/truncate'),
  },
  {
    name: 'the position passes a truncate that is not swept',
    file: 'src/apply/position.ts',
    find: 'if (found === null || input.pending.some((floor) => floor.sequence <= found.sequence)) return input.reported;',
    put: 'if (found === null) return input.reported;',
    breaks: 'A3, counterexample 3',
    suite: unit('apply/truncate'),
  },
  {
    name: 'sweeps that a sink which went back has lost count as done',
    file: 'src/apply/worker.ts',
    find: 'this.#context.swept = new Map();',
    put: '',
    breaks: 'A3',
    suite: unit('apply/truncate'),
  },
  {
    name: 'floors whose sweep is done are kept',
    file: standing,
    find: 'const owed = swept === undefined ? passed : passed.filter((older) => older > swept);',
    put: 'const owed = swept === undefined ? passed : passed.filter((older) => older !== swept || older === passed[0]);',
    breaks: 'O2',
    suite: unit('apply/position'),
  },
  {
    name: 'a sink that goes back while it is swept stops',
    file: sweeper,
    find: "if (!passesByItself(error) && codeOf(error) !== 'sink_went_back') throw error;",
    put: 'if (!passesByItself(error)) throw error;',
    breaks: 'section 4, counterexamples 3 and 20',
    suite: unit('apply/truncate'),
  },
];
