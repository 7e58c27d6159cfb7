// How canonical values become values of Spanner, and what is refused before it is sent.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CanonicalType } from '#core/value.ts';
import { floatText } from '../../../connectors/lib/number/float-text.ts';
import { columnType, holdsType, lengthMaxOf, typeText, type Dialect, type Encoding } from '../../../connectors/sink-spanner/dialect.ts';
import { decoded, encoded, readBack } from '../../../connectors/sink-spanner/encode.ts';
import { ValueRefused } from '../../../connectors/sink-spanner/errors.ts';
import type { Received, Wire } from '../../../connectors/sink-spanner/wire.ts';
import { contractColumn } from '../../contract/sink.ts';
import { canonicalValues, typeCases } from '../../support/canonical-values.ts';

const dialects: readonly Dialect[] = ['GOOGLE_STANDARD_SQL', 'POSTGRESQL'];
const encodings: readonly Encoding[] = dialects.flatMap((dialect) => [
  { dialect, json: 'text', arrays: 'text' },
  { dialect, json: 'text', arrays: 'native' },
]);
const decimal = (precision: number | null, scale: number | null): CanonicalType => ({ tag: 'decimal', precision, scale });
const json: CanonicalType = { tag: 'json' };
const native: Encoding = { dialect: 'GOOGLE_STANDARD_SQL', json: 'native', arrays: 'native' };

/** As the client gives it back, which names the field that is set. */
function received(wire: Wire): Received {
  const kind = Object.keys(wire)[0] ?? '';
  return 'listValue' in wire ? { kind, listValue: { values: wire.listValue.values.map(received) } } : { kind, ...wire };
}

/** The text that comes back; null where the value is refused. */
function roundTrip(type: CanonicalType, text: string, encoding: Encoding): string | null {
  const column = columnType(type, encoding, false);
  try {
    return decoded(type, received(encoded(text, column, encoding.dialect)), column);
  } catch (error) {
    if (error instanceof ValueRefused) return null;
    throw error;
  }
}

describe('a value', () => {
  test.each(encodings)('comes back as its text, or is refused: $dialect, arrays $arrays', (encoding) => {
    for (const { type, edges } of typeCases) {
      for (const edge of edges) expect([edge, null], JSON.stringify(type)).toContain(roundTrip(type, edge, encoding));
      fc.assert(
        fc.property(canonicalValues(type), (text) => {
          expect([text, null]).toContain(roundTrip(type, text, encoding));
        }),
      );
    }
  });

  test('of a type that holds all of its texts is never refused', () => {
    const whole = [
      'boolean',
      'smallint',
      'integer',
      'bigint',
      'real',
      'double precision',
      'text',
      'bytea',
      'uuid',
      'json',
      'interval',
      'inet',
    ];
    for (const encoding of encodings) {
      for (const { sourceType, type, edges } of typeCases.filter((entry) => whole.includes(entry.sourceType))) {
        for (const edge of edges) expect(roundTrip(type, edge, encoding), sourceType).toBe(edge);
      }
    }
  });

  test.each([
    ['a NUMERIC beyond 29 digits', decimal(38, 9), '123456789012345678901234567890'],
    ['a NUMERIC beyond 9 digits behind the point', decimal(38, 9), '0.0000000001'],
    ['a NUMERIC that is no number', decimal(38, 9), 'NaN'],
    ['a time before the year 1', { tag: 'timestamptz' }, '0044-03-15T01:02:03Z BC'],
    ['a time behind the year 9999', { tag: 'timestamptz' }, '10000-01-01T00:00:00Z'],
    ['an infinite date', { tag: 'date' }, '-infinity'],
    ['half of a character', { tag: 'text' }, 'x\ud83e'],
    ['a text of too many characters', { tag: 'text' }, 'x'.repeat(2_621_441)],
    ['bytes beyond 10 MiB', { tag: 'bytes' }, Buffer.alloc(10 * 1024 * 1024 + 1).toString('base64')],
    ['an array of two dimensions', { tag: 'array', element: { tag: 'text' } }, '[["a"],["b"]]'],
    ['an array from another bound', { tag: 'array', element: { tag: 'text' } }, '{"lower":[0],"values":["a"]}'],
  ] as const)('is refused: %s', (_what, type, text) => {
    expect(roundTrip(type, text, native)).toBeNull();
  });

  test('at its limit is taken', () => {
    expect(roundTrip(decimal(38, 9), `${'9'.repeat(29)}.${'9'.repeat(9)}`, native)).toBe(`${'9'.repeat(29)}.${'9'.repeat(9)}`);
    expect(roundTrip({ tag: 'timestamptz' }, '9999-12-31T23:59:59.999999Z', native)).toBe('9999-12-31T23:59:59.999999Z');
    expect(roundTrip({ tag: 'date' }, '0001-01-01', native)).toBe('0001-01-01');
    expect(roundTrip({ tag: 'text' }, 'x'.repeat(2_621_440), native)).not.toBeNull();
    expect(roundTrip(decimal(12, 2), 'NaN', { ...native, dialect: 'POSTGRESQL' })).toBe('NaN');
  });

  test('of 64 bits without a sign does not pass through a number', () => {
    const type: CanonicalType = { tag: 'int', bits: 64, unsigned: true };
    expect(columnType(type, native, false).code).toBe('NUMERIC');
    expect(roundTrip(type, '18446744073709551615', native)).toBe('18446744073709551615');
  });

  test('that the service prints with other zeros is the same text', () => {
    const at = (text: string, type: CanonicalType): string | null =>
      decoded(type, { kind: 'stringValue', stringValue: text }, columnType(type, native, false));
    expect(at('2026-01-02T03:04:05.500000000Z', { tag: 'timestamptz' })).toBe('2026-01-02T03:04:05.5Z');
    expect(at('2026-01-02T03:04:00.000Z', { tag: 'timestamptz' })).toBe('2026-01-02T03:04:00Z');
    expect(at('2026-01-02T03:04:00Z', { tag: 'timestamptz' })).toBe('2026-01-02T03:04:00Z');
    expect(at('1', decimal(12, 2))).toBe('1.00');
  });
});

describe('json as JSON', () => {
  test.each([
    ['{"a":1.10,"b":[null,true,"x:\\"{"]}', '{"a":1.1,"b":[null,true,"x:\\"{"]}'],
    ['18446744073709551615', '18446744073709551615'],
    ['-9223372036854775808', '-9223372036854775808'],
    ['1e22', '10000000000000000000000'],
    ['[]', '[]'],
    ['{}', '{}'],
    ['"a:"', '"a:"'],
  ])('takes %s, and has one text for it', (text, one) => {
    expect(roundTrip(json, text, native)).toBe(one);
  });

  test.each([
    ['another order of names and other blanks', '{"b": 1, "a": {"d": 2, "c": 3}}', '{"a":{"c":3,"d":2},"b":1}'],
    ['other spellings of a number', '[1.0, 100, 5e-1]', '[1,1e2,0.50]'],
    ['other spellings of a character', String.raw`"\u00e9\/"`, '"é/"'],
  ])('that the service prints with %s is the same text', (_what, printed, stored) => {
    const column = columnType(json, native, false);
    const back = readBack(json, stored, { column, dialect: native.dialect });
    expect(decoded(json, { kind: 'stringValue', stringValue: printed }, column)).toBe(back);
  });

  test.each([
    ['an integer that a double does not hold', '18446744073709551617'],
    ['a fraction with more digits than a double has', '0.12345678901234567890'],
    ['a number beyond the doubles', '1e400'],
    ['a name that stands twice', '{"a":1,"b":{"c":1,"c":2}}'],
    ['a NUL', '"\\u0000"'],
    ['half of a character', '"\\ud83e"'],
    ['81 levels', '['.repeat(81) + ']'.repeat(81)],
  ])('refuses %s', (_what, text) => {
    expect(roundTrip(json, text, native)).toBeNull();
  });

  test('counts values whatever the text is made of', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false, maxDepth: 5 }), fc.nat(3), (value, space) => {
        const text = JSON.stringify(value, null, space);
        // `-0` is printed as 0, and a double's own text is kept.
        if (text.isWellFormed() && !text.includes(String.raw`\u`))
          expect(JSON.parse(roundTrip(json, text, native) ?? '')).toEqual(JSON.parse(text));
      }),
    );
  });
});

describe('a column', () => {
  test('has a type of the dialect, in any case', () => {
    expect(typeText({ code: 'INT64', isArray: true }, 'GOOGLE_STANDARD_SQL')).toBe('ARRAY<INT64>');
    expect(typeText({ code: 'INT64', isArray: true }, 'POSTGRESQL')).toBe('bigint[]');
    expect(holdsType('string(max)', { code: 'STRING', isArray: false }, null, 'GOOGLE_STANDARD_SQL')).toBe(true);
    expect(holdsType('STRING(MAX)', { code: 'BYTES', isArray: false }, null, 'GOOGLE_STANDARD_SQL')).toBe(false);
    expect(holdsType('INT64', { code: 'INT64', isArray: true }, null, 'GOOGLE_STANDARD_SQL')).toBe(false);
  });

  test.each([
    ['GOOGLE_STANDARD_SQL', 'STRING(20)', 'ARRAY<STRING(20)>'],
    ['POSTGRESQL', 'character varying(20)', 'character varying(20)[]'],
  ] as const)("has a length that is no less than that of the source's values: %s", (dialect, own, ofArray) => {
    const holds = (found: string, sourceType: string, type: CanonicalType): boolean => {
      const column = columnType(type, { ...native, dialect }, false);
      return holdsType(found, column, lengthMaxOf(contractColumn('v', sourceType, type), column), dialect);
    };
    const text: CanonicalType = { tag: 'text' };
    expect(holds(own, 'character varying(20)', text)).toBe(true);
    expect(holds(own, 'character(4)', text)).toBe(true);
    expect(holds(own, 'character varying(21)', text)).toBe(false);
    expect(holds(own, 'text', text)).toBe(false);
    expect(holds(own, 'public.short', text)).toBe(false);
    expect(holds(own, 'uuid', { tag: 'uuid' })).toBe(false);
    expect(holds(own.replace('20', '36'), 'uuid', { tag: 'uuid' })).toBe(true);
    expect(holds(typeText({ code: 'STRING', isArray: false }, dialect), 'text', text)).toBe(true);
    expect(holds(ofArray, 'character varying(20)[]', { tag: 'array', element: text })).toBe(true);
    expect(holds(ofArray, 'character varying(21)[]', { tag: 'array', element: text })).toBe(false);
  });

  test('of bytes has no length, and one that holds an array as a text is longer than its elements', () => {
    expect(holdsType('BYTES(1024)', { code: 'BYTES', isArray: false }, null, 'GOOGLE_STANDARD_SQL')).toBe(false);
    const array: CanonicalType = { tag: 'array', element: { tag: 'text' } };
    expect(lengthMaxOf(contractColumn('v', 'character varying(20)[]', array), { code: 'STRING', isArray: false })).toBeNull();
  });

  test('of a decimal is NUMERIC where every value fits, and of a key one that can be a key', () => {
    expect(columnType(decimal(38, 9), native, false).code).toBe('NUMERIC');
    expect(columnType(decimal(39, 9), native, false).code).toBe('STRING');
    expect(columnType(decimal(38, 10), native, false).code).toBe('STRING');
    expect(columnType(decimal(null, null), native, false).code).toBe('STRING');
    expect(columnType(decimal(12, 2), native, true).code).toBe('NUMERIC');
    expect(columnType(decimal(12, 2), { ...native, dialect: 'POSTGRESQL' }, true).code).toBe('STRING');
    expect(columnType(json, native, true).code).toBe('STRING');
  });
});

test('a float has the text that Postgres prints', () => {
  const singles = [-192_697.125, 8_388_608.5, -48_002_952, 0.1, 1e-45, 3.4028235e38].map(Math.fround);
  expect(singles.map((value) => floatText(value, 32))).toEqual([
    // Half-way between two texts: the even one. One that is half-way between two floats: a longer one.
    ...['-192697.12', '8.388608e+06', '-4.8002952e+07'],
    ...['0.1', '1e-45', '3.4028235e+38'],
  ]);
  const doubles = [1e23, 50_744_116_200_122_304, 0.1, 5e-324, -0, 1e15, 123_456_789_012_345];
  expect(doubles.map((value) => floatText(value, 64))).toEqual([
    ...['9.999999999999999e+22', '5.0744116200122304e+16', '0.1', '5e-324', '-0', '1e+15', '123456789012345'],
  ]);
});
