import { describe, expect, it } from 'vitest';
import { codeOf } from '#core/errors.ts';
import { epochOf, fencingTokenOf } from '#core/position.ts';
import type { CounterPair, LogRecord } from '#core/record.ts';
import { admit, counterStateOf, type CounterState } from '../../src/apply/counter.ts';
import { watermark } from './stage.ts';

const state = (generation: number, counter: number | null, holder: string | null = 'h'): CounterState => ({
  generation: fencingTokenOf(generation),
  holder,
  counter,
});
const record = (generation: number, counter: number, holder = 'h'): LogRecord => ({
  ...watermark(1),
  generation: fencingTokenOf(generation),
  counter,
  holder,
});
const opening = (generation: number, acknowledged: CounterPair | null, counter = 1): LogRecord => ({
  tag: 'generation-open',
  generation: fencingTokenOf(generation),
  holder: 'new',
  counter,
  epoch: epochOf(1),
  fork: 0n,
  partitions: 1,
  acknowledged,
});
const pair = (generation: number, counter: number): CounterPair => ({ generation: fencingTokenOf(generation), counter });

function codeThrown(from: CounterState, next: LogRecord): string {
  try {
    return admit(from, next).tag;
  } catch (error) {
    return codeOf(error);
  }
}

describe('dense counters', () => {
  it('take the next, skip what was seen, stop at a gap', () => {
    expect(admit(state(5, 7), record(5, 8))).toEqual({ tag: 'next', state: state(5, 8) });
    expect(codeThrown(state(5, 7), record(5, 7))).toBe('repeated');
    expect(codeThrown(state(5, 7), record(5, 1))).toBe('repeated');
    expect(codeThrown(state(5, 7), record(5, 9))).toBe('log_gap');
  });

  it('let a lower generation change nothing, also where its counter would be next', () => {
    expect(codeThrown(state(6, 7), record(5, 8))).toBe('fenced');
    expect(codeThrown(state(6, null), record(5, 1))).toBe('fenced');
  });

  it('stop at another holder of the same generation, seen or next', () => {
    expect(codeThrown(state(5, 7), record(5, 8, 'other'))).toBe('generation_behind');
    expect(codeThrown(state(5, 7), record(5, 1, 'other'))).toBe('generation_behind');
    expect(codeThrown(state(5, 7, null), record(5, 8, 'other'))).toBe('next');
  });

  it('enter a generation through its opening, if nothing that was acknowledged is missing', () => {
    expect(admit(state(5, 7), opening(6, pair(5, 7)))).toEqual({ tag: 'next', state: state(6, 1, 'new') });
    expect(codeThrown(state(5, 7), opening(9, pair(5, 3)))).toBe('next');
    expect(codeThrown(state(5, 7), opening(9, pair(4, 99)))).toBe('next');
    expect(codeThrown(state(5, 7), opening(9, null))).toBe('next');
    expect(codeThrown(state(5, 7), opening(6, pair(5, 8)))).toBe('log_gap');
    expect(codeThrown(state(5, 7), opening(9, pair(8, 1)))).toBe('log_gap');
    expect(codeThrown(state(5, 7), opening(6, null, 2))).toBe('log_gap');
    expect(codeThrown(state(5, 7), record(6, 1))).toBe('log_gap');
  });

  it('of a new sink begin with whatever comes first of its generation or a later one', () => {
    const start = counterStateOf({ pair: null, holder: null, startGeneration: fencingTokenOf(5) });
    expect(admit(start, record(5, 900))).toEqual({ tag: 'next', state: state(5, 900) });
    expect(codeThrown(start, opening(6, pair(5, 1_000)))).toBe('next');
    expect(codeThrown(start, record(6, 3))).toBe('next');
    expect(codeThrown(start, record(4, 3))).toBe('fenced');
  });
});
