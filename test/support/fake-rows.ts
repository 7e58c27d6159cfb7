import type { RowKey } from '#core/key.ts';
import type { RowRange, RowRead, RowReader, RowSnapshot, RowsRead, RowsWanted } from '#core/row-reader.ts';
import type { FakeDatabase } from './fake-source.ts';

/** What reads of a FakeDatabase see at one moment: commits that are hidden then have been streamed, perhaps, and show in none of them. */
class FakeSnapshot implements RowSnapshot {
  readonly #hidden: ReadonlySet<string>;
  readonly #newest: number;

  constructor(hidden: ReadonlySet<string>, newest: number) {
    this.#hidden = hidden;
    this.#newest = newest;
  }

  shows(transactionId: string): boolean {
    return Number(transactionId) <= this.#newest && !this.#hidden.has(transactionId);
  }

  showsAllBefore(earlier: RowSnapshot): boolean {
    if (!(earlier instanceof FakeSnapshot)) throw new Error('a snapshot of another database');
    const before = earlier.#newest;
    return [...this.#hidden].every((id) => Number(id) > before);
  }
}

/** One connection for reads. Texts are ordered by their code units. */
export class FakeRows implements RowReader {
  readonly #database: FakeDatabase;

  constructor(database: FakeDatabase) {
    this.#database = database;
  }

  async mark(content: string, signal: AbortSignal): Promise<void> {
    await this.#database.enter('row-mark', signal);
    this.#database.say(content);
    await this.#database.enter('row-marked', signal);
  }

  async look(signal: AbortSignal): Promise<RowSnapshot> {
    await this.#database.enter('look', signal);
    return this.#snapshot();
  }

  async read(wanted: RowsWanted, signal: AbortSignal): Promise<RowsRead | null> {
    const database = this.#database;
    await database.enter('rows', signal);
    const snapshot = this.#snapshot();
    const readAt = database.now();
    if (!wanted.accepts(snapshot)) return null;
    const { schema } = database.table(wanted.table);
    const seen = [...database.rowsSeen(wanted.table)].toSorted(([a], [b]) => (a < b ? -1 : 1)).filter(([key]) => isIn(wanted.range, key));
    const rows: RowRead[] = [];
    let bytes = 0;
    for (const [key, row] of seen) {
      if (rows.length >= wanted.rowsMax || bytes >= wanted.bytesMax) break;
      bytes += JSON.stringify(row).length;
      const isUnreadable = database.isUnreadable(row);
      rows.push({ key, row: isUnreadable ? null : row, withheld: isUnreadable ? 'not valid in the encoding' : null });
    }
    const isWhole = rows.length < wanted.rowsMax && bytes < wanted.bytesMax;
    // Rows are on their way while others write.
    await database.enter('rows-read', signal);
    return { snapshot, readAt, schema, rows, bytes, isWhole };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  #snapshot(): RowSnapshot {
    return new FakeSnapshot(this.#database.hiddenIds(), this.#database.newestXid);
  }
}

function isIn(range: RowRange, key: RowKey): boolean {
  if (range.tag === 'keys') return range.keys.includes(key);
  return (range.after === null || key > range.after) && (range.upTo === null || key <= range.upTo);
}
