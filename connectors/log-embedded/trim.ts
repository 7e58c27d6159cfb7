import type { OpenFile } from '../lib/sqlite/handle.ts';
import { integerIn } from '../lib/sqlite/row.ts';
import { blockId, offsetOfId } from './layout.ts';
import { letterBytes, trimReleased } from './letters.ts';
import { endsOf } from './pages.ts';
import { storedProgress } from './progress.ts';

/** One step frees no more than this, so that it stays short. */
const STEP_BLOCKS = 64;
const STEP_BYTES = 8 * 1024 * 1024;
/** Pages given back to the file system in one step, once more than half of the file is free. */
const VACUUM_PAGES = 256;
const VACUUM_FROM_BYTES = 16 * 1024 * 1024;
/** Blocks that are looked at to tell how large the records of a stretch are: counting all of them would take too long. */
const PROBES = 16;

export type Kept = {
  /** Null until it was said who is retained: then nothing is freed. */
  readonly retained: readonly string[] | null;
  /** About this much of a partition stays behind its slowest reader, for a sink that goes back. */
  readonly keepBytes: number;
};

/**
 * Frees blocks that every retained consumer has behind it, but for the stretch that is kept. The newest block of a partition
 * stays, so that its end can be told. A consumer without progress holds everything: it may be about to begin. Returns true if
 * there is more to free. Inside a write transaction.
 */
export function trimStep(file: OpenFile, partition: number, { retained, keepBytes }: Kept): boolean {
  if (retained === null || retained.length === 0) return false;
  const needed = Math.min(...retained.map((consumer) => storedProgress(file, { consumer, partition })?.offset ?? 0));
  const freeable = keepBytes === 0 ? needed : keptFrom(file, { partition, needed, keepBytes });
  const select = file.prepare('SELECT id, count, bytes FROM block WHERE id >= ? AND id < ? ORDER BY id LIMIT ?');
  const oldest = select.all(blockId(partition, 0), blockId(partition + 1, 0), STEP_BLOCKS + 1);
  let freed: number | null = null;
  let bytes = 0;
  let more = false;
  for (const [index, row] of oldest.entries()) {
    const block = { id: integerIn(row, 'id'), count: integerIn(row, 'count'), bytes: integerIn(row, 'bytes') };
    const isNewest = index === oldest.length - 1 && oldest.length <= STEP_BLOCKS;
    if (isNewest || offsetOfId(block.id) + block.count > freeable) break;
    more = index === STEP_BLOCKS || bytes >= STEP_BYTES;
    if (more) break;
    freed = block.id;
    bytes += block.bytes;
  }
  if (freed !== null) {
    file.prepare('DELETE FROM block WHERE id >= ? AND id <= ?').run(blockId(partition, 0), freed);
    trimReleased(file, partition, endsOf(file, partition).start);
  }
  return more;
}

/** Where the kept stretch begins: never behind `needed`. Records of a size far from the others' make it longer or shorter. */
function keptFrom(file: OpenFile, of: { readonly partition: number; readonly needed: number; readonly keepBytes: number }): number {
  const { partition, needed, keepBytes } = of;
  const { start } = endsOf(file, partition);
  const select = file.prepare('SELECT count, bytes FROM block WHERE id >= ? AND id <= ? ORDER BY id DESC LIMIT 1');
  let recordBytes = 0;
  for (let probe = 0; probe < PROBES; probe += 1) {
    const offset = start + Math.floor(((needed - start) * probe) / PROBES);
    const found = select.get(blockId(partition, start), blockId(partition, offset));
    if (found === undefined) continue;
    recordBytes += integerIn(found, 'bytes') / integerIn(found, 'count') / PROBES;
  }
  return recordBytes === 0 ? needed : Math.max(start, needed - Math.ceil(keepBytes / recordBytes));
}

/** Bytes that count for the log's limit: all pages in use but those of dead letters, for which no sink's progress would make room. */
export function usedBytes(file: OpenFile): number {
  return Math.max(0, pagesInUse(file) - letterBytes(file));
}

/** In bytes. Free pages are used again by the next appends. */
export function pagesInUse(file: OpenFile): number {
  return (pragma(file, 'page_count') - pragma(file, 'freelist_count')) * pragma(file, 'page_size');
}

/** Gives a part of the free pages back where there are far more than the next appends need. Outside of a transaction. */
export function shrinkStep(file: OpenFile): void {
  const free = pragma(file, 'freelist_count');
  if (free * pragma(file, 'page_size') < VACUUM_FROM_BYTES || free * 2 < pragma(file, 'page_count')) return;
  file.database.exec(`PRAGMA incremental_vacuum(${VACUUM_PAGES})`);
}

function pragma(file: OpenFile, name: 'page_count' | 'freelist_count' | 'page_size'): number {
  return (file.prepare(`PRAGMA ${name}`).get() as Readonly<Record<typeof name, number>>)[name];
}
