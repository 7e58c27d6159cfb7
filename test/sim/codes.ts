import type { ErrorCode } from '#core/errors.ts';
import type { Terminal } from './plan.ts';

/** Codes that a run may show at any time: each passes by itself, or ends one process. */
export const ALWAYS: readonly ErrorCode[] = [
  'source_unavailable',
  'source_slot_in_use',
  'log_unavailable',
  'control_unavailable',
  'sink_unavailable',
  'sink_throttled',
  'lease_lost',
  'fenced',
  // Two that make a new sink known at once; looked at again at once.
  'partition_fenced',
  'sink_went_back',
];

/** What a fault that cannot be got over has to lead to: at least one of these. */
export const STOPS: Readonly<Record<Terminal['tag'], readonly ErrorCode[]>> = {
  slot_gone: ['source_slot_lost'],
  slot_unusable: ['source_slot_lost'],
  slot_ahead: ['source_slot_lost'],
  // Nothing else tells a worker that takes a partition of a schema behind whose record it begins, or of the one before a schema.
  control_lost: ['generation_behind', 'checkpoint_lost', 'sink_unknown_progress', 'log_schema_unknown', 'sink_misconfigured'],
  control_back: [
    'generation_behind',
    'checkpoint_lost',
    'source_slot_lost',
    'sink_unknown_progress',
    'sink_misconfigured',
    // A sink that went back reads on in the middle of a generation, and the store does not know the schema any more.
    'log_schema_unknown',
  ],
  log_tail_lost: ['log_truncated', 'log_gap', 'log_offset_gone', 'generation_behind'],
  log_start_lost: ['log_offset_gone', 'log_gap'],
  // Capture may learn it too, where it starts anew.
  log_start_passed: ['log_offset_gone', 'log_gap'],
  sink_progress_lost: ['sink_unknown_progress'],
};
