import type { FileKind } from '../lib/sqlite/handle.ts';

/** A control store that cannot grow is one that cannot be used: its rows are few and small. */
export const codes = {
  unavailable: 'control_unavailable',
  damaged: 'control_damaged',
  foreign: 'control_foreign',
  full: 'control_unavailable',
} as const satisfies FileKind['codes'];
