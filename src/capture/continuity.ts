import type { CheckpointRow, EpochRow } from '#core/control-rows.ts';
import { CausewayError } from '#core/errors.ts';
import type { Position } from '#core/position.ts';
import type { SourceFacts } from '#core/source.ts';
import { lineageBreak } from './lineage.ts';

export type Continuity =
  /** The slot serves from where the checkpoint, or something before it, stands. */
  | { readonly tag: 'go_on'; readonly checkpoint: CheckpointRow; readonly epoch: EpochRow }
  /** Nothing was ever published: a slot is made, in place of one that an unfinished first start left behind. */
  | { readonly tag: 'start_fresh'; readonly slot: 'create' | 'recreate' }
  | { readonly tag: 'stop'; readonly error: CausewayError };

/**
 * Decides whether what the source will send joins on to what was captured. Pure. In doubt it stops: starting "from now" would
 * lose what lies in between without anybody noticing.
 */
export function decideContinuity(input: {
  readonly facts: SourceFacts;
  readonly checkpoint: CheckpointRow | null;
  readonly epoch: EpochRow | null;
  /** True where no record was ever written to any partition. */
  readonly logEmpty: boolean;
  readonly comparePositions: (a: Position, b: Position) => number;
}): Continuity {
  const { facts, checkpoint, epoch } = input;
  if (checkpoint === null) return withoutCheckpoint(input);
  if (epoch === null) return stop('checkpoint_lost', 'the control store has a checkpoint but no epoch: it was restored in part');
  if (epoch.epoch !== checkpoint.epoch) {
    return stop('source_identity_changed', `epoch ${epoch.epoch} was opened, and the checkpoint is of epoch ${checkpoint.epoch}`);
  }
  const { system, timeline } = facts.identity;
  if (system !== epoch.identity.system) {
    return stop('source_identity_changed', `the source is system ${system}; captured was system ${epoch.identity.system}`);
  }
  if (timeline !== epoch.identity.timeline) {
    return stop('source_identity_changed', `the source is on timeline ${timeline}; captured was timeline ${epoch.identity.timeline}`);
  }
  if (input.comparePositions(checkpoint.position, facts.head) > 0) {
    return stop('source_identity_changed', 'the log of the source ends before what was captured: it was restored or lost its last commits');
  }
  const { slot } = facts;
  // Before the marks, which `slot drop` takes away with it: nobody restored anything then.
  if (slot === null) return stop('source_slot_lost', 'the replication slot is missing');
  const broken = lineageBreak({ facts, checkpoint, epoch });
  if (broken !== null) return stop('source_identity_changed', broken);
  if (slot.unusable !== null)
    return stop('source_slot_lost', `the replication slot ${slot.name} cannot be used any more: ${slot.unusable}`);
  if (input.comparePositions(slot.position, checkpoint.position) > 0) {
    return stop(
      'source_slot_lost',
      `the replication slot ${slot.name} stands ahead of the checkpoint: it was made again, or somebody else acknowledged`,
    );
  }
  return { tag: 'go_on', checkpoint, epoch };
}

function withoutCheckpoint(input: {
  readonly facts: SourceFacts;
  readonly epoch: EpochRow | null;
  readonly logEmpty: boolean;
}): Continuity {
  const { facts, epoch, logEmpty } = input;
  if (!logEmpty) return stop('checkpoint_lost', 'the log holds records but the control store has no checkpoint');
  if (facts.slot === null) return { tag: 'start_fresh', slot: 'create' };
  // The epoch row is written before the slot is made and the checkpoint after it, so this slot is of a first start that did
  // not finish. Without that row the slot belongs to another life of the pipeline, whose log and control store are lost.
  if (epoch !== null) return { tag: 'start_fresh', slot: 'recreate' };
  return stop('checkpoint_lost', `the replication slot ${facts.slot.name} is there but the control store knows nothing of it`);
}

function stop(code: 'checkpoint_lost' | 'source_identity_changed' | 'source_slot_lost', message: string): Continuity {
  return { tag: 'stop', error: new CausewayError(code, message) };
}
