import type { RowKey } from '#core/key.ts';
import type { FakeDatabase } from '../../support/fake-source.ts';
import type { MemoryControlRows } from '../../support/memory-control-store.ts';
import type { MemoryLogStore } from '../../support/memory-log-store.ts';
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
  /** Only the first one counts: it ends the run. */
  readonly fail: (invariant: string, text: string, key?: RowKey | null) => void;
};

export function isParked(scene: Scene, sink: string, key: RowKey): boolean {
  for (const letters of scene.logStore.letters.get(sink)?.values() ?? []) if (letters.has(key)) return true;
  return false;
}
