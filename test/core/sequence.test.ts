import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Epoch } from '#core/position.ts';
import {
  commitPrefix,
  compareSequence,
  decodeSequence,
  encodeSequence,
  maxSequence,
  minSequence,
  parseSequence,
  SEQUENCE_ZERO,
  sequenceIn,
  watermarkSequence,
  type SequenceParts,
} from '#core/sequence.ts';

const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const parts: fc.Arbitrary<SequenceParts> = fc.record({ epoch: u32.map((epoch) => epoch as Epoch), commit: u64, change: u64, sub: u32 });

/** Near to one another, so that each part decides now and then. */
const close: fc.Arbitrary<SequenceParts> = fc.record({
  epoch: fc.constantFrom(1, 2, 0x10).map((epoch) => epoch as Epoch),
  commit: fc.constantFrom(0x9n, 0x10n, 0xffff_ffffn, 0x1_0000_0000n),
  change: fc.constantFrom(0n, 0xfn, 0x10n, 0xffff_ffff_ffff_ffffn),
  sub: fc.constantFrom(0, 1, 0x10),
});

function byParts(a: SequenceParts, b: SequenceParts): number {
  for (const part of ['epoch', 'commit', 'change', 'sub'] as const) {
    if (a[part] < b[part]) return -1;
    if (a[part] > b[part]) return 1;
  }
  return 0;
}

test('a sequence comes back from its text, which is 48 hex digits', () => {
  fc.assert(
    fc.property(parts, (each) => {
      const sequence = encodeSequence(each);
      expect(sequence).toMatch(/^[0-9a-f]{48}$/);
      expect(decodeSequence(sequence)).toEqual(each);
      expect(parseSequence(sequence)).toBe(sequence);
    }),
  );
});

test('texts are ordered as epoch, commit, change and sub are', () => {
  fc.assert(
    fc.property(close, close, (a, b) => {
      const [first, second] = [encodeSequence(a), encodeSequence(b)];
      expect(compareSequence(first, second)).toBe(byParts(a, b));
      expect(maxSequence(first, second)).toBe(byParts(a, b) > 0 ? first : second);
      expect(minSequence(first, second)).toBe(byParts(a, b) < 0 ? first : second);
    }),
  );
});

test('a watermark is above every change of its commit and below every later one', () => {
  fc.assert(
    fc.property(close, (each) => {
      const watermark = watermarkSequence(each.epoch, each.commit);
      expect(compareSequence(encodeSequence(each), watermark)).toBeLessThan(1);
      expect(compareSequence(encodeSequence({ ...each, commit: each.commit + 1n, change: 0n, sub: 0 }), watermark)).toBe(1);
    }),
  );
});

test('the prefix of a transaction makes the same text', () => {
  fc.assert(
    fc.property(close, fc.constantFrom(0, 1), (each, sub) => {
      expect(sequenceIn(commitPrefix(each.epoch, each.commit), each.change, sub)).toBe(encodeSequence({ ...each, sub }));
    }),
  );
});

test('what is no sequence is told apart', () => {
  expect(compareSequence(SEQUENCE_ZERO, encodeSequence({ epoch: 1 as Epoch, commit: 0n, change: 0n, sub: 0 }))).toBe(-1);
  for (const text of ['', '0'.repeat(47), '0'.repeat(49), 'F'.repeat(48), 'g'.repeat(48)]) expect(parseSequence(text)).toBeNull();
  expect(() => encodeSequence({ epoch: 1 as Epoch, commit: 1n << 64n, change: 0n, sub: 0 })).toThrow();
  expect(() => encodeSequence({ epoch: 1 as Epoch, commit: 0n, change: -1n, sub: 0 })).toThrow();
});
