// The short way through a change's text gives what the parser gives, or leaves the text to it.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeOf } from '#core/errors.ts';
import { type RowKey, rowKeyOf } from '#core/key.ts';
import type { LogRecord } from '#core/record.ts';
import { type TableSchema, tableIdOf, tableSchema } from '#core/schema.ts';
import type { Row } from '#core/value.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { expectHead, scanChange } from '../../src/codec/json-scan.ts';
import { anyChange, sampleRecord, textColumn } from './arbitrary-records.ts';

const schema = tableSchema({
  table: tableIdOf('public', 'orders'),
  columns: ['id', 'line', 'note', 'a"b'].map(textColumn),
  key: [0, 1],
});

function changeOf(row: Row, rest: Partial<LogRecord> = {}): LogRecord {
  const change = { ...sampleRecord, table: schema.table, schemaVersion: schema.version, key: rowKeyOf(schema, row) as RowKey, row };
  return { ...change, ...rest } as LogRecord;
}

function textOf(record: LogRecord, of: TableSchema = schema): string {
  return Buffer.from(jsonCodec.encode(record, of)).toString('utf8');
}

function catalogue(of: TableSchema): { get(version: string): TableSchema | undefined } {
  return { get: (version) => (version === of.version ? of : undefined) };
}

/** The record, or the code of what is wrong with it. */
function outcomeOf(text: string, of: TableSchema = schema): unknown {
  try {
    return jsonCodec.decode(Buffer.from(text), catalogue(of));
  } catch (error) {
    return codeOf(error);
  }
}

/** A blank that the short way does not know, so that the parser reads it. */
function parsedOf(text: string, of: TableSchema = schema): unknown {
  return outcomeOf(` ${text}`, of);
}

const whole = changeOf(['1', '2', 'hello, "world"? no: {plain}', null].map((value) => value?.replaceAll('"', "'") ?? null));
const records: readonly LogRecord[] = [
  whole,
  changeOf(['1', '2', undefined, 'x']),
  changeOf(['1', '2', 'ünïcode 😀', undefined]),
  { ...changeOf(['1', '2', null, null]), op: 'delete', row: null } as LogRecord,
  { ...changeOf(['1', '2', null, null]), op: 'repair', row: null } as LogRecord,
];

describe('a change as the codec writes it', () => {
  it.each(records)('is read without the parser', (record) => {
    expectHead(record);
    expect(scanChange(textOf(record), catalogue(schema))).toEqual(record);
    expect(parsedOf(textOf(record))).toEqual(record);
  });

  it('is left to the parser where it holds an escape, something rare, or follows another holder', () => {
    expectHead(whole);
    const left = [changeOf(['1', '2', '"', null]), changeOf(['1', '2', '\\n', null]), changeOf(['"', '2', null, null])];
    left.push(changeOf(['1', '2', null, null], { sink: 's' }), { ...whole, holder: 'somebody else' });
    for (const record of left) {
      expect(scanChange(textOf(record), catalogue(schema))).toBeNull();
      expect(outcomeOf(textOf(record))).toEqual(record);
    }
  });

  it('is the same by both ways, whatever it holds', () => {
    fc.assert(
      fc.property(anyChange, ({ record, schema: of }) => {
        const text = textOf(record, of);
        const parsed = parsedOf(text, of);
        expect(parsed).toEqual(record);
        // Twice, because the first makes its holder the expected one.
        expect(outcomeOf(text, of)).toEqual(parsed);
        expect(outcomeOf(text, of)).toEqual(parsed);
      }),
      { numRuns: 1_000 },
    );
  });

  it.each([
    ['an insert without an image', (text: string) => text.replace(/,"after":\{.*\},"at"/, ',"at"').replace('"update"', '"insert"')],
    ['a delete with one', (text: string) => text.replace('"update"', '"delete"')],
    ['an operation that is not known', (text: string) => text.replace('"update"', '"upsert"')],
    ['something behind it', (text: string) => `${text}}`],
    ['a blank behind it', (text: string) => `${text} `],
    ['another table than its schema version has', (text: string) => text.replace('"public.orders"', '"public.others"')],
    ['a table whose name goes on', (text: string) => text.replace('"public.orders"', '"public.orders2"')],
    ['a time that no number holds', (text: string) => text.replace('"at":1790000000000000', '"at":9999999999999999')],
    ['a key of one column', (text: string) => text.replace('"key":["1","2"]', '"key":["1"]')],
    ['a key of three columns', (text: string) => text.replace('"key":["1","2"]', '"key":["1","2","3"]')],
    ['a sequence with a letter in capitals', (text: string) => text.replace('"seq":"00000001', '"seq":"0000000A')],
  ])('is refused, or read, by both ways alike: %s', (_, damage) => {
    expectHead(whole);
    const damaged = damage(textOf(whole));
    expect(damaged).not.toBe(textOf(whole));
    expect(outcomeOf(damaged)).toEqual(parsedOf(damaged));
  });

  it('is refused, or read, by both ways alike where it is damaged', () => {
    const piece = fc.oneof(
      fc.constantFrom('', '"', '\\', ',', '}', '{', ']', '[', ':', '0', '-', '1e9', 'null', ' ', '\u0000', '\n', 'x', '"note":"again",'),
      fc.string({ unit: 'binary', maxLength: 3 }),
    );
    const cut = fc.record({ record: fc.constantFrom(...records), at: fc.nat(600), length: fc.nat(4), piece });
    fc.assert(
      fc.property(cut, ({ record, at, length, piece: put }) => {
        expectHead(record);
        const text = textOf(record);
        const damaged = text.slice(0, at % text.length) + put + text.slice((at % text.length) + length);
        expect(outcomeOf(damaged)).toEqual(parsedOf(damaged));
      }),
      { numRuns: 20_000 },
    );
  });
});
