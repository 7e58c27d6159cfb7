import { controlKeys, type CheckpointRow, type EpochRow, type TableRow } from '#core/control-rows.ts';
import type { ControlStore } from '#core/control.ts';
import { CausewayError } from '#core/errors.ts';
import { epochOf, type Epoch } from '#core/position.ts';
import { changeRow, valueOf } from './rows.ts';

/** Below every commit: nothing of an older epoch counts any more. */
const FORK_UNKNOWN = '0'.repeat(16);

/**
 * Opens the epoch after `above` with an unknown fork, for a control store that went back to before that epoch. Returns the epoch, or
 * null where the control store is above it already. Errors: `refused` where there is nothing that could go on.
 *
 * The tables come first and the epoch last: capture does not start on a checkpoint of another epoch, so that an interruption leaves
 * a state that the same command completes.
 */
export async function raiseEpoch(
  control: ControlStore,
  of: { readonly pipeline: string; readonly above: number },
  signal: AbortSignal,
): Promise<Epoch | null> {
  const { pipeline, above } = of;
  const epoch = epochOf(above + 1);
  const before = await valueOf<EpochRow>(control, controlKeys.epoch(pipeline), signal);
  if (before === null || (await control.get(controlKeys.checkpoint(pipeline), signal)) === null) {
    throw new CausewayError(
      'refused',
      `the control store has no checkpoint of ${pipeline}: its tables must be loaded again, docs/resync.md`,
    );
  }
  if (before.epoch > above) return null;
  const text = `epoch ${epoch} was opened without knowing where it left epoch ${above}: the control store had been lost or restored`;
  for (const { key } of await control.list(controlKeys.tables(pipeline), signal)) {
    const change = (now: TableRow | null): TableRow | null =>
      now === null || now.state === 'stopped' ? null : { ...now, state: 'resync_required', reason: { code: 'generation_behind', text } };
    await changeRow<TableRow>(control, { key, change }, signal);
  }
  // What stands whole in the log is of the older epochs, and so counts for nothing.
  const moved = (now: CheckpointRow | null): CheckpointRow | null => (now === null ? null : { ...now, epoch, sequence: null });
  await changeRow<CheckpointRow>(control, { key: controlKeys.checkpoint(pipeline), change: moved }, signal);
  const opened = (now: EpochRow | null): EpochRow | null =>
    now === null || now.epoch > above ? null : { ...now, epoch, fork: FORK_UNKNOWN };
  return (await changeRow<EpochRow>(control, { key: controlKeys.epoch(pipeline), change: opened }, signal))?.epoch ?? null;
}
