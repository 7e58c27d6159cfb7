import type { OpenFile } from '../lib/sqlite/file.ts';
import { blockId, offsetOfId } from './layout.ts';
import { storedProgress } from './progress.ts';

/** One step frees no more than this, so that it stays short. */
const STEP_BLOCKS = 64;
const STEP_BYTES = 8 * 1024 * 1024;
/** Pages given back to the file system in one step, once more than half of the file is free. */
const VACUUM_PAGES = 256;
const VACUUM_FROM_BYTES = 16 * 1024 * 1024;

/**
 * Frees blocks that every retained consumer has behind it. The newest block of a partition stays, so that its end can be
 * told. A consumer without progress holds everything: it may be about to begin. Returns true if there is more to free.
 * Inside a write transaction.
 */
export function trimStep(file: OpenFile, partition: number, retained: readonly string[] | null): boolean {
  if (retained === null || retained.length === 0) return false;
  const needed = Math.min(...retained.map((consumer) => storedProgress(file, { consumer, partition })?.offset ?? 0));
  const select = file.prepare('SELECT id, count, bytes FROM block WHERE id >= ? AND id < ? ORDER BY id LIMIT ?');
  const oldest = select.all(blockId(partition, 0), blockId(partition + 1, 0), STEP_BLOCKS + 1) as {
    readonly id: number;
    readonly count: number;
    readonly bytes: number;
  }[];
  let freed: number | null = null;
  let bytes = 0;
  let more = false;
  for (const [index, block] of oldest.entries()) {
    const isNewest = index === oldest.length - 1 && oldest.length <= STEP_BLOCKS;
    if (isNewest || offsetOfId(block.id) + block.count > needed) break;
    more = index === STEP_BLOCKS || bytes >= STEP_BYTES;
    if (more) break;
    freed = block.id;
    bytes += block.bytes;
  }
  if (freed !== null) file.prepare('DELETE FROM block WHERE id >= ? AND id <= ?').run(blockId(partition, 0), freed);
  return more;
}

/** Pages in use. Free ones are used again by the next appends. */
export function usedBytes(file: OpenFile): number {
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
