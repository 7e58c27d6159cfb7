/*
 * The frame format of LZ4 (github.com/lz4/lz4, doc/lz4_Frame_format.md).
 *
 *   magic u32 LE | FLG u8 | BD u8 | [content size u64] | [dictionary u32] | header checksum u8
 *   | (size u32 LE, greatest bit: stored as it is | bytes | [checksum u32])* | 0 u32 | [content checksum u32]
 */
import { CausewayError } from '#core/errors.ts';
import { compressBlock, decompressBlock, lz4Bound, newTable } from './lz4-block.ts';

const MAGIC = 0x184d2204;
const STORED = 0x8000_0000;
const VERSION = 0x40;
const VERSION_MASK = 0xc0;
const BLOCK_CHECKSUM = 0x10;
const CONTENT_SIZE = 0x08;
const CONTENT_CHECKSUM = 0x04;
const DICTIONARY = 0x01;

/** Blocks of 256 KiB that are independent, no checksums: Kafka's batches have one of their own. The last byte is the header's checksum. */
const HEADER = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb]);
const BLOCK_BYTES = 256 * 1024;
const BLOCK_BYTES_BY_CODE: Readonly<Record<number, number>> = { 4: 64 * 1024, 5: 256 * 1024, 6: 1024 * 1024, 7: 4 * 1024 * 1024 };

export function lz4Compressed(data: Buffer): Buffer {
  const parts: Uint8Array[] = [HEADER];
  const table = newTable();
  for (let at = 0; at < data.length; at += BLOCK_BYTES) {
    const block = data.subarray(at, at + BLOCK_BYTES);
    const compressed = Buffer.allocUnsafe(lz4Bound(block.length));
    const length = compressBlock(block, compressed, table);
    const isSmaller = length < block.length;
    parts.push(isSmaller ? word(length) : word(block.length + STORED), isSmaller ? compressed.subarray(0, length) : block);
  }
  parts.push(word(0));
  return Buffer.concat(parts);
}

/** Errors: `log_damaged` for what is no frame, and for one that is larger than `bytesMax` when it is decompressed. */
export function lz4Decompressed(frame: Buffer, bytesMax: number): Buffer {
  const parts = [...blocksOf(frame)];
  const bound = parts.reduce((sum, part) => sum + part.bytesMax, 0);
  const result = Buffer.allocUnsafe(Math.min(bound, bytesMax));
  let length = 0;
  for (const { bytes, stored } of parts) {
    // A block may refer to those before it, so all of them stand in one buffer.
    const end = stored ? copied(bytes, result, length) : decompressBlock(bytes, result, length);
    if (end === null) throw damaged('is damaged, or too large');
    length = end;
  }
  return result.subarray(0, length);
}

function copied(bytes: Buffer, target: Buffer, start: number): number | null {
  if (start + bytes.length > target.length) return null;
  return start + bytes.copy(target, start);
}

type Block = { readonly bytes: Buffer; readonly stored: boolean; readonly bytesMax: number };

function* blocksOf(frame: Buffer): Generator<Block> {
  if (frame.length < 7 || frame.readUInt32LE(0) !== MAGIC) throw damaged('does not begin as one');
  const flags = frame.readUInt8(4);
  const blockBytesMax = BLOCK_BYTES_BY_CODE[frame.readUInt8(5) >> 4];
  if ((flags & VERSION_MASK) !== VERSION || (flags & DICTIONARY) !== 0 || blockBytesMax === undefined)
    throw damaged('is of an unknown form');
  let at = 7 + ((flags & CONTENT_SIZE) === 0 ? 0 : 8);
  while (true) {
    if (at + 4 > frame.length) throw damaged('ends too soon');
    const size = frame.readUInt32LE(at);
    if (size === 0) break;
    const stored = size >= STORED;
    const start = at + 4;
    const end = start + (stored ? size - STORED : size);
    if (end > frame.length) throw damaged('ends too soon');
    const bytes = frame.subarray(start, end);
    yield { bytes, stored, bytesMax: stored ? bytes.length : blockBytesMax };
    at = end + ((flags & BLOCK_CHECKSUM) === 0 ? 0 : 4);
  }
  if (at + 4 + ((flags & CONTENT_CHECKSUM) === 0 ? 0 : 4) !== frame.length) throw damaged('goes on behind its end');
}

function word(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function damaged(what: string): CausewayError {
  return new CausewayError('log_damaged', `a batch compressed with lz4 ${what}`);
}
