import type { Brand } from '#core/brand.ts';
import { CausewayError } from '#core/errors.ts';
import { positionOf, type Position } from '#core/position.ts';

/**
 * A place in Postgres's write-ahead log: an unsigned 64-bit byte offset. Inside it is a bigint; the server's text form `16/B374D848`
 * (two hexadecimal halves) exists only at the edge, and is also what a Position of this source holds.
 */
export type Lsn = Brand<bigint, 'Lsn'>;

export const LSN_ZERO = 0n as Lsn;

const LSN_FORM = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/;
const U64_MAX = 0xffff_ffff_ffff_ffffn;

/** Returns null for text that is not an LSN. */
export function parseLsn(text: string): Lsn | null {
  const match = LSN_FORM.exec(text);
  if (match === null) return null;
  return ((BigInt(`0x${match[1] ?? ''}`) << 32n) | BigInt(`0x${match[2] ?? ''}`)) as Lsn;
}

/** The server's own form, so that a person can paste it into psql. */
export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffff_ffffn).toString(16).toUpperCase()}`;
}

/** Returns null for a number that is no LSN. */
export function lsnOf(value: bigint): Lsn | null {
  return value >= 0n && value <= U64_MAX ? (value as Lsn) : null;
}

export function positionOfLsn(lsn: bigint): Position {
  return positionOf(formatLsn(lsn));
}

/** Throws `source_stream_invalid` for a position that another kind of source made. */
export function lsnOfPosition(position: Position): Lsn {
  const lsn = parseLsn(position);
  if (lsn === null) throw new CausewayError('source_stream_invalid', `the position ${position} is not a Postgres LSN`);
  return lsn;
}

export function compareLsn(a: bigint, b: bigint): -1 | 0 | 1 {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
