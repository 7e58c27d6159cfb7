import fc from 'fast-check';

import { unreachable } from '#core/assert.ts';
import type { CanonicalType } from '#core/value.ts';
// Of the product, which is compared with what servers print (postgres-values.test.ts).
import { floatText } from '../../connectors/lib/number/float-text.ts';

/** A column type as a source may have it, with canonical texts at its edges. Spelled as Postgres spells types. */
export type TypeCase = { readonly sourceType: string; readonly type: CanonicalType; readonly edges: readonly string[] };

export const moodLabels = ['sad', 'so so', "it's", 'a,"b"', '{}'] as const;

const text: CanonicalType = { tag: 'text' };
const int = (bits: 16 | 32 | 64): CanonicalType => ({ tag: 'int', bits, unsigned: false });
const other = (name: string): CanonicalType => ({ tag: 'other', name });
const array = (element: CanonicalType): CanonicalType => ({ tag: 'array', element });

/** Printed by Postgres as they stand here: each must come back from a lossless store as the same text. */
export const typeCases: readonly TypeCase[] = [
  { sourceType: 'boolean', type: { tag: 'bool' }, edges: ['true', 'false'] },
  { sourceType: 'smallint', type: int(16), edges: ['0', '-32768', '32767'] },
  { sourceType: 'integer', type: int(32), edges: ['0', '-2147483648', '2147483647'] },
  { sourceType: 'bigint', type: int(64), edges: ['0', '-9223372036854775808', '9223372036854775807', '9007199254740993'] },
  {
    sourceType: 'real',
    type: { tag: 'float', bits: 32 },
    edges: ['0', '-0', '1.5', '0.1', '1e+06', '123456', '1e-05', '3.4028235e+38', '1e-45', 'NaN', 'Infinity', '-Infinity'],
  },
  {
    sourceType: 'double precision',
    type: { tag: 'float', bits: 64 },
    edges: [
      '0',
      '-0',
      '1.5',
      '0.1',
      '1e+20',
      '100000000000000',
      '1e+15',
      '1e-05',
      '1.7976931348623157e+308',
      '5e-324',
      'NaN',
      'Infinity',
      '-Infinity',
    ],
  },
  {
    sourceType: 'numeric',
    type: { tag: 'decimal', precision: null, scale: null },
    edges: ['0', '1.00', '-1', '0.000000000000000000001', `${'9'.repeat(60)}.${'9'.repeat(60)}`, 'NaN', 'Infinity', '-Infinity'],
  },
  { sourceType: 'numeric(12,2)', type: { tag: 'decimal', precision: 12, scale: 2 }, edges: ['0.00', '9999999999.99', '-0.01', 'NaN'] },
  {
    sourceType: 'text',
    type: text,
    edges: ['', ' ', 'NULL', 'null', '\\', '"', '{a,b}', "it's", '\\x00', 'ünïcödé 🦊 \u0301', 'a\nb\tc\r\n', '\u007f'],
  },
  { sourceType: 'character varying(20)', type: text, edges: ['', 'twenty characters ok', 'trailing  '] },
  { sourceType: 'character(4)', type: text, edges: ['ab  ', '    ', 'abcd'] },
  { sourceType: 'bytea', type: { tag: 'bytes' }, edges: ['', 'AA==', '/wA=', 'XHgwMA=='] },
  {
    sourceType: 'date',
    type: { tag: 'date' },
    edges: ['2026-01-02', '0044-03-15 BC', '4713-01-01 BC', '5874897-12-31', 'infinity', '-infinity'],
  },
  { sourceType: 'time without time zone', type: { tag: 'time' }, edges: ['00:00:00', '03:04:05.123456', '03:04:05.5', '24:00:00'] },
  {
    sourceType: 'timestamp without time zone',
    type: { tag: 'timestamp' },
    edges: [
      '2026-01-02T03:04:05.123456',
      '2026-01-02T03:04:05',
      '0001-01-01T00:00:00',
      '0044-03-15T01:02:03.5 BC',
      '294276-12-31T23:59:59.999999',
      'infinity',
      '-infinity',
    ],
  },
  {
    sourceType: 'timestamp with time zone',
    type: { tag: 'timestamptz' },
    edges: [
      '2026-01-02T03:04:05.123456Z',
      '1969-12-31T23:59:59.999999Z',
      '0044-03-15T01:02:03Z BC',
      '294276-12-31T23:59:59.999999Z',
      'infinity',
      '-infinity',
    ],
  },
  {
    sourceType: 'interval',
    type: { tag: 'interval' },
    edges: ['PT0S', 'P1Y2M3DT4H5M6.789S', 'P-1Y-2M3DT-4H-5M-6.000001S', 'PT0.5S', 'P-178000000Y'],
  },
  { sourceType: 'uuid', type: { tag: 'uuid' }, edges: ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'] },
  {
    sourceType: 'json',
    type: { tag: 'json' },
    edges: [
      'null',
      '{"b":1,  "a":12345678901234567890}',
      '{"b":1,"a":{"d":[],"c":2}}',
      '{"a":1,"b":2,"c":3,"d":4}',
      '"\\u0000"',
      '[]',
      '1.10',
    ],
  },
  { sourceType: 'jsonb', type: { tag: 'json' }, edges: ['null', '{"a": 12345678901234567890, "b": [1.10, null]}', '"é\\""', '{}'] },
  { sourceType: 'bit(4)', type: { tag: 'bit' }, edges: ['0000', '1010'] },
  { sourceType: 'bit varying', type: { tag: 'bit' }, edges: ['', '1', '010101010101010101010'] },
  {
    sourceType: 'integer[]',
    type: array(int(32)),
    edges: ['[]', '["1",null,"-3"]', '[["1","2"],["3","4"]]', '{"lower":[0],"values":["1","2"]}'],
  },
  { sourceType: 'text[]', type: array(text), edges: ['[]', '["",null,"NULL","a,b","\\"","\\\\","{x}"," "]', '[["a"],["b"]]'] },
  { sourceType: 'bytea[]', type: array({ tag: 'bytes' }), edges: ['[]', '["/wA=",null,""]'] },
  { sourceType: 'boolean[]', type: array({ tag: 'bool' }), edges: ['["true",null,"false"]'] },
  {
    sourceType: 'timestamp with time zone[]',
    type: array({ tag: 'timestamptz' }),
    edges: ['["2026-01-02T03:04:05.5Z",null,"infinity"]'],
  },
  { sourceType: 'inet', type: other('inet'), edges: ['10.0.0.1', '10.0.0.0/8', '::1'] },
  { sourceType: 'int4range', type: other('int4range'), edges: ['empty', '[1,5)', '(,)'] },
  { sourceType: 'point', type: other('point'), edges: ['(1.5,-2)'] },
];

/** Canonical texts of a type, as a Postgres source would give them. Types of kind `other` give the edges of their case. */
export function canonicalValues(type: CanonicalType): fc.Arbitrary<string> {
  switch (type.tag) {
    case 'bool':
      return fc.constantFrom('true', 'false');
    case 'int':
      return integers(type.bits, type.unsigned).map(String);
    case 'float':
      return type.bits === 32
        ? fc.float().map((value) => floatText(Math.fround(value), 32))
        : fc.double().map((value) => floatText(value, 64));
    case 'decimal':
      return decimals(type.precision, type.scale);
    case 'text':
      return fc.string({ unit: 'binary', maxLength: 20 }).map((value) => value.replaceAll('\0', ''));
    case 'bytes':
      return fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes).toString('base64'));
    case 'date':
      return dates();
    case 'time':
      return times();
    case 'timestamp':
      return fc.tuple(dates(), times()).map(([date, time]) => stamp(date, time, ''));
    case 'timestamptz':
      return fc.tuple(dates(), times()).map(([date, time]) => stamp(date, time, 'Z'));
    case 'interval':
      return intervals();
    case 'uuid':
      return fc.uuid();
    case 'json':
      return jsons();
    case 'enum':
      return fc.constantFrom(...type.labels);
    case 'bit':
      return fc.array(fc.constantFrom('0', '1'), { minLength: 4, maxLength: 4 }).map((digits) => digits.join(''));
    case 'array':
      return fc
        .array(fc.option(canonicalValues(type.element), { nil: null, freq: 5 }), { maxLength: 5 })
        .map((values) => JSON.stringify(values));
    case 'other':
      return fc.constantFrom(...(typeCases.find((entry) => entry.sourceType === type.name)?.edges ?? ['']));
    default:
      return unreachable(type);
  }
}

function integers(bits: 16 | 32 | 64, unsigned: boolean): fc.Arbitrary<bigint> {
  const span = 1n << BigInt(bits);
  return unsigned ? fc.bigInt({ min: 0n, max: span - 1n }) : fc.bigInt({ min: -(span / 2n), max: span / 2n - 1n });
}

function decimals(precision: number | null, scale: number | null): fc.Arbitrary<string> {
  const upTo = (digits: number): fc.Arbitrary<bigint> => fc.bigInt({ min: -(10n ** BigInt(digits)) + 1n, max: 10n ** BigInt(digits) - 1n });
  // Without limits: digits around the 38 that some stores stop at, many of them, and zeros at the end.
  const zeros = fc.tuple(upTo(20), fc.integer({ min: 0, max: 40 })).map(([value, more]) => value * 10n ** BigInt(more));
  const values = precision === null ? fc.oneof(upTo(30), upTo(38), upTo(60), zeros) : upTo(precision);
  const scales = scale === null ? fc.integer({ min: 0, max: 20 }) : fc.constant(scale);
  return fc.tuple(values, scales).map(([value, behind]) => {
    const negative = value < 0n ? '-' : '';
    const padded = String(value < 0n ? -value : value).padStart(behind + 1, '0');
    return behind === 0 ? negative + padded : `${negative}${padded.slice(0, -behind)}.${padded.slice(-behind)}`;
  });
}

/** As jsonb prints them, which json keeps: members by the length of their names, then by their bytes. */
function jsons(): fc.Arbitrary<string> {
  const strings = fc.string({ unit: 'grapheme', maxLength: 8 }).map((value) => JSON.stringify(value.replaceAll('\0', '')));
  const byLength = (a: string, b: string): number =>
    Buffer.byteLength(a) - Buffer.byteLength(b) || Buffer.compare(Buffer.from(a), Buffer.from(b));
  const { value } = fc.letrec<{ value: string }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom('null', 'true', 'false', '[]', '{}'),
      decimals(null, null),
      strings,
      fc.array(tie('value'), { maxLength: 3 }).map((values) => `[${values.join(', ')}]`),
      fc.dictionary(fc.string({ unit: 'grapheme-ascii', maxLength: 4 }), tie('value'), { maxKeys: 3 }).map((members) => {
        const names = Object.keys(members).sort(byLength);
        return `{${names.map((name) => `${JSON.stringify(name)}: ${members[name] ?? ''}`).join(', ')}}`;
      }),
    ),
  }));
  return value;
}

function dates(): fc.Arbitrary<string> {
  const year = fc.oneof(fc.integer({ min: 1, max: 9999 }), fc.integer({ min: 1900, max: 2100 }), fc.integer({ min: -4000, max: -1 }));
  return fc.tuple(year, fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 28 })).map(([y, m, d]) => {
    const written = `${pad(Math.abs(y), 4)}-${pad(m, 2)}-${pad(d, 2)}`;
    return y < 0 ? `${written} BC` : written;
  });
}

function times(): fc.Arbitrary<string> {
  return fc.integer({ min: 0, max: 86_399_999_999 }).map((micros) => {
    const seconds = Math.floor(micros / 1_000_000);
    const fraction = pad(micros % 1_000_000, 6).replace(/0+$/, '');
    const clock = `${pad(Math.floor(seconds / 3600), 2)}:${pad(Math.floor(seconds / 60) % 60, 2)}:${pad(seconds % 60, 2)}`;
    return fraction === '' ? clock : `${clock}.${fraction}`;
  });
}

function stamp(date: string, time: string, zone: string): string {
  return date.endsWith(' BC') ? `${date.slice(0, -3)}T${time}${zone} BC` : `${date}T${time}${zone}`;
}

function intervals(): fc.Arbitrary<string> {
  const parts = fc.tuple(
    fc.integer({ min: -5000, max: 5000 }),
    fc.integer({ min: -1000, max: 1000 }),
    fc.integer({ min: -1e12, max: 1e12 }),
  );
  return parts.map(([months, days, micros]) => {
    const sign = micros < 0 ? -1 : 1;
    const size = Math.abs(micros);
    const hours = sign * Math.floor(size / 3_600_000_000);
    const minutes = sign * (Math.floor(size / 60_000_000) % 60);
    const rest = size % 60_000_000;
    const seconds = `${String(Math.floor(rest / 1_000_000))}.${pad(rest % 1_000_000, 6)}`.replace(/\.?0+$/, '');
    const part = (value: number, unit: string): string => (value === 0 ? '' : String(value) + unit);
    const date = part(Math.trunc(months / 12), 'Y') + part(months % 12, 'M') + part(days, 'D');
    const time = part(hours, 'H') + part(minutes, 'M') + (rest === 0 ? '' : `${sign < 0 ? '-' : ''}${seconds}S`);
    if (date === '' && time === '') return 'PT0S';
    return time === '' ? `P${date}` : `P${date}T${time}`;
  });
}

function pad(value: number, width: number): string {
  return String(value).padStart(width, '0');
}
