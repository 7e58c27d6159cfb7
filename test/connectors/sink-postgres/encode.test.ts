import { describe, expect, it } from 'vitest';

import type { CanonicalType, Value } from '#core/value.ts';

import type { Bytes } from '../../../connectors/lib/postgres/flight.ts';
import { ValueTextError } from '../../../connectors/lib/postgres/value-text-error.ts';
import { columnEncoder, encodeFlags, encodeSequences } from '../../../connectors/sink-postgres/encode.ts';

const text = ({ bytes }: Bytes): string => bytes.toString('utf8');
const encode = (type: CanonicalType, values: readonly Value[]): string =>
  text(columnEncoder(type)(values.length, (index) => values[index]));

describe('a column as an array literal', () => {
  it('has numbers bare, and quotes what only looks like one', () => {
    const int: CanonicalType = { tag: 'int', bits: 64, unsigned: false };
    expect(encode(int, ['1', null, '-2'])).toBe('{1,NULL,-2}');
    expect(encode(int, ['1,2', 'NULL', 'null', '', '}'])).toBe('{"1,2","NULL","null","","}"}');
  });

  it('keeps texts what they are', () => {
    expect(encode({ tag: 'text' }, ['', 'NULL', 'a,b', '"', '\\', '{}', ' x ', null])).toBe(
      String.raw`{"","NULL","a,b","\"","\\","{}"," x ",NULL}`,
    );
  });

  it('writes bytes as the server reads them', () => {
    expect(encode({ tag: 'bytes' }, ['/wA=', ''])).toBe(String.raw`{"\\xff00","\\x"}`);
  });

  it('is the same for texts of any length and script, side by side', () => {
    const texts = ['a'.repeat(600_000), 'ü', '😀'.repeat(200_000), '"\\'.repeat(100_000), 'b'.repeat(512), 'c'.repeat(513), '', 'ß"'];
    for (const some of [texts, texts.toReversed()]) {
      const escaped = some.map((one) => `"${one.replace(/["\\]/g, '\\$&')}"`);
      expect(encode({ tag: 'text' }, some)).toBe(Buffer.from(`{${escaped.join(',')}}`).toString('utf8'));
    }
  });

  it('refuses half of a surrogate pair, which would become another character', () => {
    for (const half of ['\ud800', 'x\udc00', '\udfff\ud800'.repeat(1_000)]) {
      expect(() => encode({ tag: 'text' }, ['x', half])).toThrow(ValueTextError);
    }
  });

  it('of no rows is empty', () => {
    expect(encode({ tag: 'text' }, [])).toBe('{}');
    expect(text(encodeFlags(2, (index) => index === 0))).toBe('{t,f}');
    expect(text(encodeSequences(1, () => '00ff'))).toBe(String.raw`{"\\x00ff"}`);
  });
});
