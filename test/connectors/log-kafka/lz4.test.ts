import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { lz4Compressed, lz4Decompressed } from '../../../connectors/log-kafka/lz4-frame.ts';

const ROOM = 16 * 1024 ** 2;

const THEIRS =
  'BCJNGFxAkF8BAAAAAABiFAEAAK9hYmNkZWZnaGlqCgD/////////////////////////////////////////////////////////////////////////////' +
  '////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////' +
  '////////////////////////////////////////////////////////////////////////////////////////////////////////////////////////' +
  '////////////////////////3lBiY2RlZn81fc9pAAAAD/r/////////////////////////////////////////////////////////////////////////' +
  '///////////////////////////////////////////////////////XUGZnaGlqG+/XlgAAAADcwRH8';

function back(data: Buffer): Buffer {
  return lz4Decompressed(lz4Compressed(data), ROOM);
}

test('any bytes come back', () => {
  const repetitive = fc
    .tuple(fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 0, max: 400 }), fc.uint8Array({ maxLength: 40 }))
    .map(([unit, times, rest]) => Buffer.concat([...Array<Uint8Array>(times).fill(unit), rest]));
  const anything = fc.oneof(
    repetitive,
    fc.uint8Array({ maxLength: 3_000 }).map((bytes) => Buffer.from(bytes)),
  );
  fc.assert(fc.property(anything, (data) => back(data).equals(data)));
});

test('several blocks come back, those that can be made smaller and those that cannot', () => {
  const text = Buffer.from(Array.from({ length: 40_000 }, (_none, index) => `{"id":${index},"name":"customer ${index % 77}"}`).join('\n'));
  const noise = Buffer.from(Array.from({ length: 600_000 }, (_none, index) => (Math.imul(index, 0x9e3779b1) ^ (index * index)) >>> 13));
  expect(lz4Compressed(text).length).toBeLessThan(text.length / 3);
  expect(back(text).equals(text)).toBe(true);
  expect(back(noise).equals(noise)).toBe(true);
});

test('the last twelve bytes begin no match and the last five are literals, as the decoder of Kafka demands', () => {
  // A repetition up to the end: the first literal, one match, and the last five.
  const frame = lz4Compressed(Buffer.alloc(40, 7));
  const block = frame.subarray(11, 11 + frame.readUInt32LE(7));
  expect([...block]).toEqual([0x1f, 7, 1, 0, 40 - 1 - 5 - 4 - 15, 0x50, 7, 7, 7, 7, 7]);
  // The repetition begins in the last twelve bytes: nothing is made smaller, and the block stays as it is.
  const tooLate = Buffer.from('abcdefghijk0123456789abcdefghijk');
  expect(lz4Compressed(tooLate).readUInt32LE(7)).toBeGreaterThanOrEqual(0x8000_0000);
});

test('a frame of another program is read: sizes and checksums of its own, a block that refers to the one before', () => {
  // `abcdefghij` nine thousand times through `lz4 -BD -B4 -BX --content-size` (lz4 1.9.4).
  const theirs = Buffer.from(THEIRS, 'base64');
  expect(lz4Decompressed(theirs, ROOM).toString()).toBe('abcdefghij'.repeat(9_000));
});

test('whatever is damaged is an error with a code', () => {
  const header = lz4Compressed(Buffer.alloc(0)).subarray(0, 7);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        lz4Decompressed(Buffer.concat([header, bytes]), 1_000);
      } catch (error) {
        expect(error).toMatchObject({ code: 'log_damaged' });
      }
    }),
  );
  const whole = lz4Compressed(Buffer.from('abcd'.repeat(100)));
  for (const [place, value] of [
    [3, 0],
    [4, 0x20],
    [5, 0x10],
    [7, 0xff],
  ] as const) {
    const damaged = Buffer.from(whole);
    damaged[place] = value;
    expect(() => lz4Decompressed(damaged, ROOM)).toThrow(expect.objectContaining({ code: 'log_damaged' }));
  }
  for (const cut of [6, 9, 14, whole.length - 1]) {
    expect(() => lz4Decompressed(whole.subarray(0, cut), ROOM)).toThrow(expect.objectContaining({ code: 'log_damaged' }));
  }
  expect(() => lz4Decompressed(Buffer.concat([whole, whole]), ROOM)).toThrow(expect.objectContaining({ code: 'log_damaged' }));
});

test('what would become larger than it may is refused', () => {
  expect(() => lz4Decompressed(lz4Compressed(Buffer.alloc(1_000_000)), 999_999)).toThrow(expect.objectContaining({ code: 'log_damaged' }));
});
