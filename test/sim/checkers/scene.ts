import { parseRowKey, type RowKey } from '#core/key.ts';
import type { ReleasedSince } from '#core/log.ts';
import { OFFSET_FIRST } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { FakeDatabase } from '../../support/fake-source.ts';
import type { MemoryControlRows } from '../../support/memory-control-store.ts';
import { isReleasedSince, type MemoryLogStore } from '../../support/memory-log-store.ts';
import type { MemorySinkStore } from '../../support/memory-sink.ts';
import type { Plan } from '../plan.ts';
import type { Truth } from '../truth.ts';

/** An invariant by its name in the design, and what was found instead. */
export type Violation = { readonly invariant: string; readonly text: string; readonly key: RowKey | null; readonly atMs: number };

/** What every checker looks at: the state of the systems themselves, never that of the product. */
export type Scene = {
  readonly plan: Plan;
  readonly truth: Truth;
  readonly database: FakeDatabase;
  readonly logStore: MemoryLogStore;
  readonly controlRows: MemoryControlRows;
  readonly sinks: ReadonlyMap<string, MemorySinkStore>;
  /**
   * Keys of each sink that were released and do not show it: by a floor whose sweep is still owed. They are owed what brings them to
   * this sequence.
   */
  readonly owed: Map<string, Map<RowKey, Sequence>>;
  /** A load of the table was cancelled, and no later one has brought all of it to the sink: nobody can tell what it holds. */
  readonly isHalfLoaded: (table: TableId, sink: string) => boolean;
  /** Only the first one counts: it ends the run. */
  readonly fail: (invariant: string, text: string, key?: RowKey | null) => void;
};

/** Parked, or owed something that it does not show. What was swept is owed again where the sink goes back to before the sweep. */
export function isExcused(scene: Scene, sink: string, key: RowKey, upTo: Sequence | null = null): boolean {
  const owed = scene.owed.get(sink)?.get(key);
  if (owed !== undefined && (upTo === null || upTo < owed)) {
    const stored = scene.sinks.get(sink)?.stored(parseRowKey(key).table, key);
    if ((stored?.sequence ?? '') < owed) return true;
  }
  return isParked(scene, sink, key) || isReleasedAhead(scene, sink, key);
}

const NOTHING: ReleasedSince = { offset: OFFSET_FIRST, replays: 0 };

/** Released behind the progress that the sink has now, so that whoever takes its partition treats it as parked. */
function isReleasedAhead(scene: Scene, sink: string, key: RowKey): boolean {
  for (const [partition, letters] of scene.logStore.released.get(sink) ?? []) {
    const released = letters.get(key);
    const progress = scene.sinks.get(sink)?.progress.get(partition) ?? NOTHING;
    if (released !== undefined && isReleasedSince(released, progress)) return true;
  }
  return false;
}

export function hasColumn({ database }: Scene, table: TableId, name: string): boolean {
  return database.table(table).schema.columns.some((column) => column.name === name);
}

export function isParked(scene: Scene, sink: string, key: RowKey): boolean {
  for (const letters of scene.logStore.letters.get(sink)?.values() ?? []) if (letters.has(key)) return true;
  return false;
}
