import type { RowKey } from '#core/key.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import { hasColumn, isExcused, type Scene } from './scene.ts';

type StoredRow = { readonly sequence: Sequence | null; readonly values: ReadonlyMap<string, string | null> | null };

/**
 * A1: the stored sequence of a row never falls, and its value is the source's at that sequence. A2: a row that was deleted keeps
 * its tombstone, so that nothing older can bring it back.
 */
export class RegistersChecker {
  readonly #scene: Scene;
  readonly #seen = new Map<string, Map<RowKey, StoredRow>>();

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  /** The row of the key may have changed. */
  changed(sink: string, table: TableId, key: RowKey): void {
    const seen = this.#seenOf(sink);
    const now = this.#scene.sinks.get(sink)?.stored(table, key);
    const before = seen.get(key);
    if (now === before) return;
    if (now === undefined) {
      this.#scene.fail('A2', `${sink}: the row or its tombstone is gone`, key);
      return;
    }
    if ((before?.sequence ?? '') > (now.sequence ?? '')) {
      this.#scene.fail('A1', `${sink}: the stored sequence fell from ${before?.sequence ?? 'none'} to ${now.sequence ?? 'none'}`, key);
    }
    this.#check(sink, table, key, now);
    seen.set(key, now);
  }

  /** The sink itself went back: what was seen counts no more. */
  wentBack(sink: string): void {
    const seen = this.#seenOf(sink);
    seen.clear();
    for (const { rows } of this.#scene.sinks.get(sink)?.tables.values() ?? []) for (const [key, row] of rows) seen.set(key, row);
  }

  #check(sink: string, table: TableId, key: RowKey, { sequence, values }: StoredRow): void {
    const { truth, fail } = this.#scene;
    truth.catchUp();
    if (sequence === null) {
      fail('A1', `${sink}: a row without a sequence`, key);
      return;
    }
    const read = truth.isMark(sequence) ? truth.newest(key, sequence) : undefined;
    const moment = truth.at(key, sequence) ?? read;
    if (moment === undefined) {
      // A sweep also tombstones keys that the truncate's own history does not name: rows that came and went before it.
      if (values !== null || !truth.isTruncate(table, sequence)) fail('A1', `${sink}: nothing happened to the key at ${sequence}`, key);
      return;
    }
    // What a key is owed is missing from under what came since.
    if (isExcused(this.#scene, sink, key)) return;
    if (moment.values === null || values === null) {
      if (moment.values !== values)
        fail('A1', `${sink}: at ${sequence} the row is ${values === null ? 'deleted' : 'live'}, at the source it is not`, key);
      return;
    }
    for (const [name, value] of moment.values) {
      // A row that was read has no column that the table has lost since the moment.
      if (moment === read && !hasColumn(this.#scene, table, name)) continue;
      const stored = values.get(name) ?? null;
      if (stored !== value) fail('A1', `${sink}: at ${sequence} column ${name} is ${String(stored)}, at the source ${String(value)}`, key);
    }
  }

  #seenOf(sink: string): Map<RowKey, StoredRow> {
    const seen = this.#seen.get(sink) ?? new Map<RowKey, StoredRow>();
    this.#seen.set(sink, seen);
    return seen;
  }
}
