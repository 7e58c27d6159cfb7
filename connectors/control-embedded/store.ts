import { assert } from '#core/assert.ts';
import type { ControlKey, ControlRow, ControlStore, RowVersion, Swap } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import { SqliteFile } from '../lib/sqlite/file.ts';
import type { FileKind, OpenFile } from '../lib/sqlite/handle.ts';
import { type Row, textIn } from '../lib/sqlite/row.ts';
import { codes } from './errors.ts';

export const controlFile: FileKind = {
  what: 'control store',
  // `cwcs` in ASCII.
  applicationId: 0x63776373,
  formatVersion: 2,
  pageBytes: 4096,
  make: (database) =>
    database.exec(`
    CREATE TABLE control_row (key TEXT PRIMARY KEY, value TEXT NOT NULL, version TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE last_version (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL) STRICT;
    INSERT INTO last_version VALUES (1, 0);
  `),
  verify: () => undefined,
  codes,
};

const DURABLE = { create: true, durable: true };
const SELECT_ROW = 'SELECT value, version FROM control_row WHERE key = ?';
/** Behind every key that begins with a prefix. */
const LAST_CHARACTER = '\u{10ffff}';

/** Rows in one SQLite file. Each write is one transaction that holds the lock from its start. */
export class EmbeddedControlStore implements ControlStore {
  readonly #file: SqliteFile;
  readonly #runtime: Runtime;

  constructor(input: { readonly path: string; readonly runtime: Runtime }) {
    this.#file = new SqliteFile({ path: input.path, kind: controlFile, runtime: input.runtime });
    this.#runtime = input.runtime;
  }

  get(key: ControlKey, signal: AbortSignal): Promise<ControlRow | null> {
    return this.#file.use({ create: true }, (file) => this.#row(file, key), signal);
  }

  swap(
    write: { readonly key: ControlKey; readonly value: unknown; readonly expected: RowVersion | null },
    signal: AbortSignal,
  ): Promise<Swap> {
    const text: unknown = JSON.stringify(write.value);
    assert(typeof text === 'string', 'a control row holds JSON');
    return this.#file.write(
      DURABLE,
      (file): Swap => {
        const current = this.#row(file, write.key);
        if ((current?.version ?? null) !== write.expected) return { tag: 'conflict', current };
        const version = this.#nextVersion(file);
        file.prepare('INSERT OR REPLACE INTO control_row (key, value, version) VALUES (?, ?, ?)').run(write.key, text, version);
        return { tag: 'stored', version };
      },
      signal,
    );
  }

  remove(key: ControlKey, expected: RowVersion, signal: AbortSignal): Promise<Swap | { readonly tag: 'removed' }> {
    return this.#file.write(
      DURABLE,
      (file) => {
        const current = this.#row(file, key);
        if (current?.version !== expected) return { tag: 'conflict' as const, current };
        file.prepare('DELETE FROM control_row WHERE key = ?').run(key);
        return { tag: 'removed' as const };
      },
      signal,
    );
  }

  list(prefix: string, signal: AbortSignal): Promise<readonly ControlRow[]> {
    return this.#file.use(
      { create: true },
      (file) => {
        const select = file.prepare('SELECT key, value, version FROM control_row WHERE key >= ? AND key < ? ORDER BY key');
        return select.all(prefix, prefix + LAST_CHARACTER).map((row) => this.#parsed(textIn(row, 'key') as ControlKey, row));
      },
      signal,
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#file.close();
    return Promise.resolve();
  }

  #row(file: OpenFile, key: ControlKey): ControlRow | null {
    const found = file.prepare(SELECT_ROW).get(key);
    return found === undefined ? null : this.#parsed(key, found);
  }

  #parsed(key: ControlKey, found: Row): ControlRow {
    const [value, version] = [textIn(found, 'value'), textIn(found, 'version')];
    try {
      return { key, value: JSON.parse(value) as unknown, version: version as RowVersion };
    } catch {
      throw new CausewayError('control_damaged', `the control store ${this.#file.path} holds a row that is not JSON`);
    }
  }

  /**
   * The number keeps versions apart within one file. The random part keeps those of a file that was lost and begun anew, or
   * restored from a copy, apart from the old ones: a holder that slept meanwhile must not succeed.
   */
  #nextVersion(file: OpenFile): RowVersion {
    const next = file.prepare('UPDATE last_version SET number = number + 1 RETURNING number').get();
    const chance = Math.floor(this.#runtime.random() * 2 ** 48);
    return `${String(next?.['number'])}-${chance.toString(16).padStart(12, '0')}` as RowVersion;
  }
}
