import { controlKeys, type CheckpointRow, type EpochRow } from '#core/control-rows.ts';
import { codeOf } from '#core/errors.ts';
import type { SourceFacts } from '#core/source.ts';
import { changeRow } from './control-rows.ts';
import type { FirstStart } from './first-start.ts';

/** Marks that the control store and the source keep. */
const MARKS_KEPT = 16;
/**
 * Marks that have to be in the source. Fewer than are kept: whoever read the row a moment before the oldest were dropped must
 * not miss them.
 */
const MARKS_COMPARED = 8;

/**
 * Says how the source's history is not the one that was captured, or null. A server that was restored from a copy of its files
 * still has its name, timeline and slot, and once it was written to again, the end of its log is no proof either: what we left
 * there is older then than what we know.
 */
export function lineageBreak(input: {
  readonly facts: SourceFacts;
  readonly checkpoint: CheckpointRow;
  readonly epoch: EpochRow;
}): string | null {
  const { lineage } = input.facts;
  // Without the right to look nothing is known: docs/privileges.md names this loss.
  if (lineage === null) return null;
  const there = new Set(lineage.marks);
  const missing = (input.epoch.lineage ?? []).slice(-MARKS_COMPARED).find(({ id }) => !there.has(id));
  if (missing !== undefined) {
    return `the source lacks our mark ${missing.id} in causeway.lineage, which stood there at ${missing.position}: it was restored to an earlier state`;
  }
  const { heartbeats } = input.checkpoint;
  if (heartbeats === undefined || lineage.heartbeats >= heartbeats) return null;
  return heartbeatsFell({ known: heartbeats, now: lineage.heartbeats });
}

export function heartbeatsFell({ known, now }: { readonly known: number; readonly now: number }): string {
  return `the source has counted ${now} heartbeats of ours and ${known} were captured: it was restored to an earlier state`;
}

/**
 * Leaves a mark in the source, and only then tells the control store of it: one that nobody knows of does no harm, one that is
 * known and not there would stop capture. Where the source refuses it, the next start leaves one.
 */
export async function leaveMark({ deps, access }: FirstStart, signal: AbortSignal): Promise<void> {
  const { source, pipeline, observer } = deps;
  try {
    const mark = await source.addMark(signal);
    if (mark === null) return;
    let dropped: readonly string[] = [];
    const change = (row: EpochRow | null): EpochRow | null => {
      const known = row?.lineage ?? [];
      // After a swap whose answer was lost it stands there already.
      if (row === null || known.some(({ id }) => id === mark.id)) return null;
      const lineage = [...known, mark];
      dropped = lineage.slice(0, -MARKS_KEPT).map(({ id }) => id);
      return { ...row, lineage: lineage.slice(-MARKS_KEPT) };
    };
    await changeRow<EpochRow>(access, { key: controlKeys.epoch(pipeline), change }, signal);
    if (dropped.length > 0) await source.dropMarks(dropped, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!codeOf(error).startsWith('source_')) throw error;
    observer.trouble(error, 'leaving a mark in the source');
  }
}
