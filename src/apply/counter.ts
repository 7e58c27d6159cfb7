import { CausewayError } from '#core/errors.ts';
import type { FencingToken } from '#core/position.ts';
import { comparePairs } from '#core/record.ts';
import type { CounterPair, LogRecord } from '#core/record.ts';

/** Where a reader stands in a partition's dense counters. */
export type CounterState = {
  readonly generation: FencingToken;
  /** Null until a record of the generation was read, where progress did not keep it. */
  readonly holder: string | null;
  /** Null for a new sink: the first record of the generation or a later one sets it. */
  readonly counter: number | null;
};

export type Admission =
  | { readonly tag: 'next'; readonly state: CounterState }
  /** Sent again: seen before, passed over. */
  | { readonly tag: 'repeated' }
  /** Of a generation that was superseded in this partition: it changes nothing. */
  | { readonly tag: 'fenced' };

const REPEATED: Admission = { tag: 'repeated' };
const FENCED: Admission = { tag: 'fenced' };

/** `startGeneration` counts only where there is no pair. */
export function counterStateOf(input: {
  readonly pair: CounterPair | null;
  readonly holder: string | null;
  readonly startGeneration: FencingToken;
}): CounterState {
  if (input.pair === null) return { generation: input.startGeneration, holder: null, counter: null };
  return { generation: input.pair.generation, holder: input.holder, counter: input.pair.counter };
}

export function pairOf(state: CounterState): CounterPair | null {
  return state.counter === null ? null : { generation: state.generation, counter: state.counter };
}

/**
 * Decides whether a record is the one that has to come next. Throws `log_gap` where records are missing before it, and
 * `generation_behind` where two holders were given one generation.
 */
export function admit(state: CounterState, record: LogRecord): Admission {
  if (record.generation < state.generation) return FENCED;
  if (record.generation > state.generation) return { tag: 'next', state: enterGeneration(state, record) };
  if (state.holder !== null && record.holder !== state.holder) {
    throw new CausewayError(
      'generation_behind',
      `generation ${record.generation} was given out twice: the log holds records of the holders ${state.holder} and ${record.holder}`,
    );
  }
  if (state.counter !== null) {
    if (record.counter <= state.counter) return REPEATED;
    if (record.counter !== state.counter + 1) {
      throw new CausewayError(
        'log_gap',
        `counter ${record.counter} of generation ${record.generation} follows ${state.counter}: records are missing in between`,
      );
    }
  }
  return { tag: 'next', state: { generation: record.generation, holder: record.holder, counter: record.counter } };
}

function enterGeneration(state: CounterState, record: LogRecord): CounterState {
  const entered = { generation: record.generation, holder: record.holder, counter: record.counter };
  // A sink whose start offsets were taken while a generation opened can stand behind the opening.
  if (state.counter === null) return entered;
  if (record.tag !== 'generation-open' || record.counter !== 1) {
    throw new CausewayError('log_gap', `generation ${record.generation} begins with counter ${record.counter}: its opening is missing`);
  }
  const acknowledged = record.acknowledged;
  if (acknowledged !== null && comparePairs(acknowledged, { generation: state.generation, counter: state.counter }) > 0) {
    throw new CausewayError(
      'log_gap',
      `generation ${record.generation} follows on generation ${acknowledged.generation}, counter ${acknowledged.counter}, ` +
        `but the partition ends at generation ${state.generation}, counter ${state.counter}: a tail is missing`,
    );
  }
  return entered;
}
