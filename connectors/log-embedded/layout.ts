import type { DatabaseSync } from 'node:sqlite';
import { CausewayError } from '#core/errors.ts';
import { type FileKind, numberOf } from '../lib/sqlite/handle.ts';
import { codes } from './errors.ts';

/**
 * A block is a run of records of one partition that were appended together, see block.ts. Its id is the partition and the
 * offset of its first record in one number, so that a partition's blocks stand together and in order:
 * `partition * 2^44 + offset`.
 */
const TABLES = `
  CREATE TABLE log (only INTEGER PRIMARY KEY CHECK (only = 1), pipeline TEXT NOT NULL, partitions INTEGER NOT NULL) STRICT;
  CREATE TABLE block (id INTEGER PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
  CREATE TABLE progress (
    consumer TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL, generation INTEGER, counter INTEGER,
    PRIMARY KEY (consumer, partition)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE dead_letter (
    consumer TEXT NOT NULL, partition INTEGER NOT NULL, key TEXT NOT NULL, sequence TEXT NOT NULL, code TEXT NOT NULL,
    reason TEXT NOT NULL, committed_at INTEGER NOT NULL, released_at INTEGER, released_replay INTEGER, record BLOB, PRIMARY KEY (consumer, partition, key)
  ) STRICT;
  CREATE TABLE dead_letter_holder (
    consumer TEXT NOT NULL, partition INTEGER NOT NULL, token INTEGER NOT NULL, PRIMARY KEY (consumer, partition)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX dead_letter_released ON dead_letter (partition, released_at) WHERE released_at IS NOT NULL;
`;

/** 2^44 records a partition are five years at a hundred thousand a second. */
const OFFSETS = 2 ** 44;

export function blockId(partition: number, offset: number): number {
  return partition * OFFSETS + offset;
}

export function offsetOfId(id: number): number {
  return id % OFFSETS;
}

/** What a file has to be the log of. */
export type LogIdentity = { readonly path: string; readonly pipeline: string; readonly partitions: number };

export function logFileKind(of: LogIdentity): FileKind {
  return {
    what: 'log',
    // `cwlg` in ASCII.
    applicationId: 0x63776c67,
    formatVersion: 4,
    pageBytes: 8192,
    make(database) {
      database.exec(TABLES);
      database.prepare('INSERT INTO log VALUES (1, ?, ?)').run(of.pipeline, of.partitions);
    },
    verify: (database) => verify(database, of),
    codes,
  };
}

function verify(database: DatabaseSync, of: LogIdentity): void {
  // SQLite believes the file's head: with another number the log would count as full for ever, or as empty whatever it holds.
  const pages = numberOf(database, 'PRAGMA page_count');
  const free = numberOf(database, 'PRAGMA freelist_count');
  if (free < 0 || free >= pages) {
    throw new CausewayError('log_damaged', `the log ${of.path} is damaged: its head counts ${free} free pages of ${pages}`);
  }
  const found = database.prepare('SELECT pipeline, partitions FROM log').get();
  if (found === undefined) throw new CausewayError('log_damaged', `the log ${of.path} has lost its head row`);
  if (found['pipeline'] !== of.pipeline) {
    throw new CausewayError(
      'log_foreign',
      `the log ${of.path} belongs to the pipeline ${String(found['pipeline'])}, not to ${of.pipeline}`,
    );
  }
  if (found['partitions'] !== of.partitions) {
    throw new CausewayError(
      'log_partitions_changed',
      `the log ${of.path} was made with ${String(found['partitions'])} partitions, and ${of.partitions} are configured`,
    );
  }
}
