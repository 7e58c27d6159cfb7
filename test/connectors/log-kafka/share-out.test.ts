import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Member, shareOut } from '../../../connectors/log-kafka/share-out.ts';

const members = fc.uniqueArray(
  fc.record({ id: fc.stringMatching(/^[a-f]{1,3}$/), owned: fc.array(fc.integer({ min: 0, max: 14 }), { maxLength: 15 }) }),
  { minLength: 1, maxLength: 6, selector: ({ id }) => id },
);

test('every partition goes to one member, whatever they claim, and members differ by one at most', () => {
  fc.assert(
    fc.property(members, fc.integer({ min: 1, max: 12 }), (given, partitions) => {
      const shares = shareOut(given, partitions);
      expect([...shares.values()].flat().toSorted((a, b) => a - b)).toEqual(Array.from({ length: partitions }, (_none, index) => index));
      const counts = given.map(({ id }) => shares.get(id)?.length ?? -1);
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    }),
  );
});

/** Members that have what a sharing gave them. */
function settled(shares: ReadonlyMap<string, readonly number[]>, leave: (id: string) => boolean): readonly Member[] {
  return [...shares].filter(([id]) => !leave(id)).map(([id, owned]) => ({ id, owned }));
}

test('what a member has and may keep, it keeps', () => {
  const three = shareOut(
    [
      { id: 'a', owned: [] },
      { id: 'b', owned: [] },
      { id: 'c', owned: [] },
    ],
    12,
  );
  const two = shareOut(
    settled(three, (id) => id === 'b'),
    12,
  );
  for (const id of ['a', 'c']) expect(two.get(id)).toEqual(expect.arrayContaining([...(three.get(id) ?? [])]));
  const again = shareOut([...settled(two, () => false), { id: 'd', owned: [] }], 12);
  for (const id of ['a', 'c']) expect(two.get(id)).toEqual(expect.arrayContaining([...(again.get(id) ?? [])]));
  expect(again.get('d')).toHaveLength(4);
  expect(
    shareOut(
      settled(again, () => false),
      12,
    ),
  ).toEqual(again);
});

test('an odd partition stays where it is', () => {
  const shares = shareOut(
    [
      { id: 'a', owned: [4] },
      { id: 'b', owned: [0, 1, 2] },
    ],
    5,
  );
  expect(shares.get('b')).toEqual([0, 1, 2]);
  expect(shares.get('a')).toEqual([3, 4]);
});
