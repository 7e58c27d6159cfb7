import type { RowKey } from '#core/key.ts';
import type { DeadLetter, DeadLetters } from '#core/log.ts';
import type { Sequence } from '#core/sequence.ts';
import type { SqliteFile } from '../lib/sqlite/file.ts';

const DURABLE = { create: false, durable: true };
/** A letter can be as large as a record, so that they are read one by one. */
const NEXT = `
  SELECT key, sequence, code, reason, committed_at, record FROM dead_letter
  WHERE consumer = ? AND partition = ? AND key > ? ORDER BY key LIMIT 1`;

/** A table in the log's file: a key has one row, its newest letter. */
export function embeddedDeadLetters(file: SqliteFile, consumer: string): DeadLetters {
  return {
    async park(partition, letters, signal) {
      if (letters.length === 0) return;
      await file.write(
        DURABLE,
        ({ prepare }) => {
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
        },
        signal,
      );
    },
    async release(partition, releases, signal) {
      if (releases.length === 0) return;
      await file.write(
        DURABLE,
        ({ prepare }) => {
          const remove = prepare('DELETE FROM dead_letter WHERE consumer = ? AND partition = ? AND key = ? AND sequence <= ?');
          for (const { key, sequence } of releases) remove.run(consumer, partition, key, sequence);
        },
        signal,
      );
    },
    async *read(partition, signal) {
      let after = '';
      while (true) {
        const row = await file.read(({ prepare }) => prepare(NEXT).get(consumer, partition, after), signal);
        if (row === undefined) return;
        const letter = letterOf(row);
        after = letter.key;
        yield letter;
      }
    },
  };
}

function letterOf(row: Readonly<Record<string, unknown>>): DeadLetter {
  // The table is STRICT: the columns have these types.
  return {
    key: row['key'] as RowKey,
    sequence: row['sequence'] as Sequence,
    code: row['code'] as string,
    reason: row['reason'] as string,
    record: row['record'] as Uint8Array | null,
    committedAtMicros: row['committed_at'] as number,
  };
}
