import { present } from '#core/assert.ts';
import type { SourceChange } from '#core/event.ts';
import type { RowKey } from '#core/key.ts';
import type { RowRead, RowsRead } from '#core/row-reader.ts';
import type { SchemaVersion, TableId } from '#core/schema.ts';
import { isPartial, mergePartial, type Row } from '#core/value.ts';

type PartialImage = { readonly transactionId: string; readonly row: Row };

/** What the stream showed of a key: enough to know its row, or images that leave columns as they were. */
type Hot = 'settled' | PartialImage[];

export type Settled = {
  /** Rows whose keys did not change in the window. */
  readonly cold: readonly RowRead[];
  /** Those that have to be published whole at its end. */
  readonly whole: readonly RowRead[];
  /** Of the keys that were asked for, those of which the source held nothing throughout. Empty where a range was read. */
  readonly absent: readonly RowKey[];
  readonly hotKeys: number;
};

/** Why a chunk is worth nothing. `large`: not all of the keys were read; `keys`: one of them is not written as the source writes it. */
export type Spoiled = 'truncate' | 'schema' | 'hot' | 'large' | 'keys';

/**
 * What the stream shows of one table between the low watermark of a chunk and its high one. A key that changes there is hot: what was
 * read of it is not its row at the low one, and its change stands in the log. Only where every change of it leaves a column out does
 * the log alone not tell its row.
 */
export class ChunkWindow {
  readonly table: TableId;
  readonly #hotMax: number;
  readonly #asked: ReadonlySet<RowKey> | null;
  readonly #hot = new Map<RowKey, Hot>();
  #read: { readonly rows: RowsRead; readonly keys: ReadonlySet<RowKey> } | null = null;
  #images = 0;
  #spoiled: Spoiled | null = null;
  #schemas = new Set<SchemaVersion>();

  /**
   * `hotMax`: of keys that changed, and of images that leave columns out. `asked`: the keys that are read, null for a range. All of them are
   * watched, those too of which nothing is read: one of them can come or go in the window.
   */
  constructor(table: TableId, hotMax: number, asked: ReadonlySet<RowKey> | null = null) {
    this.table = table;
    this.#hotMax = hotMax;
    this.#asked = asked;
  }

  /** Why the chunk is worth nothing; null while it is. */
  get spoiled(): Spoiled | null {
    return this.#spoiled;
  }

  /** From here on only keys that were asked for or read count, and what the read shows of them already is in their rows. */
  rowsRead(rows: RowsRead): void {
    const found = new Set(rows.rows.map(({ key }) => key));
    const keys = this.#asked ?? found;
    if (!found.isSubsetOf(keys)) this.#spoiled ??= 'keys';
    // A key that was not come to would pass for one that the source does not hold.
    if (this.#asked !== null && !rows.isWhole && found.size < keys.size) this.#spoiled ??= 'large';
    this.#read = { rows, keys };
    this.#images = 0;
    for (const [key, hot] of this.#hot) {
      if (!keys.has(key)) this.#hot.delete(key);
      else if (hot !== 'settled') this.#hot.set(key, this.#unshown(hot));
    }
    for (const version of this.#schemas) if (version !== rows.schema.version) this.#spoiled ??= 'schema';
  }

  changed(change: SourceChange, transactionId: string): void {
    if (this.#spoiled !== null) return;
    const version = change.schema.version;
    if (this.#read !== null && version !== this.#read.rows.schema.version) this.#spoiled = 'schema';
    else if (this.#read === null) this.#schemas.add(version);
    if (change.op === 'update' && isPartial(change.row)) {
      if (change.oldKey !== null) this.#settle(change.oldKey);
      this.#leaveOut(change.key, { transactionId, row: change.row });
      return;
    }
    if (change.op === 'update' && change.oldKey !== null) this.#settle(change.oldKey);
    this.#settle(change.key);
  }

  truncated(): void {
    this.#spoiled ??= 'truncate';
  }

  settle(): Settled {
    const { rows, keys } = present(this.#read, 'the rows of a chunk at its end');
    const missing = new Set(this.#asked ?? []);
    const cold: RowRead[] = [];
    const whole: RowRead[] = [];
    for (const row of rows.rows) {
      const hot = this.#hot.get(row.key);
      missing.delete(row.key);
      if (hot === undefined) cold.push(row);
      else if (hot !== 'settled') whole.push(folded(row, hot));
    }
    const absent = [...missing].filter((key) => !this.#hot.has(key));
    return { cold, whole, absent, hotKeys: [...this.#hot.keys()].filter((key) => keys.has(key)).length };
  }

  #settle(key: RowKey): void {
    this.#note(key, 'settled');
  }

  #leaveOut(key: RowKey, image: PartialImage): void {
    const known = this.#hot.get(key) ?? [];
    if (known === 'settled' || !this.#isWatched(key)) return;
    if (this.#read === null) this.#images += 1;
    this.#note(key, this.#read === null ? [...known, image] : this.#unshown([...known, image]));
  }

  /** One image in place of those that the read does not show. */
  #unshown(images: readonly PartialImage[]): PartialImage[] {
    const { snapshot } = present(this.#read, 'the rows of a chunk').rows;
    const left = images.filter(({ transactionId }) => !snapshot.shows(transactionId));
    const last = left.at(-1);
    return last === undefined ? [] : [{ ...last, row: left.map(({ row }) => row).reduce(mergePartial) }];
  }

  #note(key: RowKey, hot: Hot): void {
    if (!this.#isWatched(key)) return;
    this.#hot.set(key, hot);
    this.#limit();
  }

  #isWatched(key: RowKey): boolean {
    const watched = this.#asked ?? this.#read?.keys;
    return watched === undefined || watched.has(key);
  }

  #limit(): void {
    if (this.#hot.size + this.#images > this.#hotMax) this.#spoiled ??= 'hot';
  }
}

/** The row at the high watermark: as read, with what the read does not show on top of it. */
function folded(read: RowRead, images: readonly PartialImage[]): RowRead {
  const { row } = read;
  return row === null ? read : { ...read, row: images.reduce((base: Row, image) => mergePartial(base, image.row), row) };
}
