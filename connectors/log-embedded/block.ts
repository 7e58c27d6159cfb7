import { Buffer } from 'node:buffer';
import { crc32 } from 'node:zlib';
import type { EncodedRecord, StoredRecord } from '#core/log.ts';
import type { Offset } from '#core/position.ts';

/*
 * A block's bytes: its records, one behind the other, each as
 *
 *   key length u32 (0xffffffff: no key) | value length u32 | key in UTF-8 | value
 *
 * Numbers are little-endian. The checksum is CRC-32 over partition, first offset and count as text, then over the bytes, so
 * that a block that stands in another's place is noticed as well as one whose bytes changed.
 */

const HEAD_BYTES = 8;
const NO_KEY = 0xffff_ffff;

export type Block = {
  readonly partition: number;
  readonly base: number;
  readonly count: number;
  readonly crc: number;
  readonly data: Uint8Array;
};

export function recordBytes(record: { readonly key: string | null; readonly value: Uint8Array }): number {
  return HEAD_BYTES + (record.key === null ? 0 : Buffer.byteLength(record.key)) + record.value.length;
}

/** Writes records behind each other from `start` on, where there is room for them. Returns where they end. */
export function encodeRecords(data: Buffer, start: number, records: readonly EncodedRecord[]): number {
  let at = start;
  for (const { key, value } of records) {
    const keyBytes = key === null ? 0 : data.write(key, at + HEAD_BYTES, 'utf8');
    data.writeUInt32LE(key === null ? NO_KEY : keyBytes, at);
    data.writeUInt32LE(value.length, at + 4);
    data.set(value, at + HEAD_BYTES + keyBytes);
    at += HEAD_BYTES + keyBytes + value.length;
  }
  return at;
}

export function isIntact(block: Block): boolean {
  return blockChecksum(block) === block.crc;
}

/** Records from `from` on, as views on the block's bytes. The block is intact. */
export function decodeBlock(block: Block, from: number): readonly StoredRecord[] {
  const data = Buffer.from(block.data.buffer, block.data.byteOffset, block.data.byteLength);
  const records: StoredRecord[] = [];
  let at = 0;
  for (let offset = block.base; offset < block.base + block.count; offset += 1) {
    const keyLength = data.readUInt32LE(at);
    const keyEnd = at + HEAD_BYTES + (keyLength === NO_KEY ? 0 : keyLength);
    const end = keyEnd + data.readUInt32LE(at + 4);
    if (offset >= from) {
      const key = keyLength === NO_KEY ? null : data.toString('utf8', at + HEAD_BYTES, keyEnd);
      records.push({ offset: offset as Offset, key, value: data.subarray(keyEnd, end) });
    }
    at = end;
  }
  return records;
}

export function blockChecksum(block: Omit<Block, 'crc'>): number {
  return crc32(block.data, crc32(`${block.partition}:${block.base}:${block.count}`));
}
