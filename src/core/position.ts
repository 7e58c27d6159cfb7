import { assert } from './assert.ts';
import type { Brand } from './brand.ts';

/** Opaque resume token of a source. Only the connector that made it reads it; comparing two is the connector's work. */
export type Position = Brand<string, 'Position'>;

/** Lineage of a source: an unsigned 32-bit number, allocated by compare-and-swap, never falling. The first is 1. */
export type Epoch = Brand<number, 'Epoch'>;

/** The generation of a capture lease, or the fence of a partition at a sink: a whole number that only grows. */
export type FencingToken = Brand<number, 'FencingToken'>;

/** Microseconds since 1970-01-01T00:00:00Z on the source's clock. Safe as a number until the year 2255. */
export type EpochMicros = Brand<number, 'EpochMicros'>;

/** Milliseconds on the local monotonic clock. Comparable within one process only. */
export type MonoMs = Brand<number, 'MonoMs'>;

/** Milliseconds since 1970 on the local wall clock. For people, never for a decision. */
export type WallMs = Brand<number, 'WallMs'>;

/** Place of a record in a partition of the log. Starts at 0. */
export type Offset = Brand<number, 'Offset'>;

export const EPOCH_FIRST = 1 as Epoch;
export const OFFSET_FIRST = 0 as Offset;

const U32_MAX = 0xffff_ffff;

export function epochOf(value: number): Epoch {
  assert(Number.isInteger(value) && value >= 1 && value <= U32_MAX, 'an epoch is a whole number from 1 to 2^32 - 1');
  return value as Epoch;
}

export function fencingTokenOf(value: number): FencingToken {
  assert(Number.isSafeInteger(value) && value >= 0, 'a fencing token is a whole number');
  return value as FencingToken;
}

export function offsetOf(value: number): Offset {
  assert(Number.isSafeInteger(value) && value >= 0, 'an offset is a whole number from 0');
  return value as Offset;
}

export function positionOf(text: string): Position {
  assert(text.length > 0, 'a position is not empty');
  return text as Position;
}

export function epochMicrosOf(value: number): EpochMicros {
  assert(Number.isSafeInteger(value), 'microseconds are a whole number');
  return value as EpochMicros;
}
