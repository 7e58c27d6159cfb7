import { unit, type Mutant } from '../mutant.ts';

const change = 'src/cli/lease-change.ts';
const keeper = 'src/lease/keeper.ts';
const standby = 'src/lease/standby.ts';
const stepDown = 'src/runtime/step-down.ts';
const pipeline = 'src/runtime/pipeline.ts';

const cli = unit('cli/lease');
const lease = unit('lease/lease');
const runtime = unit('runtime/step-down');

/** Holding, standing by, handing over, and the commands of a lease. */
export const leaseMutants: readonly Mutant[] = [
  {
    name: 'the deadline is reckoned from after the request',
    file: keeper,
    find: 'this.#deadline = this.#deadlineOf(requestedAt);',
    put: 'this.#deadline = this.#deadlineOf(runtime.monotonicMs());',
    breaks: 'section 5, deadlines',
    suite: lease,
  },
  {
    name: 'the deadline of a renewal whose reply was lost is moved',
    file: keeper,
    find: 'this.#row = current;\n',
    put: 'this.#row = current; this.#deadline = this.#deadlineOf(runtime.monotonicMs());\n',
    breaks: 'section 5, deadlines',
    suite: lease,
  },
  {
    name: 'a lease that was lost to another is held on',
    file: keeper,
    find: 'if (swap.current === null || current === null || !this.#isOwn(current)) {',
    put: 'if (swap.current === null || current === null) {',
    breaks: 'C6',
    suite: lease,
  },
  {
    name: 'a lease ends only when the control store says so',
    file: keeper,
    find: "this.#finish({ tag: 'expired' });\n        return;",
    put: 'return;',
    breaks: 'section 5, deadlines',
    suite: lease,
  },
  {
    name: 'a take-over leaves the token as it was',
    file: standby,
    find: 'fencingTokenOf((over.row?.token ?? 0) + 1)',
    put: 'fencingTokenOf(over.row?.token ?? 1)',
    breaks: 'C6, counterexample 32',
    suite: lease,
  },
  {
    name: 'a release lets the token start again',
    file: keeper,
    find: 'const value: LeaseRow = { ...this.#row, holder: null, describedAs: null };',
    put: 'const value = { ...this.#row, token: 0, holder: null, describedAs: null };',
    breaks: 'C6, counterexample 32',
    suite: lease,
  },
  {
    name: 'any row is taken for that of the own former life',
    file: standby,
    find: 'if (row.holder === formerHolder) return true;',
    put: 'if (formerHolder !== null) return true;',
    breaks: 'section 5, capture lease',
    suite: lease,
  },
  {
    name: 'a lease is taken before its ttl is over',
    file: standby,
    find: 'return now - seen.since >= row.ttlMs;',
    put: 'return true;',
    breaks: 'section 5, capture lease',
    suite: lease,
  },
  {
    name: 'a lease that is broken lets its token start again',
    file: change,
    find: 'return { ...row, holder: null, describedAs: null };',
    put: 'return { ...row, token: 0 as LeaseRow["token"], holder: null, describedAs: null };',
    breaks: 'C6, counterexample 32',
    suite: cli,
  },
  {
    name: "a living holder's lease is broken without --force",
    file: change,
    find: 'seen.movedAt === null\n',
    put: 'true\n',
    breaks: 'section 5, capture lease',
    suite: cli,
  },
  {
    name: 'a step-down after which the same daemon holds the lease is told as a success',
    file: change,
    find: 'return NOT_TO_BE_HAD;',
    put: 'return 0;',
    breaks: 'section 12, exit codes',
    suite: cli,
  },
  {
    name: 'a request to an earlier generation makes the holder step down',
    file: stepDown,
    find: ' && (request.args as StepDownArgs).generation === generation',
    put: '',
    breaks: 'section 12, commands',
    suite: runtime,
  },
  {
    name: 'a request to step down is never answered',
    file: stepDown,
    find: "state: 'done', result:",
    put: "state: 'pending', result:",
    breaks: 'section 12, commands',
    suite: runtime,
  },
  {
    name: 'whoever stands aside takes the lease before another can',
    file: pipeline,
    find: ' && !paused && !state.aside);',
    put: ' && !paused);',
    breaks: 'section 5, capture lease',
    suite: runtime,
  },
  {
    name: 'whoever stands aside goes on applying',
    file: pipeline,
    find: 'else if (other || state.aside) leading',
    put: 'else if (other) leading',
    breaks: 'A3',
    suite: runtime,
  },
  {
    name: 'a standby looks once a second, which is half of what a clean hand-over may take',
    file: standby,
    find: 'const POLL_MS_MAX = 500;',
    put: 'const POLL_MS_MAX = 1_000;',
    breaks: 'hand-over within two seconds',
    suite: lease,
  },
  {
    name: 'a standby sleeps past the end of the lease that it waits for',
    file: standby,
    find: 'waitMs = Math.min(pollMs, Math.max(1, seen.since + row.ttlMs - now));',
    put: 'waitMs = pollMs;',
    breaks: 'take-over within ttl and two seconds',
    suite: lease,
  },
  {
    name: 'the last renewal alone is measured',
    file: 'src/cli/check-control.ts',
    find: 'elapsedMs = Math.max(elapsedMs, runtime.monotonicMs() - startedAt);',
    put: 'elapsedMs = runtime.monotonicMs() - startedAt;',
    breaks: 'G-006',
    suite: unit('cli/command-line'),
  },
  {
    name: 'a control store that ends with its machine is not warned of',
    file: 'src/cli/check-control.ts',
    find: 'if (own === undefined) return machineFindings(config);',
    put: 'if (own === undefined) return [];',
    breaks: 'G-007',
    suite: unit('cli/command-line'),
  },
  {
    name: 'a partition that another process has taken is counted as applied here',
    file: 'src/runtime/consumer-lag.ts',
    find: "state !== 'fenced'",
    put: 'state !== null',
    breaks: 'status',
    suite: unit('runtime/consumer-lag'),
  },
  {
    name: 'a partition of which the lag is not known counts as not behind',
    file: 'src/runtime/consumer-lag.ts',
    find: 'if (lagRecords === null) return null;',
    put: 'if (lagRecords === null) continue;',
    breaks: 'status',
    suite: unit('runtime/consumer-lag'),
  },
];
