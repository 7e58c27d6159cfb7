/*
 * One block of LZ4 (github.com/lz4/lz4, doc/lz4_Block_format.md): sequences of literals and a match behind them.
 *
 *   token u8: length of literals << 4 | length of match - 4 | more bytes of the first length where it is 15
 *   | literals | distance of the match u16 LE | more bytes of the second length where it is 15
 *
 * Written here because lz4js 0.2.0 starts matches in the last twelve bytes, which the decoder of Kafka refuses, and the others are
 * native or not kept.
 */

const MATCH_MIN = 4;
/** The last bytes are literals, and no match begins in more of them. */
const LITERALS_AT_END = 5;
const MATCH_START_LIMIT = 12;
const DISTANCE_MAX = 65_535;
const HASH_BITS = 14;
const LENGTH_IN_TOKEN = 15;
/** After so many places without a match (a power of two) the steps grow: what cannot be compressed costs little. */
const STEP_SHIFT = 6;

/** Places of the block by the hash of their four bytes, plus one. One for each call side by side; it is cleared here. */
export function newTable(): Uint32Array {
  return new Uint32Array(1 << HASH_BITS);
}

/** `target` has room for `lz4Bound(source.length)`. Returns how much was written. */
export function compressBlock(source: Buffer, target: Buffer, table: Uint32Array): number {
  table.fill(0);
  const matchEnd = source.length - LITERALS_AT_END;
  const lastStart = source.length - MATCH_START_LIMIT;
  let written = 0;
  let literals = 0;
  let at = 0;
  let misses = 1 << STEP_SHIFT;
  while (at < lastStart) {
    const word = source.readInt32LE(at);
    const slot = Math.imul(word, 0x9e3779b1) >>> (32 - HASH_BITS);
    // The slot is one of the table.
    const match = (table[slot] as number) - 1;
    table[slot] = at + 1;
    if (match < 0 || at - match > DISTANCE_MAX || source.readInt32LE(match) !== word) {
      at += misses >> STEP_SHIFT;
      misses += 1;
      continue;
    }
    misses = 1 << STEP_SHIFT;
    let end = at + MATCH_MIN;
    while (end < matchEnd && source[end] === source[end - at + match]) end += 1;
    written = writeSequence(target, written, { source, from: literals, to: at, distance: at - match, length: end - at });
    literals = end;
    at = end;
  }
  return writeSequence(target, written, { source, from: literals, to: source.length, distance: 0, length: 0 });
}

type Sequence = {
  readonly source: Buffer;
  readonly from: number;
  readonly to: number;
  /** 0 for the last one, which has no match. */
  readonly distance: number;
  readonly length: number;
};

function writeSequence(target: Buffer, start: number, { source, from, to, distance, length }: Sequence): number {
  const literals = to - from;
  const match = distance === 0 ? 0 : length - MATCH_MIN;
  let at = start;
  target[at] = (Math.min(literals, LENGTH_IN_TOKEN) << 4) | Math.min(match, LENGTH_IN_TOKEN);
  at = writeLength(target, at + 1, literals);
  at += source.copy(target, at, from, to);
  if (distance === 0) return at;
  at = target.writeUInt16LE(distance, at);
  return writeLength(target, at, match);
}

/** What of a length has no room in the token. */
function writeLength(target: Buffer, start: number, length: number): number {
  if (length < LENGTH_IN_TOKEN) return start;
  let at = start;
  let rest = length - LENGTH_IN_TOKEN;
  for (; rest >= 255; rest -= 255) target[at++] = 255;
  target[at++] = rest;
  return at;
}

/** Writes behind `start`, where a match may refer to. Returns the place behind the last byte; null for what is no block, or too large. */
export function decompressBlock(block: Buffer, target: Buffer, start: number): number | null {
  let [at, end] = [0, start];
  const more = (length: number): number => {
    if (length < LENGTH_IN_TOKEN) return length;
    let [sum, next] = [length, 255];
    while (next === 255) {
      next = block[at++] ?? 0;
      sum += next;
    }
    return sum;
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = more(token >> 4);
    if (at + literals > block.length || end + literals > target.length) return null;
    block.copy(target, end, at, at + literals);
    at += literals;
    end += literals;
    if (at === block.length) return end;
    if (at + 2 > block.length) return null;
    const distance = block.readUInt16LE(at);
    at += 2;
    const length = more(token & LENGTH_IN_TOKEN) + MATCH_MIN;
    if (distance === 0 || distance > end || end + length > target.length) return null;
    // Byte by byte: a match may overlap itself.
    for (const stop = end + length; end < stop; end += 1) target[end] = target[end - distance] ?? 0;
  }
  return null;
}

/** For what compression makes larger (lz4.h, LZ4_COMPRESSBOUND). */
export function lz4Bound(length: number): number {
  return length + Math.floor(length / 255) + 16;
}
