import { present } from '#core/assert.ts';
import type { SourceChange } from '#core/event.ts';
import type { RowKey } from '#core/key.ts';
import type { RowRead, RowsRead } from '#core/row-reader.ts';
import type { SchemaVersion, TableId } from '#core/schema.ts';
import { isPartial, mergePartial, type Row } from '#core/value.ts';

type PartialImage = { readonly transactionId: string; readonly row: Row };

/** What the stream showed of a key: enough to know its row, or images that leave columns as they were. */
type Hot = 'settled' | PartialImage[];

/** Rows whose keys did not change in the window, and those that have to be published whole at its end. */
export type Settled = { readonly cold: readonly RowRead[]; readonly whole: readonly RowRead[]; readonly hotKeys: number };

/**
 * What the stream shows of one table between the low watermark of a chunk and its high one. A key that changes there is hot: what was
 * read of it is not its row at the low one, and its change stands in the log. Only where every change of it leaves a column out does
 * the log alone not tell its row.
 */
export class ChunkWindow {
  readonly table: TableId;
  readonly #hotMax: number;
  readonly #hot = new Map<RowKey, Hot>();
  #read: { readonly rows: RowsRead; readonly keys: ReadonlySet<RowKey> } | null = null;
  #images = 0;
  #spoiled: 'truncate' | 'schema' | 'hot' | null = null;
  #schemas = new Set<SchemaVersion>();

  /** `hotMax`: of keys that changed, and of images that leave columns out. */
  constructor(table: TableId, hotMax: number) {
    this.table = table;
    this.#hotMax = hotMax;
  }

  /** Why the chunk is worth nothing; null while it is. */
  get spoiled(): 'truncate' | 'schema' | 'hot' | null {
    return this.#spoiled;
  }

  /** From here on only keys that were read count, and what the read shows of them already is in their rows. */
  rowsRead(rows: RowsRead): void {
    const keys = new Set(rows.rows.map(({ key }) => key));
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
    const cold: RowRead[] = [];
    const whole: RowRead[] = [];
    for (const row of rows.rows) {
      const hot = this.#hot.get(row.key);
      if (hot === undefined) cold.push(row);
      else if (hot !== 'settled') whole.push(folded(row, hot));
    }
    return { cold, whole, hotKeys: [...this.#hot.keys()].filter((key) => keys.has(key)).length };
  }

  #settle(key: RowKey): void {
    this.#note(key, 'settled');
  }

  #leaveOut(key: RowKey, image: PartialImage): void {
    const known = this.#hot.get(key) ?? [];
    if (known === 'settled') return;
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
    if (this.#read !== null && !this.#read.keys.has(key)) return;
    this.#hot.set(key, hot);
    this.#limit();
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
