import { expectEnd, invalid, readUint32, readUint8, type Cursor } from './cursor.ts';
import { frameOf, tag, uint32, type FramePart } from './frame.ts';
import { readTuple, tupleParts, type Tuple } from './tuple.ts';

/** What an update or delete tells of the row before it. */
export type OldTuple = {
  /** `whole` under replica identity full; `key` holds the identity's columns only and null for all others. */
  readonly kind: 'key' | 'whole';
  readonly tuple: Tuple;
};

export type Insert = { readonly tag: 'insert'; readonly relation: number; readonly row: Tuple };

/** `old` is there when a column of the identity changed, and always under replica identity full. */
export type Update = { readonly tag: 'update'; readonly relation: number; readonly old: OldTuple | null; readonly row: Tuple };

export type Delete = { readonly tag: 'delete'; readonly relation: number; readonly old: OldTuple };

const NEW = 0x4e; // N
const OLD_KEY = 0x4b; // K
const OLD_WHOLE = 0x4f; // O

function expectNew(cursor: Cursor, letter: number): void {
  if (letter !== NEW) throw invalid(cursor, 'has no new row where it must have one');
}

function readOld(cursor: Cursor, letter: number): OldTuple | null {
  if (letter === OLD_KEY) return { kind: 'key', tuple: readTuple(cursor) };
  if (letter === OLD_WHOLE) return { kind: 'whole', tuple: readTuple(cursor) };
  return null;
}

function oldParts(old: OldTuple): FramePart {
  return frameOf(tag(old.kind === 'key' ? 'K' : 'O'), tupleParts(old.tuple.values));
}

/** `I`, oid u32, `N`, tuple. */
export function decodeInsert(cursor: Cursor): Insert {
  const relation = readUint32(cursor);
  expectNew(cursor, readUint8(cursor));
  const row = readTuple(cursor);
  expectEnd(cursor);
  return { tag: 'insert', relation, row };
}

export function encodeInsert(insert: Insert): Buffer {
  return frameOf(tag('I'), uint32(insert.relation), tag('N'), tupleParts(insert.row.values));
}

/** `U`, oid u32, perhaps `K` or `O` and the old tuple, `N`, new tuple. */
export function decodeUpdate(cursor: Cursor): Update {
  const relation = readUint32(cursor);
  let letter = readUint8(cursor);
  const old = readOld(cursor, letter);
  if (old !== null) letter = readUint8(cursor);
  expectNew(cursor, letter);
  const row = readTuple(cursor);
  expectEnd(cursor);
  return { tag: 'update', relation, old, row };
}

export function encodeUpdate(update: Update): Buffer {
  const old = update.old === null ? Buffer.alloc(0) : oldParts(update.old);
  return frameOf(tag('U'), uint32(update.relation), old, tag('N'), tupleParts(update.row.values));
}

/** `D`, oid u32, `K` or `O`, old tuple. */
export function decodeDelete(cursor: Cursor): Delete {
  const relation = readUint32(cursor);
  const old = readOld(cursor, readUint8(cursor));
  if (old === null) throw invalid(cursor, 'has no old row');
  expectEnd(cursor);
  return { tag: 'delete', relation, old };
}

export function encodeDelete(message: Delete): Buffer {
  return frameOf(tag('D'), uint32(message.relation), oldParts(message.old));
}
