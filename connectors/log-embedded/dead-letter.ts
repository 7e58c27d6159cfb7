import type { RowKey } from '#core/key.ts';
import type { DeadLetter, DeadLetters } from '#core/log.ts';
import type { Sequence } from '#core/sequence.ts';
import type { OpenFile } from '../lib/sqlite/handle.ts';
import { bytesIn, corrupt, integerIn, nullOr, type Row, textIn } from '../lib/sqlite/row.ts';
import type { LogFile } from './log-file.ts';

/** A letter can be as large as a record, so that they are read one by one. */
const OF = 'FROM dead_letter WHERE consumer = ? AND partition = ? AND key > ?';
const SELECT = 'SELECT key, sequence, code, reason, committed_at, record';
const NEXT = `${SELECT} ${OF} AND released_at IS NULL ORDER BY key LIMIT 1`;
const NEXT_RELEASED = `${SELECT}, released_replay ${OF} AND (released_at >= ? OR released_replay > ?) ORDER BY key LIMIT 1`;

/** A thread has little room for texts, and a sink can have a million parked keys: one message holds no more than these. */
const PART_KEYS = 1_000;
const PART_TEXT_UNITS = 1024 * 1024;

/** A table in the log's file: a key has one row, its newest letter. A released one says where, until the log begins behind that. */
export function embeddedDeadLetters(file: LogFile, consumer: string): DeadLetters {
  return {
    async take(partition, signal) {
      const of = { consumer, partition };
      const by = { ...of, token: await file.write('take', { of }, signal) };
      return {
        async park(letters, signal) {
          for (const part of parted(letters)) await file.write('park', { by, letters: part }, signal);
        },
        async release(releases, signal) {
          for (const part of parted(releases)) await file.write('release', { by, releases: part }, signal);
        },
        async forget(replays, signal) {
          await file.write('forget', { by, replays }, signal);
        },
      };
    },
    read: (partition, signal) =>
      lettersIn(file, { next: ({ prepare }, after) => prepare(NEXT).get(consumer, partition, after), letterOf }, signal),
    readReleased: (partition, { offset, replays }, signal) =>
      lettersIn(
        file,
        {
          next: ({ prepare }, after) => prepare(NEXT_RELEASED).get(consumer, partition, after, offset, replays),
          letterOf: (row) => ({ ...letterOf(row), replay: integerIn(row, 'released_replay') }),
        },
        signal,
      ),
  };
}

/** Each part is durable on its own: whoever was interrupted parks or releases all of them again. */
function* parted<T extends { readonly key: string; readonly reason?: string }>(all: readonly T[]): Generator<readonly T[]> {
  let part: T[] = [];
  let units = 0;
  for (const one of all) {
    if (part.length >= PART_KEYS || units >= PART_TEXT_UNITS) {
      yield part;
      part = [];
      units = 0;
    }
    part.push(one);
    units += one.key.length + (one.reason?.length ?? 0);
  }
  if (part.length > 0) yield part;
}

type LetterQuery<Letter> = {
  readonly next: (opened: OpenFile, after: string) => Row | undefined;
  readonly letterOf: (row: Row) => Letter;
};

async function* lettersIn<Letter extends DeadLetter>(file: LogFile, of: LetterQuery<Letter>, signal: AbortSignal): AsyncIterable<Letter> {
  let after = '';
  while (true) {
    const letter = await file.read((opened) => letterBehind(after, of, opened), signal);
    if (letter === null) return;
    after = letter.key;
    yield letter;
  }
}

/** A damaged index can give the same letters again and again. */
function letterBehind<Letter extends DeadLetter>(after: string, of: LetterQuery<Letter>, opened: OpenFile): Letter | null {
  const row = of.next(opened, after);
  if (row === undefined) return null;
  const letter = of.letterOf(row);
  if (Buffer.compare(Buffer.from(letter.key), Buffer.from(after)) <= 0) throw corrupt('dead letters are not in order');
  return letter;
}

function letterOf(row: Row): DeadLetter {
  return {
    key: textIn(row, 'key') as RowKey,
    sequence: textIn(row, 'sequence') as Sequence,
    code: textIn(row, 'code'),
    reason: textIn(row, 'reason'),
    record: nullOr(bytesIn, row, 'record'),
    committedAtMicros: integerIn(row, 'committed_at'),
  };
}
