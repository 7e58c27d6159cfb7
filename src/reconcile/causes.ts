import { codeOf } from '#core/errors.ts';
import { partitionOf } from '#core/hash.ts';
import type { RowKey } from '#core/key.ts';
import { offsetOf } from '#core/position.ts';
import type { SchemaVersion, TableSchema } from '#core/schema.ts';
import type { Sequence } from '#core/sequence.ts';
import type { Difference } from '#core/sink.ts';
import type { ReconcileDeps } from './deps.ts';

/** Records of a partition that are read for causes, from its end back: differences are rare, and their cause is a hint. */
const RECORDS_MAX = 500_000;

/**
 * Tells of each difference its likely cause, by the newest change of its key that the log still holds below the cut: one that is newer than what
 * the sink has was lost on the way; one that the sink has, with another value, was overwritten there by somebody else.
 */
export async function withCauses(
  deps: ReconcileDeps,
  of: { readonly differences: readonly Difference[]; readonly schemas: ReadonlyMap<SchemaVersion, TableSchema> },
  signal: AbortSignal,
): Promise<readonly Difference[]> {
  const unknown = of.differences.filter(({ cause }) => cause === 'unknown');
  if (unknown.length === 0) return of.differences;
  let newest: ReadonlyMap<RowKey, Sequence>;
  try {
    newest = await newestInLog(deps, { unknown, schemas: of.schemas }, signal);
  } catch (error) {
    // A hint is not worth a run: the log can be freed while it is read, or hold changes of columns that came meanwhile.
    signal.throwIfAborted();
    if (!codeOf(error).startsWith('log_')) throw error;
    return of.differences;
  }
  return of.differences.map((difference) => {
    const known = newest.get(difference.key);
    if (difference.cause !== 'unknown' || known === undefined) return difference;
    if (difference.stored === null || known > difference.stored) return { ...difference, cause: 'stale' };
    return { ...difference, cause: 'foreign_write' };
  });
}

async function newestInLog(
  deps: ReconcileDeps,
  of: { readonly unknown: readonly Difference[]; readonly schemas: ReadonlyMap<SchemaVersion, TableSchema> },
  signal: AbortSignal,
): Promise<ReadonlyMap<RowKey, Sequence>> {
  const { unknown } = of;
  const newest = new Map<RowKey, Sequence>();
  const cuts = new Map(unknown.map(({ key, cut }) => [key, cut]));
  const ends = await deps.log.ends(signal);
  for (const partition of new Set(unknown.map(({ key }) => partitionOf(key, deps.log.partitions)))) {
    const { start = 0, end = 0 } = ends[partition] ?? {};
    const from = offsetOf(Math.max(start, end - RECORDS_MAX));
    for await (const { records } of deps.log.read(partition, from, signal)) {
      for (const { key, value } of records) {
        const cut = key === null ? undefined : cuts.get(key as RowKey);
        if (cut === undefined) continue;
        const record = deps.codec.decode(value, of.schemas);
        if (record.tag === 'change' && record.sequence <= cut && record.sequence > (newest.get(record.key) ?? '')) {
          newest.set(record.key, record.sequence);
        }
      }
    }
  }
  return newest;
}
