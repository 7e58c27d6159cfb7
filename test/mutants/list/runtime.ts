import { unit, type Mutant } from '../mutant.ts';

const waits = unit('runtime/pipeline-waits');

/** What an operator is told. */
export const runtimeMutants: readonly Mutant[] = [
  {
    name: 'a full log is not told as the reason',
    file: 'src/runtime/pipeline.ts',
    find: 'if (state.logUsage?.stalled !== true) state.logFull.clear();',
    put: 'if (state.logUsage !== undefined) state.logFull.clear();',
    breaks: 'DESIGN section 5, what fails how',
    suite: waits,
  },
  {
    name: 'a log that has room again is still told as full',
    file: 'src/runtime/pipeline.ts',
    find: 'if (state.logUsage?.stalled !== true) state.logFull.clear();',
    put: 'if (state.logUsage?.stalled !== true) void 0;',
    breaks: 'DESIGN section 5, what fails how',
    suite: waits,
  },
  {
    name: 'why the source is tried again is not told',
    file: 'src/runtime/pipeline-status.ts',
    find: 'return troubleOf(state.code, state.message, stateSinceWallMs);',
    put: 'return null;',
    breaks: 'DESIGN section 5, what fails how',
    suite: waits,
  },
  {
    name: 'each attempt begins its state anew',
    file: 'src/runtime/capture-view.ts',
    find: 'if (view.state?.tag !== state.tag) {',
    put: 'if (view.state !== state) {',
    breaks: 'DESIGN section 5, what fails how',
    suite: waits,
  },
  {
    name: 'a sink that answers again is still told as waited for',
    file: 'src/apply/ride-out.ts',
    find: 'deps.observer.waiting(call, null);',
    put: '',
    breaks: 'DESIGN section 5, what fails how',
    suite: waits,
  },
  {
    name: 'each attempt is a log line',
    file: 'src/runtime/reminder.ts',
    find: 'if (nowMs - met.saidMs < AGAIN_AFTER_MS) return false;',
    put: '',
    breaks: 'STYLE, wrap with cause and log once',
    suite: waits,
  },
  {
    name: 'a first start looks for a log that is not there yet',
    file: 'src/apply/sink-row.ts',
    find: 'const ends = await endsSoFar(deps, signal);',
    put: 'const ends = await deps.log.ends(signal);',
    breaks: 'STYLE, wrap with cause and log once',
    suite: waits,
  },
  {
    name: 'each partition tells of the same approval',
    file: 'src/apply/schema-gate.ts',
    find: 'this.#told.add(`${schema.table} ${schema.version}`);',
    put: '',
    breaks: 'STYLE, wrap with cause and log once',
    suite: unit('apply/schema'),
  },
];
