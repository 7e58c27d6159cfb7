// Values are compared in the sink's own domain: as texts, except JSON, which stores write in their own ways.
import { describe, expect, test } from 'vitest';
import type { CanonicalType } from '#core/value.ts';
import { differingColumns, isSameRow, normalText } from '../../src/reconcile/same.ts';
import { decimal, float, json, tableOf, text } from './columns.ts';

/** As the comparison in memory and the one by digests say, which have to agree. */
function isSame(type: CanonicalType, a: string | null, b: string | null): boolean {
  const schema = tableOf(text, type);
  const same = isSameRow(schema, ['k', a], ['k', b]);
  expect(normalText(schema, ['k', a]) === normalText(schema, ['k', b])).toBe(same);
  expect(differingColumns(schema, ['k', a], ['k', b])).toEqual(same ? [] : ['c1']);
  return same;
}

describe('JSON', () => {
  test.each([
    ['white space', '{"a": [1, 2]}', '{"a":[1,2]}'],
    ['order of members', '{"a":1,"b":{"d":null,"c":true}}', '{"b":{"c":true,"d":null},"a":1}'],
    ['order of members whose names are numbers', '{"10":1,"9":2}', '{"9":2,"10":1}'],
    ['zeros behind the point', '[1.50, 0.0]', '[1.5,0]'],
    ['powers of ten', '[1e2, 12.5E-1, 1E+3, 0.001]', '[100,1.25,1000,1e-3]'],
    ['a zero with a sign, which no store keeps apart', '-0', '0'],
    ['escapes', '"\\u0041\\/\\ud83d\\ude00"', '"A/😀"'],
    ['of two members of one name the last one', '{"a":1,"b":0,"a":2.50}', '{"a":2.5,"b":0}'],
    ['a member named __proto__', '{"__proto__":{"a":1.0},"b":2}', '{"b":2,"__proto__":{"a":1}}'],
    ['a power beyond what a double holds', '1e400', '10e399'],
  ])('is the same: %s', (_, a, b) => expect(isSame(json, a, b)).toBe(true));

  test.each([
    ['a whole number above 2^53, in its last digit', '[9007199254740993]', '[9007199254740992]'],
    ['a fraction, beyond what a double holds', '0.10000000000000000001', '0.1'],
    ['two numbers that are both infinite as doubles', '1e400', '1e401'],
    ['a sign', '-1', '1'],
    ['a number and its text', '{"a":1}', '{"a":"1"}'],
    ['null and no member', '{"a":null}', '{}'],
    ['order of elements', '[1,2]', '[2,1]'],
    ['an empty object and an empty array', '{}', '[]'],
    ['a member named __proto__', '{"__proto__":{"a":1}}', '{"__proto__":{"a":2}}'],
    ['the first of two members of one name', '{"a":1,"a":2}', '{"a":1}'],
    ['a text that looks like the form of a number', '"1e0"', '1'],
    ['1 and 10', '1', '10'],
  ])('differs: %s', (_, a, b) => expect(isSame(json, a, b)).toBe(false));

  test('null of the column is not the null of JSON', () => {
    expect(isSame(json, null, 'null')).toBe(false);
    expect(isSame(json, null, null)).toBe(true);
  });

  test('deeper than it can be read is compared as a text', () => {
    const deep = (inner: string): string => '['.repeat(20_000) + inner + ']'.repeat(20_000);
    expect(isSame(json, deep('1'), deep('1'))).toBe(true);
    expect(isSame(json, deep('1'), deep('2'))).toBe(false);
    const nested = (inner: string): string => '['.repeat(500) + inner + ']'.repeat(500);
    expect(isSame(json, nested('{"a":1.0,"b":2}'), nested('{"b":2,"a":1}'))).toBe(true);
  });

  test('what is no JSON is compared as a text', () => {
    expect(isSame(json, '{', '{')).toBe(true);
    expect(isSame(json, '{', '{ ')).toBe(false);
  });

  test('in arrays, with nulls, of several dimensions, and with lower bounds', () => {
    const array: CanonicalType = { tag: 'array', element: json };
    const of = (...elements: readonly unknown[]): string => JSON.stringify(elements);
    expect(isSame(array, of('{"a":1,"b":2}', null), of('{"b":2,"a":1.0}', null))).toBe(true);
    expect(isSame(array, of(['1.0'], ['2']), of(['1'], ['2e0']))).toBe(true);
    expect(isSame(array, of('1', '2'), of('2', '1'))).toBe(false);
    expect(isSame(array, of('null'), of(null))).toBe(false);
    const bounded = (one: string): string => JSON.stringify({ lower: [0], values: [one] });
    expect(isSame(array, bounded('1.0'), bounded('1'))).toBe(true);
    expect(isSame(array, bounded('1'), JSON.stringify({ lower: [1], values: ['1'] }))).toBe(false);
  });
});

describe('every other value is its text', () => {
  test.each([
    ['float', float, 'NaN', 'NaN', true],
    ['float', float, '-0', '0', false],
    ['float', float, '1', '1.0', false],
    ['decimal', decimal, '1.50', '1.5', false],
    ['decimal', decimal, '90071992547409930.1', '90071992547409930.1', true],
    ['text', text, '{"a":1,"b":2}', '{"b":2,"a":1}', false],
    ['text', text, '\u00e9', 'e\u0301', false],
    ['array of text', { tag: 'array', element: text }, '["1.0"]', '["1"]', false],
  ] as const)('%s: %s %s', (_, type, a, b, same) => expect(isSame(type, a, b)).toBe(same));

  test('columns are told apart by their place', () => {
    const schema = tableOf(text, text, text);
    expect(normalText(schema, ['k', 'a', 'b'])).not.toBe(normalText(schema, ['k', 'b', 'a']));
    expect(normalText(schema, ['k', 'a', null])).not.toBe(normalText(schema, ['k', null, 'a']));
    expect(normalText(schema, ['k', null, null])).not.toBe(normalText(schema, ['k', 'null', null]));
    expect(differingColumns(schema, ['k', 'a', 'b'], ['k', 'b', 'b'])).toEqual(['c1']);
  });
});
