import type { Brand } from './brand.ts';

const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;
const U64 = 0xffff_ffff_ffff_ffffn;

/** A content hash in 16 hex digits. Tells two descriptions apart; it is no protection against somebody who wants a collision. */
export type Digest = Brand<string, 'Digest'>;

/** FNV-1a, 64 bits, over UTF-16 code units. For short descriptions such as a schema, never on a row's path. */
export function digest(text: string): Digest {
  let hash = FNV_OFFSET;
  for (let index = 0; index < text.length; index += 1) {
    hash = ((hash ^ BigInt(text.charCodeAt(index))) * FNV_PRIME) & U64;
  }
  return hash.toString(16).padStart(16, '0') as Digest;
}

/**
 * Kafka's murmur2 with its default seed, over bytes. A key's partition is `(murmur2(key) & 0x7fffffff) % partitions`
 * (org.apache.kafka.common.utils.Utils.murmur2 and BuiltInPartitioner.partitionForKey).
 */
export function murmur2(data: Uint8Array): number {
  const m = 0x5bd1e995;
  const length = data.length;
  let h = (0x9747b28c ^ length) | 0;
  const whole = length & ~3;
  for (let at = 0; at < whole; at += 4) {
    // Indexes are below the length, so the bytes are there.
    let k = (data[at] as number) | ((data[at + 1] as number) << 8) | ((data[at + 2] as number) << 16) | ((data[at + 3] as number) << 24);
    k = Math.imul(k, m);
    k ^= k >>> 24;
    k = Math.imul(k, m);
    h = Math.imul(h, m);
    h ^= k;
  }
  const rest = length & 3;
  if (rest >= 3) h ^= (data[whole + 2] as number) << 16;
  if (rest >= 2) h ^= (data[whole + 1] as number) << 8;
  if (rest >= 1) {
    h ^= data[whole] as number;
    h = Math.imul(h, m);
  }
  h ^= h >>> 13;
  h = Math.imul(h, m);
  h ^= h >>> 15;
  return h;
}

const utf8 = new TextEncoder();

const ASCII_MAX = 0x7f;
/** Keys are short and mostly ASCII: copied here, one costs a tenth of what an encoder's new array does. */
const scratch = new Uint8Array(256);

/** The partition that Kafka's own default partitioner gives to this key. */
export function partitionOf(key: string, partitions: number): number {
  return (murmur2(bytesOf(key)) & 0x7fff_ffff) % partitions;
}

/** Valid until the next call. */
function bytesOf(key: string): Uint8Array {
  const { length } = key;
  if (length > scratch.length) return utf8.encode(key);
  for (let at = 0; at < length; at += 1) {
    const unit = key.charCodeAt(at);
    if (unit > ASCII_MAX) return utf8.encode(key);
    scratch[at] = unit;
  }
  return scratch.subarray(0, length);
}
