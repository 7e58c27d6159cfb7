import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decoded, encoded, ValueRefused, type Encoding } from '../../../connectors/sink-dynamodb/encode.ts';
import { padded, plainNumber } from '../../../connectors/lib/number/decimal-text.ts';
import { fitsNumber } from '../../../connectors/sink-dynamodb/number-text.ts';
import { canonicalValues, typeCases } from '../../support/canonical-values.ts';

const texts: Encoding = { numbers: 'text', json: 'text', arrays: 'text' };
const native: Encoding = { numbers: 'native', json: 'native', arrays: 'list' };

describe('numbers', () => {
  test.each([
    ['0', '0'],
    ['-0', '0'],
    ['0.000', '0'],
    ['1.00', '1'],
    ['-1.50', '-1.5'],
    ['1e+20', '100000000000000000000'],
    ['1.5E-3', '0.0015'],
    ['0120', '120'],
    ['NaN', null],
    ['Infinity', null],
    ['', null],
    ['1e', null],
  ])('%s is written %s', (text, plain) => {
    expect(plainNumber(text)).toBe(plain);
  });

  test.each([
    ['9'.repeat(38), true],
    [`${'9'.repeat(38)}000`, true],
    ['9'.repeat(39), false],
    [`1${'0'.repeat(37)}1`, false],
    ['1e-130', true],
    ['1e-131', false],
    [`9.${'9'.repeat(37)}e125`, true],
    ['1e126', false],
    ['-0', true],
  ])('%s fits: %s', (text, fits) => {
    expect(fitsNumber(text)).toBe(fits);
  });

  test('get the digits of their scale back', () => {
    expect(padded('1', 2)).toBe('1.00');
    expect(padded('-1.5', 2)).toBe('-1.50');
    expect(padded('100', 0)).toBe('100');
    expect(padded('100', -2)).toBe('100');
  });
});

test('members of a map come back in one order, whatever order the service has them in', () => {
  const json = { tag: 'json' } as const;
  const [one, two, three] = [{ N: '1' }, { S: '2' }, { L: [] }];
  const text = '{"a":1,"b":"2","c":[]}';
  expect(encoded(json, text, native)).toEqual({ attribute: { M: { a: one, b: two, c: three } }, exact: true });
  expect(encoded(json, '{"b":"2","a":1,"c":[]}', native).exact).toBe(false);
  expect(decoded(json, { M: { c: three, a: one, b: two } }, native)).toBe(text);
});

describe.each([
  ['texts', texts],
  ['native attributes', native],
])('as %s', (_name, encoding) => {
  test.each(typeCases.map((entry) => [entry.sourceType, entry] as const))('%s comes back, or is told to be inexact', (_type, entry) => {
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(...entry.edges), canonicalValues(entry.type)), (text) => {
        const made = refusable(() => encoded(entry.type, text, encoding));
        if (made === null) return;
        if (made.exact) expect(decoded(entry.type, made.attribute, encoding)).toBe(text);
        else expect(decoded(entry.type, made.attribute, encoding)).not.toBe(text);
      }),
    );
  });
});

test('as texts nothing is refused, and nothing is inexact', () => {
  for (const { type, edges } of typeCases) for (const edge of edges) expect(encoded(type, edge, texts).exact).toBe(true);
});

test('natively, what is refused is what the service refuses', () => {
  const float = { tag: 'float', bits: 64 } as const;
  for (const text of ['NaN', 'Infinity', '-Infinity', '1.7976931348623157e+308', '5e-324']) {
    expect(
      refusable(() => encoded(float, text, native)),
      text,
    ).toBeNull();
  }
  expect(refusable(() => encoded({ tag: 'json' }, '{"a":[1e200]}', native))).toBeNull();
  expect(encoded({ tag: 'json' }, '{"a":[12345678901234567890,null,true,"x"]}', native)).toEqual({
    attribute: { M: { a: { L: [{ N: '12345678901234567890' }, { NULL: true }, { BOOL: true }, { S: 'x' }] } } },
    exact: true,
  });
  expect(encoded({ tag: 'json' }, '{"b": 1.10}', native)).toEqual({ attribute: { M: { b: { N: '1.1' } } }, exact: false });
});

function refusable<T>(work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (error instanceof ValueRefused) return null;
    throw error;
  }
}

test('json is measured before it is read: a deep one ends nothing', () => {
  const encoding = { numbers: 'native', json: 'native', arrays: 'list' } as const;
  const nested = (levels: number): string => `${'['.repeat(levels)}"]{["${']'.repeat(levels)}`;
  expect(() => encoded({ tag: 'json' }, nested(32), encoding)).not.toThrow();
  expect(() => encoded({ tag: 'json' }, nested(33), encoding)).toThrow(ValueRefused);
  expect(() => encoded({ tag: 'json' }, nested(100_000), encoding)).toThrow(ValueRefused);
});
