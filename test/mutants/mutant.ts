/** A text of the product and what stands there instead. The text is found exactly once in its file. */
export type Edit = { readonly find: string; readonly put: string };

/** A small breakage of the product that a test has to notice. */
export type Mutant = Edit & {
  readonly name: string;
  readonly file: string;
  /** Further places of the same file. */
  readonly also?: readonly Edit[];
  /** Invariants and counterexamples by their numbers. */
  readonly breaks: string;
  /** What must go red. */
  readonly suite: Suite;
};

export type Suite = {
  readonly project: 'unit' | 'contract' | 'sim' | 'integration';
  readonly files: readonly string[];
  /** A pattern of test names, where the files hold far more than is needed. */
  readonly only?: string;
};

export function unit(...files: readonly string[]): Suite {
  return { project: 'unit', files: files.map((file) => `test/${file}.test.ts`) };
}

export function contract(file: string, only?: string): Suite {
  return suite('contract', `test/contract/${file}.test.ts`, only);
}

/** Starts a real server. */
export function integration(file: string, only?: string): Suite {
  return suite('integration', `test/integration/${file}.test.ts`, only);
}

/** One of the schedules that were written out. */
export function schedule(only: string): Suite {
  return suite('sim', 'test/sim/schedules.test.ts', only);
}

/** One of those of a log that shares its partitions out. */
export function sharedSchedule(only: string): Suite {
  return suite('sim', 'test/sim/shared-schedules.test.ts', only);
}

/** One of those of a sink that takes a batch row by row. */
export function rowwiseSchedule(only: string): Suite {
  return suite('sim', 'test/sim/rowwise-schedules.test.ts', only);
}

/** One of those of loads beside the stream. */
export function loadSchedule(only: string): Suite {
  return suite('sim', 'test/sim/load-schedules.test.ts', only);
}

/** Seeds of the simulator. */
export function simulation(): Suite {
  return suite('sim', 'test/sim/sim.test.ts', 'keep every invariant');
}

function suite(project: Suite['project'], file: string, only: string | undefined): Suite {
  return only === undefined ? { project, files: [file] } : { project, files: [file], only };
}

/** The changed text; an error where a text to be found is not there exactly once. */
export function mutate(mutant: Mutant, text: string): string {
  return [mutant, ...(mutant.also ?? [])].reduce((changed, { find, put }) => {
    const parts = changed.split(find);
    if (parts.length !== 2)
      throw new Error(`${mutant.name}: its text stands ${parts.length - 1} times in ${mutant.file}, instead of once:\n${find}`);
    return parts.join(put);
  }, text);
}
