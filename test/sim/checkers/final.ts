import type { RowKey } from '#core/key.ts';
import type { TableId } from '#core/schema.ts';
import { SEQUENCE_ZERO } from '#core/sequence.ts';
import type { ParkedChecker } from './parked.ts';
import { hasColumn, isParked, type Scene } from './scene.ts';

/**
 * F3 and the end of it all: once faults are over and everything ran on, each sink holds exactly what the source holds, but for
 * parked keys, which are parked for a reason.
 */
export class FinalChecker {
  readonly #scene: Scene;
  readonly #parked: ParkedChecker;

  constructor(scene: Scene, parked: ParkedChecker) {
    this.#scene = scene;
    this.#parked = parked;
  }

  /** Returns how many keys are parked. */
  check(): number {
    const { truth, sinks, fail, logStore } = this.#scene;
    truth.catchUp();
    let parkedKeys = 0;
    for (const [sink, store] of sinks) {
      for (const letters of logStore.letters.get(sink)?.values() ?? []) {
        for (const key of letters.keys()) {
          parkedKeys += 1;
          if (!this.#parked.hasReason(key)) fail('A6', `${sink}: the key is parked at the end without a reason`, key);
        }
      }
      for (const [key, { table }] of truth.keys) if (!isParked(this.#scene, sink, key)) this.#compare(sink, { key, table });
      for (const { rows } of store.tables.values()) {
        for (const [key, row] of rows)
          if (row.values !== null && truth.newest(key) === undefined) fail('F3', `${sink}: a row that the source never had`, key);
      }
    }
    return parkedKeys;
  }

  #compare(sink: string, { key, table }: { readonly key: RowKey; readonly table: TableId }): void {
    const { truth, sinks, fail } = this.#scene;
    const expected = truth.newest(key)?.values ?? null;
    const stored = sinks.get(sink)?.stored(table, key);
    const values = stored?.values ?? null;
    if (expected === null || values === null) {
      if (expected !== values) fail('F3', `${sink}: at the end the row is ${values === null ? 'not there' : 'still there'}`, key);
      return;
    }
    for (const [name, value] of expected) {
      // A row that was read has no column that the table had lost by then.
      if (truth.isMark(stored?.sequence ?? SEQUENCE_ZERO) && !hasColumn(this.#scene, table, name)) continue;
      if ((values.get(name) ?? null) !== value) fail('F3', `${sink}: at the end column ${name} differs from the source`, key);
    }
  }
}
