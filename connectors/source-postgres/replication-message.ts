import type { Lsn } from './lsn.ts';

/*
 * What a walsender sends inside CopyData, "PostgreSQL documentation, Streaming Replication Protocol":
 *
 *   XLogData   `w` u8 | start of the data LSN u64 | end of the server's log u64 | its clock i64 | data
 *   keepalive  `k` u8 | end of what was read LSN u64 | its clock i64 | reply wanted u8
 */

const XLOG_DATA = 0x77;
const KEEPALIVE = 0x6b;
const LSN_AT = 1;
export const XLOG_DATA_HEAD_BYTES = 25;
const KEEPALIVE_REPLY_AT = 17;
const KEEPALIVE_BYTES = 18;

/** The LSN that stands in both; null for anything else, and for what is too short. */
export function messageLsn(message: Buffer): Lsn | null {
  const kind = message[0];
  if (kind === XLOG_DATA ? message.length < XLOG_DATA_HEAD_BYTES : kind !== KEEPALIVE || message.length < KEEPALIVE_BYTES) return null;
  return message.readBigUInt64BE(LSN_AT) as Lsn;
}

export function isKeepalive(message: Buffer): boolean {
  return message[0] === KEEPALIVE;
}

/** Of a keepalive. */
export function asksForReply(message: Buffer): boolean {
  return message[KEEPALIVE_REPLY_AT] !== 0;
}
