// What is put together from the messages of a read, and the order of keys.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tableSchema, type TableId } from '#core/schema.ts';
import type { CanonicalType } from '#core/value.ts';
import { configSchema } from '../../../connectors/sink-spanner/config.ts';
import type { Dialect } from '../../../connectors/sink-spanner/dialect.ts';
import {
  CommitRefused,
  isSessionLost,
  keysRefusalOf,
  refusalOf,
  spannerError,
  ValueRefused,
} from '../../../connectors/sink-spanner/errors.ts';
import { compareKeys } from '../../../connectors/sink-spanner/key-order.ts';
import { partsOf } from '../../../connectors/sink-spanner/partition.ts';
import { Collector, type PartialResultSet } from '../../../connectors/sink-spanner/result-set.ts';
import { shapeOf, wiresOf, type Shape } from '../../../connectors/sink-spanner/shape.ts';
import { deleteAt, sequenceAt } from '../../contract/sink.ts';
import type { Received } from '../../../connectors/sink-spanner/wire.ts';

const text = (value: string): Received => ({ kind: 'stringValue', stringValue: value });
const list = (values: readonly Received[]): Received => ({ kind: 'listValue', listValue: { values } });

/** Cuts rows into messages at places drawn by chance, also inside of texts and lists, as the service may. */
function messagesOf(values: readonly Received[], cuts: () => boolean): readonly PartialResultSet[] {
  const messages: { values: Received[]; chunkedValue: boolean }[] = [{ values: [], chunkedValue: false }];
  const put = (value: Received): void => void messages.at(-1)?.values.push(value);
  const next = (chunkedValue: boolean): void => {
    const last = messages.at(-1);
    if (last !== undefined) last.chunkedValue = chunkedValue;
    messages.push({ values: [], chunkedValue: false });
  };
  for (const value of values) {
    const own = value.stringValue;
    const items = value.listValue?.values;
    if (typeof own === 'string' && own.length > 1 && cuts()) {
      put(text(own.slice(0, 1)));
      next(true);
      put(text(own.slice(1)));
    } else if (items !== undefined && items !== null && items.length > 0 && cuts()) {
      const last = items.at(-1)?.stringValue ?? '';
      put(list([...items.slice(0, -1), text(last.slice(0, 1))]));
      next(true);
      put(list([text(last.slice(1))]));
    } else put(value);
    if (cuts()) next(false);
  }
  return messages;
}

describe('a read', () => {
  test('is whole however its values are cut into messages', () => {
    const value = fc.oneof(
      fc.string().map(text),
      fc.constant<Received>({ kind: 'nullValue' }),
      fc.array(fc.string(), { maxLength: 3 }).map((values) => list(values.map(text))),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(value, value), { maxLength: 8 }), fc.infiniteStream(fc.boolean()), (rows, chance) => {
        const collector = new Collector(2, Number.POSITIVE_INFINITY);
        for (const message of messagesOf(rows.flat(), () => chance.next().value === true)) collector.add(message);
        expect(collector.rows()).toEqual(rows);
      }),
    );
  });

  test('that ends inside of a row is an error, unless it was ended here', () => {
    const short = new Collector(2, Number.POSITIVE_INFINITY);
    short.add({ values: [text('a'), text('b'), text('c')] });
    expect(() => short.rows()).toThrow('inside of a row');
    const chunked = new Collector(1, Number.POSITIVE_INFINITY);
    chunked.add({ values: [text('a')], chunkedValue: true });
    expect(() => chunked.rows()).toThrow('inside of a row');
    const cut = new Collector(2, 2);
    cut.add({ values: [text('aaaa')] });
    expect(cut.isCut).toBe(false);
    cut.add({ values: [text('b'), text('c')], chunkedValue: true });
    expect(cut.isCut).toBe(true);
    expect(cut.rows()).toEqual([[text('aaaa'), text('b')]]);
  });
});

const config = configSchema.parse({ kind: 'spanner', project: 'some-project', instance: 'some', database: 'some' });

/** Of a table that is nothing but its key. */
function keyShape(type: CanonicalType, dialect: Dialect): Shape {
  const table = 'public.t' as TableId;
  const columns = [{ name: 'k', type, sourceType: type.tag, nullable: false, constantDefault: null }];
  return shapeOf(tableSchema({ table, columns, key: [0] }), { config, dialect, target: table, pipeline: 'p', sink: 's' });
}

test('a key has as many bytes as its value, whatever they travel in', () => {
  const bytes = keyShape({ tag: 'bytes' }, 'GOOGLE_STANDARD_SQL');
  expect(wiresOf(bytes, [Buffer.alloc(8_192).toString('base64')])).toHaveLength(1);
  expect(() => wiresOf(bytes, [Buffer.alloc(8_193).toString('base64')])).toThrow(ValueRefused);
  const texts = keyShape({ tag: 'text' }, 'GOOGLE_STANDARD_SQL');
  expect(wiresOf(texts, ['é'.repeat(4_096)])).toHaveLength(1);
  expect(() => wiresOf(texts, ['é'.repeat(4_097)])).toThrow(ValueRefused);
});

test('rows whose keys are too large for one request are read and written in several', () => {
  const shape = keyShape({ tag: 'text' }, 'GOOGLE_STANDARD_SQL');
  const rows = Array.from({ length: 600 }, (_, id) =>
    deleteAt(shape.schema, sequenceAt(1), String(id).padStart(4, '0') + 'é'.repeat(4_090)),
  );
  const parts = partsOf(rows, () => shape);
  expect(parts.map((part) => part.length)).toEqual([510, 90]);
  expect(parts.flat()).toEqual(rows);
});

describe('keys stand in the order of', () => {
  const order = (type: CanonicalType, dialect: Dialect, values: readonly Received[]): readonly Received[] => {
    const shape = keyShape(type, dialect);
    return values.toReversed().sort((a, b) => compareKeys(shape, [a], [b]));
  };

  test.each([
    ['numbers', { tag: 'int', bits: 64, unsigned: false }, ['-9223372036854775808', '-2', '9', '10', '9223372036854775807']],
    ['decimals', { tag: 'decimal', precision: 12, scale: 2 }, ['-10', '-9.5', '0', '0.25', '1.5', '10']],
    ['bytes of a text', { tag: 'text' }, ['', 'A', 'Z', 'a', 'ab', '\uffff', '🦊']],
    ['bytes', { tag: 'bytes' }, ['', 'AA==', 'AAA=', '/w==']],
    ['time', { tag: 'timestamptz' }, ['2026-01-02T03:04:05Z', '2026-01-02T03:04:05.1Z', '2026-01-02T03:04:05.11Z', '2026-01-02T03:04:06Z']],
  ] as const)('%s', (_what, type, values) => {
    const rising = values.map(text);
    expect(order(type as CanonicalType, 'GOOGLE_STANDARD_SQL', rising)).toEqual(rising);
  });

  test('floats, where each dialect has a place of its own for NaN', () => {
    const float: CanonicalType = { tag: 'float', bits: 64 };
    const numbers = [
      text('-Infinity'),
      { kind: 'numberValue', numberValue: -1.5 },
      { kind: 'numberValue', numberValue: 2 },
      text('Infinity'),
    ];
    expect(order(float, 'GOOGLE_STANDARD_SQL', [text('NaN'), ...numbers])).toEqual([text('NaN'), ...numbers]);
    expect(order(float, 'POSTGRESQL', [...numbers, text('NaN')])).toEqual([...numbers, text('NaN')]);
  });
});

describe('an error of the service', () => {
  const failed = (code: number, more: object = {}): Error => Object.assign(new Error('secret'), { code, ...more });

  test.each([
    [4, 'sink_unavailable'],
    [5, 'sink_misconfigured'],
    [7, 'sink_misconfigured'],
    [8, 'sink_throttled'],
    [10, 'sink_unavailable'],
    [14, 'sink_unavailable'],
    [16, 'sink_credentials'],
  ])('%i is %s, without the words of the service', (code, name) => {
    const error = spannerError(failed(code), 'the table t');
    expect(error.code).toBe(name);
    expect(error.message).not.toContain('secret');
  });

  test('refuses keys for ever only where it says that they are none', () => {
    expect(keysRefusalOf(failed(3))).toBeInstanceOf(CommitRefused);
    for (const code of [1, 2, 4, 5, 7, 8, 9, 10, 13, 14]) expect(keysRefusalOf(failed(code))).toBeNull();
  });

  test('about a session that is gone is no error of the database', () => {
    const lost = failed(5, { statusDetails: [{ resourceType: 'type.googleapis.com/google.spanner.v1.Session' }] });
    const table = failed(5, { statusDetails: [{ resourceType: 'spanner.googleapis.com/Table' }] });
    expect([isSessionLost(lost), isSessionLost(table)]).toEqual([true, false]);
    expect(spannerError(lost, 'x').code).toBe('sink_unavailable');
  });

  test('refuses a commit for ever only where nothing of it can have taken effect', () => {
    for (const code of [3, 9, 11]) expect(refusalOf(failed(code))).toBeInstanceOf(CommitRefused);
    for (const code of [1, 2, 4, 5, 6, 7, 8, 10, 13, 14]) expect(refusalOf(failed(code))).toBeNull();
  });
});
