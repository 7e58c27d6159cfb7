import { Buffer, isUtf8 } from 'node:buffer';
import type { Codec } from '#core/codec.ts';
import { decodeText } from './json-decode.ts';
import { encodeText } from './json-encode.ts';
import { invalid } from './json-fields.ts';

/**
 * One JSON object a record, in UTF-8, described by docs/log-record.schema.json. A column that a change leaves as it is stands
 * not in `after`. Text with a lone surrogate, which has no UTF-8 form, survives as a JSON escape.
 */
export const jsonCodec: Codec = {
  name: 'json',
  encode: (record, schema) => Buffer.from(encodeText(record, schema), 'utf8'),
  decode(bytes, schemas) {
    // Buffer's own conversion would replace what is not UTF-8 without a word.
    if (!isUtf8(bytes)) throw invalid('it is not UTF-8');
    return decodeText(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'), schemas);
  },
};
