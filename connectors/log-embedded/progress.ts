import { compareProgress, type LogProgress } from '#core/log.ts';
import type { FencingToken, Offset } from '#core/position.ts';
import type { OpenFile } from '../lib/sqlite/handle.ts';
import { integerIn, nullOr } from '../lib/sqlite/row.ts';

export type ConsumerPartition = { readonly consumer: string; readonly partition: number };

export function storedProgress(file: OpenFile, of: ConsumerPartition): LogProgress | null {
  const found = file
    .prepare('SELECT next_offset, generation, counter FROM progress WHERE consumer = ? AND partition = ?')
    .get(of.consumer, of.partition);
  if (found === undefined) return null;
  const offset = integerIn(found, 'next_offset');
  const generation = nullOr(integerIn, found, 'generation');
  const counter = nullOr(integerIn, found, 'counter');
  const pair = generation === null || counter === null ? null : { generation: generation as FencingToken, counter };
  return { offset: offset as Offset, pair };
}

/** Inside a write transaction. Returns what is stored then: what was there, where that is further on. */
export function storeProgress(file: OpenFile, of: ConsumerPartition, progress: LogProgress): LogProgress {
  const before = storedProgress(file, of);
  if (before !== null && compareProgress(progress, before) <= 0) return before;
  writeProgress(file, of, progress);
  return progress;
}

/** Inside a write transaction. Nothing stored is lower than any progress: it holds everything. */
export function lowerProgress(file: OpenFile, of: ConsumerPartition, progress: LogProgress): undefined {
  const before = storedProgress(file, of);
  if (before !== null && compareProgress(progress, before) < 0) writeProgress(file, of, progress);
}

/** Returns how many partitions' progress there was. */
export function removeProgress(file: OpenFile, consumer: string): number {
  return Number(file.prepare('DELETE FROM progress WHERE consumer = ?').run(consumer).changes);
}

function writeProgress(file: OpenFile, of: ConsumerPartition, progress: LogProgress): void {
  file
    .prepare('INSERT OR REPLACE INTO progress (consumer, partition, next_offset, generation, counter) VALUES (?, ?, ?, ?, ?)')
    .run(of.consumer, of.partition, progress.offset, progress.pair?.generation ?? null, progress.pair?.counter ?? null);
}
