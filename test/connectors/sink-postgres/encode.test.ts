import { describe, expect, it } from 'vitest';

import type { CanonicalType, Value } from '#core/value.ts';

import { columnEncoder, encodeFlags, encodeSequences } from '../../../connectors/sink-postgres/encode.ts';

const encode = (type: CanonicalType, values: readonly Value[]): string => columnEncoder(type)(values.length, (index) => values[index]);

describe('a column as an array literal', () => {
  it('has numbers bare, and quotes what only looks like one', () => {
    const int: CanonicalType = { tag: 'int', bits: 64, unsigned: false };
    expect(encode(int, ['1', null, '-2'])).toBe('{1,NULL,-2}');
    expect(encode(int, ['1,2', 'NULL', '', '}'])).toBe('{"1,2","NULL","","}"}');
  });

  it('keeps texts what they are', () => {
    expect(encode({ tag: 'text' }, ['', 'NULL', 'a,b', '"', '\\', '{}', ' x ', null])).toBe(
      String.raw`{"","NULL","a,b","\"","\\","{}"," x ",NULL}`,
    );
  });

  it('writes bytes as the server reads them', () => {
    expect(encode({ tag: 'bytes' }, ['/wA=', ''])).toBe(String.raw`{"\\xff00","\\x"}`);
  });

  it('of no rows is empty', () => {
    expect(encode({ tag: 'text' }, [])).toBe('{}');
    expect(encodeFlags(2, (index) => index === 0)).toBe('{t,f}');
    expect(encodeSequences(1, () => '00ff')).toBe(String.raw`{"\\x00ff"}`);
  });
});
