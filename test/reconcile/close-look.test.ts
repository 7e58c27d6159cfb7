// What is said of one key behind a barrier, and of keys of every fate beside the stream.
import { describe, expect, test } from 'vitest';
import { epochOf } from '#core/position.ts';
import type { KeyAnswer } from '#core/rows-request.ts';
import { encodeSequence, watermarkSequence, type Sequence } from '#core/sequence.ts';
import { verdictOf } from '../../src/reconcile/close-look.ts';

const epoch = epochOf(1);
const low = encodeSequence({ epoch, commit: 10n, change: 0n, sub: 0 });
const high = watermarkSequence(epoch, 20n);
const changeAt = (commit: bigint): Sequence => encodeSequence({ epoch, commit, change: 5n, sub: 1 });

function verdict(of: { answer?: KeyAnswer; sequence?: Sequence | null; before?: Sequence | null; isEqual?: boolean }) {
  const { answer = 'same', sequence = changeAt(5n), before = null, isEqual = false } = of;
  const keys: readonly KeyAnswer[] = ['changed', answer, 'changed'];
  return verdictOf({ answer: { low, high, keys }, at: 1, sequence, before, isEqual });
}

describe('of a key', () => {
  test.each(['changed', 'hot', 'published'] as const)('nothing is known yet where the answer is %s', (answer) => {
    for (const isEqual of [true, false])
      for (const sequence of [changeAt(5n), null]) expect(verdict({ answer, isEqual, sequence })).toBe('again');
  });

  test('that did not change, an older row differs or is the same', () => {
    expect(verdict({ isEqual: true })).toBe('same');
    expect(verdict({ isEqual: false })).toBe('differs');
    expect(verdict({ isEqual: true, sequence: null })).toBe('same');
    expect(verdict({ isEqual: false, sequence: null })).toBe('differs');
    expect(verdict({ isEqual: false, sequence: low })).toBe('differs');
  });

  test('a row from between the watermarks is a repair or of a chunk, and looked at again unless it is the same', () => {
    expect(verdict({ sequence: changeAt(15n) })).toBe('again');
    expect(verdict({ sequence: changeAt(15n), isEqual: true })).toBe('same');
  });

  test('a later change is looked at again, whatever it holds', () => {
    for (const isEqual of [true, false]) {
      expect(verdict({ sequence: changeAt(21n), isEqual })).toBe('again');
      expect(verdict({ sequence: changeAt(22n), before: changeAt(21n), isEqual })).toBe('again');
    }
  });

  test('what stood above the cut before the cut was made, no change of the source has brought', () => {
    for (const isEqual of [true, false]) expect(verdict({ sequence: changeAt(21n), before: changeAt(21n), isEqual })).toBe('ahead');
    expect(verdict({ sequence: changeAt(5n), before: changeAt(5n) })).toBe('differs');
    expect(verdict({ sequence: high, before: high, isEqual: true })).toBe('same');
  });
});
