import type { DeadLetter, LetterRelease } from '#core/log.ts';
import type { OpenFile } from '../lib/sqlite/handle.ts';
import type { ConsumerPartition } from './progress.ts';

/** Inside a write transaction. */
export function parkLetters({ prepare }: OpenFile, { consumer, partition }: ConsumerPartition, letters: readonly DeadLetter[]): undefined {
  const insert = prepare(
    `INSERT INTO dead_letter (consumer, partition, key, sequence, code, reason, committed_at, record)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (consumer, partition, key) DO UPDATE SET sequence = excluded.sequence, code = excluded.code,
       reason = excluded.reason, committed_at = excluded.committed_at, record = excluded.record
     WHERE dead_letter.sequence <= excluded.sequence`,
  );
  for (const letter of letters) {
    const { key, sequence, code, reason, committedAtMicros, record } = letter;
    insert.run(consumer, partition, key, sequence, code, reason, committedAtMicros, record);
  }
}

/** Inside a write transaction. */
export function releaseLetters(
  { prepare }: OpenFile,
  { consumer, partition }: ConsumerPartition,
  releases: readonly LetterRelease[],
): undefined {
  const remove = prepare('DELETE FROM dead_letter WHERE consumer = ? AND partition = ? AND key = ? AND sequence <= ?');
  for (const { key, sequence } of releases) remove.run(consumer, partition, key, sequence);
}

/** Returns how many there were. */
export function removeLetters(file: OpenFile, consumer: string): number {
  return Number(file.prepare('DELETE FROM dead_letter WHERE consumer = ?').run(consumer).changes);
}
