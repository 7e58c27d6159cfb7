import { describe, expect, it } from 'vitest';
import type { RowSnapshot } from '#core/row-reader.ts';
import { ShownTransactions } from '../../src/chunk/shown.ts';

/** Shows everything up to `newest` but those in `running`. */
function snapshot(newest: number, ...running: readonly number[]): RowSnapshot & { readonly newest: number } {
  return {
    newest,
    shows: (id) => Number(id) <= newest && !running.includes(Number(id)),
    showsAllBefore: (earlier) => running.every((id) => id > (earlier as ReturnType<typeof snapshot>).newest),
  };
}

describe('transactions that reads do not show yet', () => {
  it('keep reads back at and above their commit, and at no lower one', () => {
    const shown = new ShownTransactions([], 100);
    shown.committed('7', 70n);
    shown.committed('8', 80n);
    const before = snapshot(9, 8);
    expect(shown.allowsAt(79n, before)).toBe(true);
    expect(shown.allowsAt(80n, before)).toBe(false);
    expect(shown.allowsAt(90n, before)).toBe(false);
    expect(shown.allowsAt(90n, snapshot(9))).toBe(true);
    expect(shown.size).toBe(0);
  });

  it('leave once a snapshot shows them, in whatever order that is (counterexample 22)', () => {
    const shown = new ShownTransactions([], 100);
    for (const id of [1, 2, 3]) shown.committed(String(id), BigInt(id));
    shown.looked(snapshot(3, 1));
    expect(shown.upTo(null, 10)).toEqual(['1']);
    expect(shown.upTo(0n, 10)).toEqual([]);
  });

  it('are taken over from who captured before, below whatever the stream shows now (counterexample 7)', () => {
    const shown = new ShownTransactions(['5'], 100);
    expect(shown.allowsAt(1n, snapshot(9, 5))).toBe(false);
    expect(shown.upTo(null, 10)).toEqual(['5']);
    expect(shown.allowsAt(1n, snapshot(9))).toBe(true);
  });

  it('of which nobody knows keep all reads back until what ran at the first look is over', () => {
    const shown = new ShownTransactions(null, 100);
    expect(shown.upTo(null, 10)).toBeNull();
    expect(shown.allowsAt(1n, snapshot(9, 5))).toBe(false);
    expect(shown.allowsAt(1n, snapshot(20, 5))).toBe(false);
    // Began behind the first look: the stream shows it, or will.
    expect(shown.allowsAt(1n, snapshot(21, 12))).toBe(true);
    expect(shown.upTo(null, 10)).toEqual([]);
  });

  it('that are too many are as if nobody knew of them', () => {
    const shown = new ShownTransactions([], 2);
    for (const id of [1, 2, 3]) shown.committed(String(id), BigInt(id));
    expect(shown.size).toBe(0);
    expect(shown.upTo(null, 10)).toBeNull();
    expect(shown.allowsAt(1n, snapshot(3, 1))).toBe(false);
    expect(shown.allowsAt(1n, snapshot(4))).toBe(true);
  });

  it('are stored only as far as there are few of them', () => {
    const shown = new ShownTransactions([], 100);
    for (const id of [1, 2, 3]) shown.committed(String(id), BigInt(id));
    expect(shown.upTo(2n, 2)).toEqual(['1', '2']);
    expect(shown.upTo(3n, 2)).toBeNull();
  });
});
