import type { Lsn } from '../lsn.ts';
import { expectEnd, invalid, readBytes, readCString, readUint32, readUint64, readUint8, type Cursor } from './cursor.ts';
import { cString, frameOf, tag, uint32, uint64, uint8 } from './frame.ts';

/** What `pg_logical_emit_message` wrote. */
export type LogicalMessage = {
  readonly tag: 'message';
  readonly transactional: boolean;
  /** The end of the message's own record. The place of a transactional one in the order is its Begin's commit LSN. */
  readonly lsn: Lsn;
  readonly prefix: string;
  /** A part of the frame: copy it to keep it. */
  readonly content: Buffer;
};

const TRANSACTIONAL = 1;

/** `M`, flags u8, LSN u64, prefix, length u32 and that many bytes. */
export function decodeLogicalMessage(cursor: Cursor): LogicalMessage {
  const flags = readUint8(cursor);
  if ((flags & ~TRANSACTIONAL) !== 0) throw invalid(cursor, 'has flags that are not known');
  const lsn = readUint64(cursor) as Lsn;
  const prefix = readCString(cursor);
  const content = readBytes(cursor, readUint32(cursor));
  expectEnd(cursor);
  return { tag: 'message', transactional: flags === TRANSACTIONAL, lsn, prefix, content };
}

export function encodeLogicalMessage(message: LogicalMessage): Buffer {
  return frameOf(
    tag('M'),
    uint8(message.transactional ? TRANSACTIONAL : 0),
    uint64(message.lsn),
    cString(message.prefix),
    uint32(message.content.length),
    message.content,
  );
}
