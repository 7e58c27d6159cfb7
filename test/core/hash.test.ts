import { expect, test } from 'vitest';
import { digest, murmur2, partitionOf } from '#core/hash.ts';

const utf8 = new TextEncoder();

// The vectors of Kafka's own test: org.apache.kafka.common.utils.UtilsTest, testMurmur2.
test.each([
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
])('murmur2 of %s is what Kafka computes', (text, hash) => {
  expect(murmur2(utf8.encode(text))).toBe(hash);
});

test('the partition is taken from the hash without its sign, as Kafka does', () => {
  expect(partitionOf('21', 12)).toBe((-973932308 & 0x7fffffff) % 12);
  expect(partitionOf('abc', 12)).toBe(479470107 % 12);
  // Two bytes and four: the length that counts is that of the bytes.
  expect(partitionOf('ü😀', 7)).toBe((murmur2(utf8.encode('ü😀')) & 0x7fffffff) % 7);
});

test('every partition is in range, and many keys reach all of them', () => {
  const met = new Set(Array.from({ length: 1_000 }, (_, key) => partitionOf(`["public.t","${key}"]`, 12)));
  expect([...met].sort((a, b) => a - b)).toEqual([...Array(12).keys()]);
});

test('a digest is 16 hex digits and another one for another text', () => {
  expect(digest('')).toBe('cbf29ce484222325');
  expect(digest('a')).toMatch(/^[0-9a-f]{16}$/);
  expect(new Set(['a', 'b', 'ab', 'ba', 'aa'].map(digest)).size).toBe(5);
});
