import { epochMicrosOf, type EpochMicros } from '#core/position.ts';
import type { Lsn } from '../lsn.ts';
import { expectEnd, invalid, readCString, readInt64, readUint32, readUint64, readUint8, type Cursor } from './cursor.ts';
import { cString, frameOf, int64, tag, uint32, uint64, uint8 } from './frame.ts';

/**
 * Begin, Commit and Origin frame a transaction. Layouts: "PostgreSQL documentation, 54.9 Logical Replication Message Formats".
 */
export type Begin = {
  readonly tag: 'begin';
  /** Where the commit record starts; rises strictly from transaction to transaction. */
  readonly commitLsn: Lsn;
  readonly committedAt: EpochMicros;
  /** The top-level transaction's id, 32 bits. */
  readonly xid: number;
};

export type Commit = {
  readonly tag: 'commit';
  readonly commitLsn: Lsn;
  /** Just behind the commit record: what may be acknowledged, and where the next commit record can start. */
  readonly endLsn: Lsn;
  readonly committedAt: EpochMicros;
};

/** The replication origin that the transaction was applied under, behind its Begin. */
export type Origin = { readonly tag: 'origin'; readonly originLsn: Lsn; readonly name: string };

/** Postgres counts microseconds from the year 2000. */
const POSTGRES_EPOCH_MICROS = 946_684_800_000_000n;

function readTimestamp(cursor: Cursor): EpochMicros {
  const micros = readInt64(cursor) + POSTGRES_EPOCH_MICROS;
  if (micros > BigInt(Number.MAX_SAFE_INTEGER) || micros < BigInt(Number.MIN_SAFE_INTEGER)) throw invalid(cursor, 'holds no usable time');
  return epochMicrosOf(Number(micros));
}

function timestamp(micros: EpochMicros): Buffer {
  return int64(BigInt(micros) - POSTGRES_EPOCH_MICROS);
}

/** `B`, commit LSN u64, commit time i64, xid u32. */
export function decodeBegin(cursor: Cursor): Begin {
  const commitLsn = readUint64(cursor) as Lsn;
  const committedAt = readTimestamp(cursor);
  const xid = readUint32(cursor);
  expectEnd(cursor);
  return { tag: 'begin', commitLsn, committedAt, xid };
}

export function encodeBegin(begin: Begin): Buffer {
  return frameOf(tag('B'), uint64(begin.commitLsn), timestamp(begin.committedAt), uint32(begin.xid));
}

/** `C`, flags u8 (0), commit LSN u64, end LSN u64, commit time i64. */
export function decodeCommit(cursor: Cursor): Commit {
  if (readUint8(cursor) !== 0) throw invalid(cursor, 'has flags that are not known');
  const commitLsn = readUint64(cursor) as Lsn;
  const endLsn = readUint64(cursor) as Lsn;
  const committedAt = readTimestamp(cursor);
  expectEnd(cursor);
  return { tag: 'commit', commitLsn, endLsn, committedAt };
}

export function encodeCommit(commit: Commit): Buffer {
  return frameOf(tag('C'), uint8(0), uint64(commit.commitLsn), uint64(commit.endLsn), timestamp(commit.committedAt));
}

/** `O`, LSN of the commit at the origin u64, name. */
export function decodeOrigin(cursor: Cursor): Origin {
  const originLsn = readUint64(cursor) as Lsn;
  const name = readCString(cursor);
  expectEnd(cursor);
  return { tag: 'origin', originLsn, name };
}

export function encodeOrigin(origin: Origin): Buffer {
  return frameOf(tag('O'), uint64(origin.originLsn), cString(origin.name));
}
