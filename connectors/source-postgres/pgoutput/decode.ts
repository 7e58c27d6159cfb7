import { CausewayError } from '#core/errors.ts';
import { unreachable } from '#core/assert.ts';
import type { Cursor } from './cursor.ts';
import { decodeLogicalMessage, encodeLogicalMessage, type LogicalMessage } from './logical-message.ts';
import { decodeRelation, decodeType, encodeRelation, encodeType, type RelationMessage, type TypeMessage } from './relation.ts';
import {
  decodeDelete,
  decodeInsert,
  decodeUpdate,
  encodeDelete,
  encodeInsert,
  encodeUpdate,
  type Delete,
  type Insert,
  type Update,
} from './row.ts';
import {
  decodeBegin,
  decodeCommit,
  decodeOrigin,
  encodeBegin,
  encodeCommit,
  encodeOrigin,
  type Begin,
  type Commit,
  type Origin,
} from './transaction.ts';
import { utf8Form, type TextForm } from './text.ts';
import { decodeTruncate, encodeTruncate, type Truncate } from './truncate.ts';

/** Everything that protocol version 1 of the output plugin pgoutput sends, with `messages` on. Later versions add only what is asked for. */
export type PgoutputMessage =
  Begin | Commit | Origin | RelationMessage | TypeMessage | Insert | Update | Delete | Truncate | LogicalMessage;

type Decoder = { readonly name: string; readonly decode: (cursor: Cursor) => PgoutputMessage };

/** By the first byte, indexed by its code. */
const decoders: readonly (Decoder | undefined)[] = (() => {
  const byLetter: Readonly<Record<string, Decoder>> = {
    B: { name: 'Begin', decode: decodeBegin },
    C: { name: 'Commit', decode: decodeCommit },
    O: { name: 'Origin', decode: decodeOrigin },
    R: { name: 'Relation', decode: decodeRelation },
    Y: { name: 'Type', decode: decodeType },
    I: { name: 'Insert', decode: decodeInsert },
    U: { name: 'Update', decode: decodeUpdate },
    D: { name: 'Delete', decode: decodeDelete },
    T: { name: 'Truncate', decode: decodeTruncate },
    M: { name: 'Message', decode: decodeLogicalMessage },
  };
  return Array.from({ length: 256 }, (_, code) => byLetter[String.fromCharCode(code)]);
})();

/**
 * Decodes one frame: the payload of an XLogData message. Throws `source_stream_invalid` for anything that is not exactly one
 * known message. Texts are copied out of the frame, so it may be overwritten afterwards; a Message's content is not.
 */
export function decodePgoutput(frame: Buffer, text: TextForm = utf8Form): PgoutputMessage {
  const letter = frame[0];
  const decoder = letter === undefined ? undefined : decoders[letter];
  if (decoder === undefined) {
    const what = letter === undefined ? 'an empty message' : `a message of the unknown type 0x${letter.toString(16).padStart(2, '0')}`;
    throw new CausewayError('source_stream_invalid', `the source sent ${what}`);
  }
  return decoder.decode({ frame, at: 1, message: decoder.name, text });
}

export function encodePgoutput(message: PgoutputMessage): Buffer {
  switch (message.tag) {
    case 'begin':
      return encodeBegin(message);
    case 'commit':
      return encodeCommit(message);
    case 'origin':
      return encodeOrigin(message);
    case 'relation':
      return encodeRelation(message);
    case 'type':
      return encodeType(message);
    case 'insert':
      return encodeInsert(message);
    case 'update':
      return encodeUpdate(message);
    case 'delete':
      return encodeDelete(message);
    case 'truncate':
      return encodeTruncate(message);
    case 'message':
      return encodeLogicalMessage(message);
    default:
      return unreachable(message);
  }
}
