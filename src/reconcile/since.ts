import { parseRowKey, type RowKey } from '#core/key.ts';
import type { Offset } from '#core/position.ts';
import type { TableId } from '#core/schema.ts';
import type { TablePassInput } from './table-pass.ts';

/** Keys that are remembered so that one that changes often is looked at once in a while and not at each change. */
const REMEMBERED_MAX = 100_000;

/**
 * Looks at the keys of which the log holds a change since the cut of an earlier run. Returns how many there were. Errors:
 * `log_offset_gone` where the log does not reach back so far.
 */
export async function compareSince(
  input: TablePassInput,
  of: { readonly table: TableId; readonly cut: readonly Offset[] },
  signal: AbortSignal,
): Promise<number> {
  const { log, options } = input.deps;
  let keys = new Set<RowKey>();
  let looked = 0;
  let seen = new Set<RowKey>();
  const look = async (): Promise<void> => {
    const some = [...keys];
    keys = new Set();
    if (some.length === 0) return;
    looked += some.length;
    await input.pace.took(some.length, signal);
    await input.look(some, signal);
  };
  for (const [partition, from] of of.cut.entries()) {
    for await (const { records } of log.read(partition, from, signal)) {
      for (const { key } of records) {
        if (key === null || seen.has(key as RowKey) || parseRowKey(key as RowKey).table !== of.table) continue;
        if (seen.size >= REMEMBERED_MAX) seen = new Set();
        seen.add(key as RowKey);
        keys.add(key as RowKey);
        if (keys.size >= options.closeLookKeys) await look();
      }
    }
  }
  await look();
  return looked;
}
