import { CausewayError } from '#core/errors.ts';
import type { Epoch, EpochMicros, FencingToken } from '#core/position.ts';
import { parseSequence, type Sequence } from '#core/sequence.ts';

/** A JSON object whose members are not known yet. */
export type Fields = Readonly<Record<string, unknown>>;

const U32_MAX = 0xffff_ffff;
const U64_MAX = 0xffff_ffff_ffff_ffffn;
const U64_FORM = /^(0|[1-9][0-9]{0,19})$/;

/** Names the member, never its value. */
export function invalid(what: string): CausewayError {
  return new CausewayError('log_record_invalid', `not a record of the log: ${what}`);
}

export function objectOf(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${what} is not an object`);
  return value as Fields;
}

export function arrayOf(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(`${what} is not an array`);
  return value as readonly unknown[];
}

export function textOf(value: unknown, what: string): string {
  if (typeof value !== 'string') throw invalid(`${what} is not a text`);
  return value;
}

/** For a name that means nothing when it is empty. */
export function nameOf(value: unknown, what: string): string {
  if (typeof value !== 'string' || value.length === 0) throw invalid(`${what} is not a name`);
  return value;
}

export function optionalText(value: unknown, what: string): string | null {
  return value === undefined || value === null ? null : textOf(value, what);
}

export function countOf(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw invalid(`${what} is not a whole number`);
  return value;
}

export function flagOf(value: unknown, what: string): boolean {
  if (typeof value !== 'boolean') throw invalid(`${what} is not true or false`);
  return value;
}

export function microsOf(value: unknown): EpochMicros {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw invalid('at is not a time in microseconds');
  return value as EpochMicros;
}

export function tokenOf(value: unknown): FencingToken {
  return countOf(value, 'gen') as FencingToken;
}

export function epochField(value: unknown): Epoch {
  const epoch = countOf(value, 'epoch');
  if (epoch < 1 || epoch > U32_MAX) throw invalid('epoch is out of its range');
  return epoch as Epoch;
}

export function sequenceOf(value: unknown): Sequence {
  const sequence = typeof value === 'string' ? parseSequence(value) : null;
  if (sequence === null) throw invalid('seq is not a sequence');
  return sequence;
}

/** An unsigned number of 64 bits stands as text: as a JSON number most readers would round it. */
export function u64Of(value: unknown, what: string): bigint {
  const number = typeof value === 'string' && U64_FORM.test(value) ? BigInt(value) : null;
  if (number === null || number > U64_MAX) throw invalid(`${what} is not an unsigned number of 64 bits`);
  return number;
}
