import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { unreachable } from '#core/assert.ts';
import type { CanonicalType } from '#core/value.ts';
import type { SinkConfig } from './config.ts';
import { padded, plainNumber } from '../lib/number/decimal-text.ts';
import { fitsNumber } from './number-text.ts';

export type Encoding = Pick<SinkConfig, 'numbers' | 'json' | 'arrays'>;

/** A value as an attribute. */
export type Encoded = {
  readonly attribute: AttributeValue;
  /** False where `decoded` gives another text: the item then keeps the value's own text as well. */
  readonly exact: boolean;
};

/** A value that no attribute of its type can hold. The words name no value. */
export class ValueRefused extends Error {
  override readonly name = 'ValueRefused';
}

/** Errors: `ValueRefused`. */
export function encoded(type: CanonicalType, text: string, encoding: Encoding): Encoded {
  switch (type.tag) {
    case 'bool':
      return { attribute: { BOOL: text === 'true' }, exact: true };
    case 'int':
      return { attribute: { N: text }, exact: true };
    case 'float':
    case 'decimal': {
      if (encoding.numbers === 'text') return { attribute: { S: text }, exact: true };
      const number = numberOf(text);
      return { attribute: { N: number }, exact: numberText(type, number) === text };
    }
    case 'bytes':
      return { attribute: { B: Buffer.from(text, 'base64') }, exact: true };
    case 'json': {
      if (encoding.json === 'text') return { attribute: { S: text }, exact: true };
      const attribute = jsonAttribute(parsedJson(text));
      return { attribute, exact: JSON.stringify(jsonOf(attribute)) === text };
    }
    case 'array': {
      if (encoding.arrays === 'text') return { attribute: { S: text }, exact: true };
      const attribute = listOf(type.element, JSON.parse(text) as Elements | Bounded, encoding);
      return { attribute, exact: decoded(type, attribute, encoding) === text };
    }
    case 'text':
    case 'date':
    case 'time':
    case 'timestamp':
    case 'timestamptz':
    case 'interval':
    case 'uuid':
    case 'enum':
    case 'bit':
    case 'other':
      return { attribute: { S: text }, exact: true };
    default:
      return unreachable(type);
  }
}

/** The type of the attribute that a value becomes, where that can key an index; null where it cannot. */
export function scalarType(type: CanonicalType, { numbers, json, arrays }: Encoding): 'S' | 'N' | 'B' | null {
  switch (type.tag) {
    case 'bool':
      return null;
    case 'int':
      return 'N';
    case 'float':
    case 'decimal':
      return numbers === 'text' ? 'S' : 'N';
    case 'bytes':
      return 'B';
    case 'json':
      return json === 'text' ? 'S' : null;
    case 'array':
      return arrays === 'text' ? 'S' : null;
    default:
      return 'S';
  }
}

/** The canonical text of an attribute that `encoded` made; null where the attribute is of another kind. */
export function decoded(type: CanonicalType, attribute: AttributeValue, encoding: Encoding): string | null {
  switch (type.tag) {
    case 'bool':
      return attribute.BOOL === undefined ? null : String(attribute.BOOL);
    case 'int':
      return attribute.N === undefined ? null : plainNumber(attribute.N);
    case 'float':
    case 'decimal': {
      if (encoding.numbers === 'text') return attribute.S ?? null;
      const number = attribute.N === undefined ? null : plainNumber(attribute.N);
      return number === null ? null : numberText(type, number);
    }
    case 'bytes':
      return attribute.B === undefined ? null : Buffer.from(attribute.B).toString('base64');
    case 'json':
      return encoding.json === 'text' ? (attribute.S ?? null) : JSON.stringify(jsonOf(attribute));
    case 'array':
      if (encoding.arrays === 'text') return attribute.S ?? null;
      return attribute.L === undefined ? null : JSON.stringify(elementsOf(type.element, attribute.L, encoding));
    default:
      return attribute.S ?? null;
  }
}

function numberOf(text: string): string {
  const number = plainNumber(text);
  if (number === null) throw new ValueRefused('a number that is not finite');
  if (!fitsNumber(text)) throw new ValueRefused('a number with more than 38 digits, or beyond 1E-130 to 9.99E+125');
  return number;
}

function numberText(type: CanonicalType & { readonly tag: 'float' | 'decimal' }, number: string): string {
  return type.tag === 'decimal' && type.scale !== null ? padded(number, type.scale) : number;
}

type Elements = readonly (string | null | Elements)[];
/** An array whose lower bound is not 1. */
type Bounded = { readonly lower: readonly number[]; readonly values: Elements };

function listOf(element: CanonicalType, array: Elements | Bounded, encoding: Encoding): AttributeValue {
  const elements = 'lower' in array ? array.values : array;
  const one = (value: string | null | Elements): AttributeValue => {
    if (value === null) return { NULL: true };
    return typeof value === 'string' ? encoded(element, value, encoding).attribute : listOf(element, value, encoding);
  };
  return { L: elements.map(one) };
}

function elementsOf(element: CanonicalType, list: readonly AttributeValue[], encoding: Encoding): Elements {
  return list.map((one) => {
    if (one.NULL === true) return null;
    // A list of lists is an array of several dimensions: an element is no list itself.
    return one.L === undefined ? decoded(element, one, encoding) : elementsOf(element, one.L, encoding);
  });
}

/** Numbers stay the texts that they are: a number of JavaScript would round them. */
type Json = null | boolean | string | JsonNumber | readonly Json[] | { readonly [name: string]: Json };

class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toJSON(): unknown {
    return JSON.rawJSON(this.text);
  }
}

declare global {
  interface JSON {
    /** https://tc39.es/proposal-json-parse-with-source/ */
    rawJSON(text: string): unknown;
  }
}

type Reviver = (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown;

/** First, because to parse takes a frame of the stack for each level. Of the service: "Naming rules and data types", Document. */
const LEVELS_MAX = 32;

function parsedJson(text: string): Json {
  if (levelsIn(text) > LEVELS_MAX) throw new ValueRefused(`json nested deeper than ${LEVELS_MAX} levels`);
  const reviver: Reviver = (_key, value, { source }) => (typeof value === 'number' ? new JsonNumber(source ?? '') : value);
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown) as Json;
}

function levelsIn(text: string): number {
  let level = 0;
  let deepest = 0;
  for (const [mark] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[[{}\]]/gs)) {
    if (mark === '[' || mark === '{') deepest = Math.max(deepest, (level += 1));
    else if (mark === ']' || mark === '}') level -= 1;
  }
  return deepest;
}

function jsonAttribute(value: Json): AttributeValue {
  if (value === null) return { NULL: true };
  if (typeof value === 'boolean') return { BOOL: value };
  if (typeof value === 'string') return { S: wellFormed(value) };
  if (value instanceof JsonNumber) return { N: numberOf(value.text) };
  if (Array.isArray(value)) return { L: (value as readonly Json[]).map(jsonAttribute) };
  const members = Object.entries(value as { readonly [name: string]: Json });
  if (members.some(([name]) => name === '')) throw new ValueRefused('a member of a json object without a name');
  return { M: Object.fromEntries(members.map(([name, member]) => [wellFormed(name), jsonAttribute(member)])) };
}

/** An escape in the json's text can stand for half of a character, which UTF-8 has not. */
function wellFormed(text: string): string {
  if (!text.isWellFormed()) throw new ValueRefused('a text of a json value that is not Unicode');
  return text;
}

function jsonOf({ NULL, BOOL, S, N, L, M }: AttributeValue): Json {
  if (NULL === true) return null;
  if (BOOL !== undefined) return BOOL;
  if (S !== undefined) return S;
  if (N !== undefined) return new JsonNumber(plainNumber(N) ?? N);
  if (L !== undefined) return L.map(jsonOf);
  // By their names: the service keeps the members of a map in no order.
  const members = Object.entries(M ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(members.map(([name, member]) => [name, jsonOf(member)]));
}
