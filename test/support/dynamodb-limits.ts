// What the service takes, by its manual and not by the product's code: limits, each with rows just at it and just over it, and values.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html and HowItWorks.NamingRulesDataTypes.html
import type { CanonicalType } from '#core/value.ts';
import type { SinkConfig } from '../../connectors/sink-dynamodb/config.ts';
import { bigint, contractColumn, text, type LimitCase } from '../contract/sink.ts';

export const ITEM_BYTES_MAX = 400 * 1024;
const DIGITS_MAX = 38;
const DEPTH_MAX = 32;
const numeric: CanonicalType = { tag: 'decimal', precision: null, scale: null };

export function dynamoDbLimits({ numbers, json }: SinkConfig): readonly LimitCase[] {
  const keyed = (what: string, at: readonly string[], over: readonly string[]): LimitCase => ({
    what,
    columns: [contractColumn('k', 'text', text, false)],
    key: [0],
    at: at.map((key) => [key]),
    over: over.map((key) => [key]),
  });
  const valued = (what: string, type: CanonicalType, at: readonly string[], over: readonly string[]): LimitCase => ({
    what,
    columns: [contractColumn('id', 'bigint', bigint, false), contractColumn('v', type.tag === 'json' ? 'json' : 'numeric', type)],
    key: [0],
    at: at.map((value, index) => [String(index), value]),
    over: over.map((value, index) => [String(100 + index), value]),
  });
  return [
    largeItem(),
    keyed(
      'a partition key',
      ['k', 'k'.repeat(2_048), 'é'.repeat(1_024), '🦊'.repeat(512)],
      ['', 'k'.repeat(2_049), 'é'.repeat(1_024) + 'k'],
    ),
    sortKey(),
    ...(numbers === 'text'
      ? []
      : [
          valued(
            'digits of a number',
            numeric,
            ['9'.repeat(38), `-0.${'9'.repeat(38)}`, `${'9'.repeat(19)}.${'9'.repeat(19)}`, `${'9'.repeat(38)}000.000`],
            ['9'.repeat(39), `-0.${'9'.repeat(39)}`, `1${'0'.repeat(37)}.1`],
          ),
          valued(
            'the magnitude of a number',
            numeric,
            [`0.${'0'.repeat(129)}1`, `999${'0'.repeat(123)}`, `-999${'0'.repeat(123)}`],
            [`0.${'0'.repeat(130)}1`, `1${'0'.repeat(126)}`, `-1${'0'.repeat(126)}`, 'NaN', 'Infinity'],
          ),
        ]),
    ...(json === 'text' ? [] : [valued('the depth of a document', { tag: 'json' }, [nested(DEPTH_MAX - 1)], [nested(DEPTH_MAX + 1)])]),
  ];
}

/** Names and values count, in bytes of UTF-8: "DynamoDB item sizes and formats" in the manual. */
function largeItem(): LimitCase {
  const own = 'k'.length + 1 + 'v'.length + 'cw_seq'.length + 24;
  const left = ITEM_BYTES_MAX - own;
  return {
    what: 'the size of an item',
    columns: [contractColumn('k', 'text', text, false), contractColumn('v', 'text', text)],
    key: [0],
    at: [
      ['1', 'x'.repeat(left)],
      ['2', 'small'],
    ],
    over: [
      ['3', 'x'.repeat(left + 1)],
      ['4', 'é'.repeat(left)],
    ],
  };
}

function sortKey(): LimitCase {
  return {
    what: 'a sort key',
    columns: [contractColumn('k', 'text', text, false), contractColumn('s', 'text', text, false)],
    key: [0, 1],
    at: [
      ['k', 's'.repeat(1_024)],
      ['k', 'é'.repeat(512)],
    ],
    over: [
      ['k', 's'.repeat(1_025)],
      ['k', ''],
      ['', 's'],
    ],
  };
}

function nested(lists: number): string {
  return '['.repeat(lists) + ']'.repeat(lists);
}

/** True for a value that no attribute can hold as it is configured. */
export function isBeyondDynamoDb(type: CanonicalType, value: string, config: Pick<SinkConfig, 'numbers' | 'json' | 'arrays'>): boolean {
  switch (type.tag) {
    case 'float':
    case 'decimal':
      return config.numbers === 'native' && isBeyondNumbers(value);
    case 'json':
      return config.json === 'native' && isBeyondDocuments(value);
    case 'array':
      return config.arrays === 'list' && elementsOf(JSON.parse(value)).some((element) => isBeyondDynamoDb(type.element, element, config));
    default:
      return false;
  }
}

/** Up to 38 digits, magnitudes from 1E-130 to 9.99…E+125, and 0. */
function isBeyondNumbers(value: string): boolean {
  const size = Math.abs(Number(value));
  if (!Number.isFinite(size) && !/^-?\d/.test(value)) return true;
  const [mantissa = ''] = value.split(/e/i);
  const digits = mantissa.replace(/[-.]/g, '').replace(/^0+|0+$/g, '');
  if (digits === '') return false;
  return digits.length > DIGITS_MAX || size < 1e-130 || size >= 1e126;
}

/** A member has a name, a text is of Unicode, a number is one of the service's. */
function isBeyondDocuments(value: string): boolean {
  let isBeyond = false;
  JSON.parse(value, ((key: string, parsed: unknown, { source }: { source?: string }): unknown => {
    if (typeof parsed === 'number') isBeyond ||= isBeyondNumbers(source ?? '');
    if (typeof parsed === 'string') isBeyond ||= !parsed.isWellFormed();
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) isBeyond ||= Object.hasOwn(parsed, '');
    isBeyond ||= !key.isWellFormed();
    return parsed;
  }) as (key: string, parsed: unknown) => unknown);
  return isBeyond;
}

function elementsOf(array: unknown): readonly string[] {
  if (typeof array === 'string') return [array];
  if (Array.isArray(array)) return array.flatMap(elementsOf);
  if (typeof array !== 'object' || array === null) return [];
  return elementsOf((array as { readonly values: unknown }).values);
}
