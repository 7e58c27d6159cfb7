import { codeOf } from '#core/errors.ts';
import type { DeadLetter } from '#core/log.ts';
import type { LogRecord } from '#core/record.ts';
import type { RowChange } from '#core/sink.ts';
import type { SinkContext } from './context.ts';
import { rowChangeOf } from './coalesce.ts';
import type { Standing } from './standing.ts';

export type Replay =
  | { readonly tag: 'apply'; readonly change: RowChange }
  /** Nothing of it may take effect any more. */
  | { readonly tag: 'release' }
  /** It cannot be put right by writing it again; the code says why. */
  | { readonly tag: 'keep'; readonly code: string };

/**
 * What a replay of a letter does. Only whole images and deletes are written again: what a partial one was based on may be
 * another row by now, so its key is released by the next whole change of the row.
 */
export function replayOf(letter: DeadLetter, context: Pick<SinkContext, 'deps' | 'schemas'>, standing: Standing): Replay {
  if (letter.record === null) return { tag: 'keep', code: 'partial_without_base' };
  let record: LogRecord;
  try {
    record = context.deps.codec.decode(letter.record, context.schemas);
  } catch (error) {
    return { tag: 'keep', code: codeOf(error) };
  }
  if (record.tag !== 'change') return { tag: 'keep', code: 'log_record_invalid' };
  if (standing.isBelowFloor(record.table, record.sequence)) return { tag: 'release' };
  const schema = context.schemas.get(record.schemaVersion);
  if (schema === undefined) return { tag: 'keep', code: 'log_schema_unknown' };
  if (record.withheld !== null || standing.isLost(record.sequence)) return { tag: 'keep', code: letter.code };
  const change = rowChangeOf({ schema, key: record.key, sequence: record.sequence, row: record.row });
  return change.tag === 'partial' ? { tag: 'keep', code: 'partial_without_base' } : { tag: 'apply', change };
}
