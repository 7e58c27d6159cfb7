import { codecOf, crc32C } from './kafkajs-internals.ts';

/**
 * A record batch as it stands in a topic ("Apache Kafka documentation, 5.3.1 Record Batch"), with its records still compressed.
 *
 *     base offset i64 | length i32 | leader epoch i32 | magic i8 | crc u32 | attributes i16 | last offset delta i32 |
 *     base timestamp i64 | max timestamp i64 | producer id i64 | producer epoch i16 | base sequence i32 | records i32
 *
 * kafkajs decodes them too, but loses where a batch ends whose last records compaction removed, and compares no checksum.
 */
export type RawBatch = {
  readonly firstOffset: number;
  /** Also where compaction removed the records before it, or all of them. */
  readonly lastOffset: number;
  /** A marker that ends a transaction; none of ours. */
  readonly isControl: boolean;
  /** The latest time of a record, in milliseconds since 1970: the broker's, as the topics here are. */
  readonly atWallMs: number;
  readonly bytes: Buffer;
};

export type BatchRecord = {
  readonly offset: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** Each header's name and value, one behind the other, as they stand there. */
  readonly headers: Buffer;
  readonly headerCount: number;
};

const LENGTH_AT = 8;
const MAGIC_AT = 16;
const CRC_AT = 17;
const ATTRIBUTES_AT = 21;
const LAST_DELTA_AT = 23;
const TIME_MAX_AT = 35;
const COUNT_AT = 57;
const RECORDS_AT = 61;
/** What the length does not count. */
const BEFORE_LENGTH = 12;
const MAGIC = 2;
const CONTROL = 0x20;

/** The bytes are not a batch, or not the ones that a broker was given. */
export class BatchDamage extends Error {
  override readonly name = 'BatchDamage';
}

/** The whole batches at the head of an answer; the last one can be cut off, and is then fetched again. */
export function rawBatches(bytes: Buffer): readonly RawBatch[] {
  const batches: RawBatch[] = [];
  for (let at = 0; at + RECORDS_AT <= bytes.length;) {
    const length = bytes.readInt32BE(at + LENGTH_AT);
    const end = at + BEFORE_LENGTH + length;
    if (length < RECORDS_AT - BEFORE_LENGTH) throw new BatchDamage(`a batch of ${length} bytes`);
    if (end > bytes.length) break;
    const batch = bytes.subarray(at, end);
    if (batch.readInt8(MAGIC_AT) !== MAGIC) throw new BatchDamage(`a batch of format ${batch.readInt8(MAGIC_AT)}`);
    const firstOffset = Number(batch.readBigInt64BE(0));
    batches.push({
      firstOffset,
      lastOffset: firstOffset + batch.readInt32BE(LAST_DELTA_AT),
      atWallMs: Number(batch.readBigInt64BE(TIME_MAX_AT)),
      isControl: (batch.readInt16BE(ATTRIBUTES_AT) & CONTROL) !== 0,
      bytes: batch,
    });
    at = end;
  }
  return batches;
}

/** The records of a batch. Errors: `BatchDamage`. */
export async function recordsOf({ firstOffset, bytes }: RawBatch): Promise<readonly BatchRecord[]> {
  if (crc32C(bytes.subarray(ATTRIBUTES_AT)) !== bytes.readUInt32BE(CRC_AT)) {
    throw new BatchDamage(`the batch at offset ${firstOffset} does not have its checksum`);
  }
  const packed = bytes.subarray(RECORDS_AT);
  const codec = codecOf(bytes.readInt16BE(ATTRIBUTES_AT));
  const body = codec === null || packed.length === 0 ? packed : await decompressed(codec, packed, firstOffset);
  const reader = new VarintReader(body);
  const records: BatchRecord[] = [];
  for (let left = bytes.readInt32BE(COUNT_AT); left > 0; left -= 1) {
    const end = reader.varint() + reader.at;
    // Attributes, of which none are used, and the time of the record.
    reader.at += 1;
    reader.skipVarint();
    const offset = firstOffset + reader.varint();
    const key = reader.bytes();
    const value = reader.bytes();
    const headerCount = reader.varint();
    records.push({ offset, key, value, headerCount, headers: body.subarray(reader.at, end) });
    reader.at = end;
  }
  if (reader.at !== body.length) throw new BatchDamage(`the batch at offset ${firstOffset} is longer than its records`);
  return records;
}

async function decompressed(codec: NonNullable<ReturnType<typeof codecOf>>, packed: Buffer, firstOffset: number): Promise<Buffer> {
  try {
    return await codec.decompress(packed);
  } catch (error) {
    throw new BatchDamage(`the batch at offset ${firstOffset} cannot be unpacked`, { cause: error });
  }
}

/** The values of a record's headers, by name. */
export function headersOf({ headers, headerCount }: Pick<BatchRecord, 'headers' | 'headerCount'>): ReadonlyMap<string, Buffer | null> {
  const found = new Map<string, Buffer | null>();
  const reader = new VarintReader(headers);
  for (let left = headerCount; left > 0; left -= 1) found.set((reader.bytes() ?? Buffer.alloc(0)).toString(), reader.bytes());
  return found;
}

/** Numbers as Protocol Buffers write them: seven bits a byte, the lowest first, the sign in the last bit (zigzag). */
class VarintReader {
  readonly #source: Buffer;
  at = 0;

  constructor(source: Buffer) {
    this.#source = source;
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; shift <= 28; shift += 7) {
      const byte = this.#byte();
      value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) === 0) return (value >>> 1) ^ -(value & 1);
    }
    throw new BatchDamage('a number of more than 32 bits');
  }

  skipVarint(): void {
    while ((this.#byte() & 0x80) !== 0);
  }

  bytes(): Buffer | null {
    const length = this.varint();
    if (length < 0) return null;
    if (this.at + length > this.#source.length) throw new BatchDamage('a field that goes beyond its batch');
    const from = this.at;
    this.at += length;
    return this.#source.subarray(from, this.at);
  }

  #byte(): number {
    const byte = this.#source[this.at];
    if (byte === undefined) throw new BatchDamage('a record that goes beyond its batch');
    this.at += 1;
    return byte;
  }
}
