import { assert } from './assert.ts';
import type { Brand } from './brand.ts';
import type { Epoch } from './position.ts';

/**
 * The order of changes: 24 bytes big-endian, `epoch u32 | commit u64 | change u64 | sub u32`, held as 48 lower-case hex
 * digits, so that comparing two as text is comparing them as unsigned bytes. It comes from the source's log alone: decoding
 * the same range again gives the same sequences.
 */
export type Sequence = Brand<string, 'Sequence'>;

export type SequenceParts = {
  readonly epoch: Epoch;
  /** Postgres: LSN of the commit record (`Begin.final_lsn`). */
  readonly commit: bigint;
  /** Postgres: LSN of the row's message. 0 for a snapshot row, so that any streamed change wins over it. */
  readonly change: bigint;
  /** 0 for the delete half of a key change, 1 otherwise. */
  readonly sub: number;
};

/** The delete half of a key change sorts before its upsert half. */
export const SUB_DELETE_HALF = 0;
export const SUB_WHOLE = 1;
/** A row of a snapshot sorts before every change of its commit. */
export const SUB_SNAPSHOT = 0;

const U64_MAX = 0xffff_ffff_ffff_ffffn;
const U32_MAX = 0xffff_ffff;
const SEQUENCE_FORM = /^[0-9a-f]{48}$/;

/** Sorts below every change. A row without a stored sequence counts as this. */
export const SEQUENCE_ZERO = '0'.repeat(48) as Sequence;

/** The first 24 hex digits, common to a transaction: made once for each, as every row of it needs them. */
export function commitPrefix(epoch: Epoch, commit: bigint): string {
  assert(commit >= 0n && commit <= U64_MAX, 'a commit fits 64 bits');
  return epoch.toString(16).padStart(8, '0') + commit.toString(16).padStart(16, '0');
}

/** `prefix` is `commitPrefix`'s result. */
export function sequenceIn(prefix: string, change: bigint, sub: 0 | 1): Sequence {
  return (prefix + change.toString(16).padStart(16, '0') + (sub === 0 ? '00000000' : '00000001')) as Sequence;
}

export function encodeSequence(parts: SequenceParts): Sequence {
  assert(parts.change >= 0n && parts.change <= U64_MAX, 'a change fits 64 bits');
  assert(Number.isInteger(parts.sub) && parts.sub >= 0 && parts.sub <= U32_MAX, 'a sub fits 32 bits');
  const prefix = commitPrefix(parts.epoch, parts.commit);
  return (prefix + parts.change.toString(16).padStart(16, '0') + parts.sub.toString(16).padStart(8, '0')) as Sequence;
}

/** The sequence of a watermark: above every change of that commit, below every later commit. */
export function watermarkSequence(epoch: Epoch, commit: bigint): Sequence {
  return encodeSequence({ epoch, commit, change: U64_MAX, sub: U32_MAX });
}

/** Returns null for text that is not a sequence: callers at an edge turn that into an error with a code. */
export function parseSequence(text: string): Sequence | null {
  return SEQUENCE_FORM.test(text) ? (text as Sequence) : null;
}

export function decodeSequence(sequence: Sequence): SequenceParts {
  assert(sequence.length === 48, 'a sequence has 48 hex digits');
  return {
    epoch: Number.parseInt(sequence.slice(0, 8), 16) as Epoch,
    commit: BigInt(`0x${sequence.slice(8, 24)}`),
    change: BigInt(`0x${sequence.slice(24, 40)}`),
    sub: Number.parseInt(sequence.slice(40), 16),
  };
}

export function compareSequence(a: Sequence, b: Sequence): -1 | 0 | 1 {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

export function maxSequence(a: Sequence, b: Sequence): Sequence {
  return a < b ? b : a;
}

export function minSequence(a: Sequence, b: Sequence): Sequence {
  return b < a ? b : a;
}
