import type { LogEnds, StoredRecord } from '#core/log.ts';
import { OFFSET_FIRST, type Offset } from '#core/position.ts';
import type { OpenFile } from '../lib/sqlite/handle.ts';
import { bytesIn, integerIn } from '../lib/sqlite/row.ts';
import { type Block, decodeBlock, isIntact } from './block.ts';
import { damaged, offsetGone } from './errors.ts';
import { blockId, offsetOfId } from './layout.ts';

/** A page ends behind the block with which it reaches one of these. */
const PAGE_BYTES = 1024 * 1024;
const PAGE_RECORDS = 2_000;

export function endsOf(file: OpenFile, partition: number): LogEnds {
  const first = file.prepare('SELECT id FROM block WHERE id >= ? AND id < ? ORDER BY id LIMIT 1');
  const lowest = first.get(blockId(partition, 0), blockId(partition + 1, 0));
  if (lowest === undefined) return { start: OFFSET_FIRST, end: OFFSET_FIRST };
  return { start: offsetOfId(integerIn(lowest, 'id')) as Offset, end: nextOffset(file, partition) };
}

/** The offset behind the newest record. */
export function nextOffset(file: OpenFile, partition: number): Offset {
  const last = file.prepare('SELECT id, count FROM block WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1');
  const highest = last.get(blockId(partition, 0), blockId(partition + 1, 0));
  return highest === undefined ? OFFSET_FIRST : ((offsetOfId(integerIn(highest, 'id')) + integerIn(highest, 'count')) as Offset);
}

/**
 * Records from `from` on, empty at the end. Stops before a damaged block and throws when that one is next, so that everything
 * before the damage can still be read and nothing behind it.
 */
export function readPage(
  file: OpenFile,
  place: { readonly partition: number; readonly from: number; readonly path: string },
): readonly StoredRecord[] {
  const { partition, from, path } = place;
  const { start, end } = endsOf(file, partition);
  if (from < start || from > end) throw offsetGone({ partition, offset: from, start, end });
  if (from === end) return [];
  const records: StoredRecord[] = [];
  let bytes = 0;
  let expected: number | null = null;
  for (const block of blocksFrom(file, partition, from)) {
    const inOrder = expected === null ? block.base <= from && from < block.base + block.count : block.base === expected;
    if (!inOrder || !isIntact(block)) {
      if (records.length > 0) break;
      throw damaged(
        path,
        partition,
        inOrder ? `the checksum of the block at ${block.base} is wrong` : `the block before ${block.base} is missing`,
      );
    }
    for (const record of decodeBlock(block, from)) records.push(record);
    bytes += block.data.length;
    expected = block.base + block.count;
    if (bytes >= PAGE_BYTES || records.length >= PAGE_RECORDS) break;
  }
  // A damaged tree can show a block to one search and hide it from another; whoever reads on would do so for ever.
  if (records.length === 0) throw damaged(path, partition, `the block that holds offset ${from} is missing`);
  return records;
}

function* blocksFrom(file: OpenFile, partition: number, from: number): Generator<Block> {
  const select = file.prepare(
    `SELECT id, count, crc, data FROM block
     WHERE id >= (SELECT max(id) FROM block WHERE id >= ?1 AND id <= ?2) AND id < ?3 ORDER BY id`,
  );
  for (const row of select.iterate(blockId(partition, 0), blockId(partition, from), blockId(partition + 1, 0))) {
    yield {
      partition,
      base: offsetOfId(integerIn(row, 'id')),
      count: integerIn(row, 'count'),
      crc: integerIn(row, 'crc'),
      data: bytesIn(row, 'data'),
    };
  }
}
