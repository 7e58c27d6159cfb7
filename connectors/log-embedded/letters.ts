import { CausewayError } from '#core/errors.ts';
import type { LetterRelease, LetterToPark } from '#core/log.ts';
import type { OpenFile } from '../lib/sqlite/handle.ts';
import type { ConsumerPartition } from './progress.ts';

/** Whoever took a partition's letters with the token. */
export type LetterHolder = ConsumerPartition & { readonly token: number };

/** Inside a write transaction. Returns the new holder's token, which is greater than any before it. */
export function takeLetters({ prepare }: OpenFile, { consumer, partition }: ConsumerPartition): number {
  const taken = prepare(
    `INSERT INTO dead_letter_holder (consumer, partition, token) VALUES (?, ?, 1)
     ON CONFLICT (consumer, partition) DO UPDATE SET token = token + 1 RETURNING token`,
  ).get(consumer, partition);
  return Number(taken?.['token']);
}

function admit({ prepare }: OpenFile, { consumer, partition, token }: LetterHolder): void {
  const last = prepare('SELECT token FROM dead_letter_holder WHERE consumer = ? AND partition = ?').get(consumer, partition);
  if (last?.['token'] === token) return;
  throw new CausewayError('partition_fenced', `another worker took the dead letters of partition ${partition} of ${consumer}`);
}

/** Inside a write transaction. */
export function parkLetters(file: OpenFile, by: LetterHolder, letters: readonly LetterToPark[]): undefined {
  admit(file, by);
  const { consumer, partition } = by;
  const insert = file.prepare(
    `INSERT INTO dead_letter (consumer, partition, key, sequence, code, reason, committed_at, record)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (consumer, partition, key) DO UPDATE SET sequence = excluded.sequence, code = excluded.code,
       reason = excluded.reason, committed_at = excluded.committed_at, record = excluded.record, released_at = NULL, released_replay = NULL
     WHERE dead_letter.sequence < excluded.sequence
       OR dead_letter.sequence = excluded.sequence AND (dead_letter.released_at IS NULL OR ?)`,
  );
  for (const letter of letters) {
    const { key, sequence, code, reason, committedAtMicros, record, again } = letter;
    insert.run(consumer, partition, key, sequence, code, reason, committedAtMicros, record, again === true ? 1 : 0);
  }
}

/** Inside a write transaction. */
export function releaseLetters(file: OpenFile, by: LetterHolder, releases: readonly LetterRelease[]): undefined {
  admit(file, by);
  const { consumer, partition } = by;
  const where = 'WHERE consumer = ? AND partition = ? AND key = ? AND sequence <= ?';
  const remove = file.prepare(`DELETE FROM dead_letter ${where}`);
  const greater = (column: string): string => `${column} = max(coalesce(${column}, 0), ?)`;
  const mark = file.prepare(`UPDATE dead_letter SET ${greater('released_at')}, ${greater('released_replay')} ${where}`);
  for (const { key, sequence, at, replay } of releases) {
    if (at === null) remove.run(consumer, partition, key, sequence);
    else mark.run(at, replay, consumer, partition, key, sequence);
  }
}

/**
 * Letters that the log released, and for which no sink can ask any more: it would need records before `start` as well. Inside a write
 * transaction.
 */
export function trimReleased({ prepare }: OpenFile, partition: number, start: number): void {
  prepare('DELETE FROM dead_letter WHERE partition = ? AND released_at < ? AND released_replay = 0').run(partition, start);
}

/** Those too that one of the first `replays` released. Inside a write transaction. */
export function forgetReleased(file: OpenFile, by: LetterHolder, of: { readonly start: number; readonly replays: number }): undefined {
  admit(file, by);
  const { consumer, partition } = by;
  const where = 'consumer = ? AND partition = ? AND released_at < ? AND released_replay <= ?';
  file.prepare(`DELETE FROM dead_letter WHERE ${where}`).run(consumer, partition, of.start, of.replays);
}

/** About what the letters take in the file: overflow pages of 8 KiB. Looks at each row, though not at the records themselves. */
export function letterBytes({ prepare }: OpenFile): number {
  const size = 'CASE WHEN length(record) > 2000 THEN (length(record) / 8188 + 1) * 8192 ELSE coalesce(length(record), 0) END';
  return Number(prepare(`SELECT coalesce(sum(200 + ${size}), 0) AS bytes FROM dead_letter`).get()?.['bytes'] ?? 0);
}

/** Returns how many there were. The holders' tokens stay: under the same name others could come whose tokens begin anew. */
export function removeLetters(file: OpenFile, consumer: string): number {
  return Number(file.prepare('DELETE FROM dead_letter WHERE consumer = ?').run(consumer).changes);
}
