import { expectEnd, invalid, readUint32, readUint8, type Cursor } from './cursor.ts';
import { frameOf, tag, uint32, uint8 } from './frame.ts';

/** One TRUNCATE statement, with all tables that it emptied, those reached by CASCADE among them. */
export type Truncate = {
  readonly tag: 'truncate';
  readonly relations: readonly number[];
  readonly cascade: boolean;
  readonly restartIdentity: boolean;
};

const CASCADE = 1;
const RESTART_IDENTITY = 2;
const OID_BYTES = 4;

/** `T`, number of tables u32, flags u8, an oid u32 for each. */
export function decodeTruncate(cursor: Cursor): Truncate {
  const count = readUint32(cursor);
  const flags = readUint8(cursor);
  if ((flags & ~(CASCADE | RESTART_IDENTITY)) !== 0) throw invalid(cursor, 'has flags that are not known');
  if (count * OID_BYTES > cursor.frame.length - cursor.at) throw invalid(cursor, 'ends too early');
  const relations = Array.from({ length: count }, () => readUint32(cursor));
  expectEnd(cursor);
  return { tag: 'truncate', relations, cascade: (flags & CASCADE) !== 0, restartIdentity: (flags & RESTART_IDENTITY) !== 0 };
}

export function encodeTruncate(truncate: Truncate): Buffer {
  const flags = (truncate.cascade ? CASCADE : 0) | (truncate.restartIdentity ? RESTART_IDENTITY : 0);
  return frameOf(tag('T'), uint32(truncate.relations.length), uint8(flags), ...truncate.relations.map(uint32));
}
