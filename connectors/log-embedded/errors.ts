import { CausewayError } from '#core/errors.ts';
import type { FileKind } from '../lib/sqlite/handle.ts';

export const codes = {
  unavailable: 'log_unavailable',
  damaged: 'log_damaged',
  foreign: 'log_foreign',
  full: 'log_full',
} as const satisfies FileKind['codes'];

export function damaged(path: string, partition: number, what: string): CausewayError {
  return new CausewayError('log_damaged', `the log ${path} is damaged in partition ${partition}: ${what}`);
}

export function offsetGone(input: {
  readonly partition: number;
  readonly offset: number;
  readonly start: number;
  readonly end: number;
}): CausewayError {
  const { partition, offset, start, end } = input;
  return new CausewayError(
    'log_offset_gone',
    `offset ${offset} of partition ${partition} is not in the log, which holds ${start} to ${end}`,
  );
}
