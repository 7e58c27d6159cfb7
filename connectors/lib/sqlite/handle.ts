import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { assert } from '#core/assert.ts';
import { CausewayError, type ErrorCode } from '#core/errors.ts';
import { describeResult, resultCodeOf, sqliteResult } from './result-code.ts';
import { corrupt, isUnsafeInteger } from './row.ts';

/** What is kept in a file, and how to say that it cannot be had. */
export type FileKind = {
  /** For people: `control store`. */
  readonly what: string;
  /** Tells our files from all others (https://www.sqlite.org/pragma.html#pragma_application_id). */
  readonly applicationId: number;
  /**
   * Raised with every change of the tables, or of what their rows have to hold. A file with another one is refused, never guessed at
   * and never changed: a release that has to read an older one brings the step that makes it a newer one.
   */
  readonly formatVersion: number;
  readonly pageBytes: number;
  /** Makes the tables of a new file, inside a transaction. */
  readonly make: (database: DatabaseSync) => void;
  /** Looks, in one read transaction, whether a file of ours is the right one; throws if it is not. */
  readonly verify: (database: DatabaseSync) => void;
  readonly codes: { readonly unavailable: ErrorCode; readonly damaged: ErrorCode; readonly foreign: ErrorCode; readonly full: ErrorCode };
};

/** An open file with its prepared statements. */
export type OpenFile = { readonly database: DatabaseSync; readonly prepare: (sql: string) => StatementSync; readonly identity: string };

export type WriteOptions = {
  /** Makes a file that is not there. */
  readonly create: boolean;
  /**
   * With it a write is on the disk when it returns. Without, it survives the death of the process but perhaps not that of the
   * machine; what is lost then is a tail, never something in between, because the write-ahead log is recovered up to its first
   * gap and a later durable commit syncs all of it.
   */
  readonly durable: boolean;
};

/** SQLite's own wait for a lock blocks the event loop, so it is short; the rest of the wait is the caller's. */
const LOCK_WAIT_MS = 20;
const WAL_BYTES_KEPT = 64 * 1024 * 1024;

/**
 * One SQLite file as one thread uses it, durable at every commit (WAL with synchronous=FULL) and shared with other threads and
 * processes. It is opened at the first use, and again when the file at its path is no longer the one that was opened: a
 * commit to a deleted file would be lost without a word. What SQLite itself throws passes through: see `mapped`.
 */
export class SqliteHandle {
  readonly path: string;
  readonly #kind: FileKind;
  #open: OpenFile | null = null;
  #closed = false;

  constructor(path: string, kind: FileKind) {
    this.path = path;
    this.#kind = kind;
  }

  opened(create: boolean): OpenFile {
    if (this.#closed) throw this.#error('unavailable', 'is closed');
    if (this.#open !== null && !this.#isCurrent()) this.release();
    this.#open ??= this.#openNow(create);
    return this.#open;
  }

  /** One read transaction, so that all statements see one state. */
  read<T>(work: (file: OpenFile) => T): T {
    const file = this.opened(false);
    return within(file.database, 'BEGIN', () => work(file));
  }

  /** One write transaction. Whoever writes has to know that the file is still the one at its path when it is committed. */
  write<T>(options: WriteOptions, work: (file: OpenFile) => T): T {
    const file = this.opened(options.create);
    file.database.exec(options.durable ? 'PRAGMA synchronous = FULL' : 'PRAGMA synchronous = NORMAL');
    const result = within(file.database, 'BEGIN IMMEDIATE', () => work(file));
    if (identityOf(this.path) !== file.identity) throw this.#error('unavailable', 'was removed or replaced while it was open');
    return result;
  }

  /** True where there is a file now. */
  exists(): boolean {
    return identityOf(this.path) !== null;
  }

  close(): void {
    this.#closed = true;
    this.release();
  }

  /** Closes it until the next use. */
  release(): void {
    const open = this.#open;
    this.#open = null;
    open?.database.close();
  }

  #openNow(create: boolean): OpenFile {
    if (create) this.#makeDirectory();
    else if (!this.exists()) throw this.#error('unavailable', 'does not exist');
    const database = new DatabaseSync(this.path, { timeout: LOCK_WAIT_MS });
    try {
      const fresh = this.#look(database);
      // Only now: a file that is not ours is left as it is.
      if (fresh) database.exec(`PRAGMA page_size = ${this.#kind.pageBytes}; PRAGMA auto_vacuum = INCREMENTAL`);
      database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = ${WAL_BYTES_KEPT}`);
      if (fresh) this.#make(database);
      within(database, 'BEGIN', () => this.#kind.verify(database));
      const identity = identityOf(this.path);
      if (identity === null) throw this.#error('unavailable', 'was removed while it was being opened');
      const statements = new Map<string, StatementSync>();
      const prepare = (sql: string): StatementSync => {
        const statement = statements.get(sql) ?? database.prepare(sql);
        statements.set(sql, statement);
        return statement;
      };
      return { database, prepare, identity };
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Returns true for an empty file. */
  #look(database: DatabaseSync): boolean {
    const applicationId = numberOf(database, 'PRAGMA application_id');
    if (applicationId === 0 && numberOf(database, 'SELECT count(*) FROM sqlite_schema') === 0) return true;
    if (applicationId !== this.#kind.applicationId) throw this.#error('foreign', `is not a ${this.#kind.what} of Causeway`);
    const version = numberOf(database, 'PRAGMA user_version');
    if (version < 1) throw this.#error('damaged', 'has no format version');
    if (version !== this.#kind.formatVersion) {
      const other = version > this.#kind.formatVersion ? 'a newer' : 'an older';
      throw this.#error('foreign', `has format version ${version}, of ${other} release; this one knows ${this.#kind.formatVersion}`);
    }
    return false;
  }

  #make(database: DatabaseSync): void {
    within(database, 'BEGIN IMMEDIATE', () => {
      // Another process may have made it since it was looked at.
      if (!this.#look(database)) return;
      this.#kind.make(database);
      database.exec(`PRAGMA application_id = ${this.#kind.applicationId}; PRAGMA user_version = ${this.#kind.formatVersion}`);
    });
  }

  #makeDirectory(): void {
    try {
      mkdirSync(dirname(this.path), { recursive: true });
    } catch (error) {
      throw this.#error('unavailable', `cannot be made: the directory ${dirname(this.path)} cannot be made (${systemCode(error)})`, error);
    }
  }

  #isCurrent(): boolean {
    return this.#open !== null && identityOf(this.path) === this.#open.identity;
  }

  /** What SQLite threw, by its code; anything else as it is. */
  mapped(error: unknown): unknown {
    switch (resultCodeOf(error)) {
      case null:
        return error;
      case sqliteResult.busy:
      case sqliteResult.locked:
        return this.#error('unavailable', 'was locked by another process for too long', error);
      case sqliteResult.corrupt:
        return this.#error('damaged', `is damaged: ${describeResult(error)}`, error);
      case sqliteResult.notADatabase:
        return this.#error('foreign', `is not a ${this.#kind.what} of Causeway, or its beginning is damaged`, error);
      case sqliteResult.full:
        return this.#error('full', 'cannot grow: the disk is full', error);
      default:
        return this.#error('unavailable', `cannot be used: ${describeResult(error)}`, error);
    }
  }

  #error(code: keyof FileKind['codes'], what: string, cause?: unknown): CausewayError {
    return new CausewayError(this.#kind.codes[code], `the ${this.#kind.what} ${this.path} ${what}`, { cause });
  }
}

/** `BEGIN IMMEDIATE` takes the write lock at once, so that nothing that `work` reads can change before it writes. */
function within<T>(database: DatabaseSync, begin: 'BEGIN' | 'BEGIN IMMEDIATE', work: () => T): T {
  database.exec(begin);
  try {
    const result = work();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    throw isUnsafeInteger(error) ? corrupt('an integer is larger than any that is written') : error;
  } finally {
    // A full disk can have ended the transaction by itself.
    if (database.isTransaction) database.exec('ROLLBACK');
  }
}

export function numberOf(database: DatabaseSync, sql: string): number {
  const value = Object.values(database.prepare(sql).get() ?? {})[0];
  assert(typeof value === 'number', 'the statement gives one number');
  return value;
}

/** Device and inode: what stands at the path now. */
function identityOf(path: string): string | null {
  const stats = statSync(path, { throwIfNoEntry: false, bigint: true });
  return stats === undefined ? null : identityText(stats);
}

function identityText(stats: { readonly dev: bigint; readonly ino: bigint }): string {
  return `${stats.dev}:${stats.ino}`;
}

function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}
