import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CausewayError, codeOf } from '#core/errors.ts';
import { type RowKey, rowKeyOf } from '#core/key.ts';
import type { LogRecord } from '#core/record.ts';
import { type TableSchema, tableIdOf, tableSchema } from '#core/schema.ts';
import type { Row } from '#core/value.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { anyChange, anyControl, sampleRecord, textColumn } from './arbitrary-records.ts';

const schemaDocument = JSON.parse(readFileSync(new URL('../../docs/log-record.schema.json', import.meta.url), 'utf8')) as object;
const matches = new Ajv2020({ strict: true, allowUnionTypes: true, strictRequired: false, strictTypes: false }).compile(schemaDocument);

function textOf(record: LogRecord, schema: TableSchema | null): string {
  return Buffer.from(jsonCodec.encode(record, schema)).toString('utf8');
}

function decodeText(text: string, ...schemas: readonly TableSchema[]): LogRecord {
  return jsonCodec.decode(Buffer.from(text), { get: (version) => schemas.find((schema) => schema.version === version) });
}

function errorOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

function tableOf(...names: readonly string[]): TableSchema {
  return tableSchema({ table: tableIdOf('public', 't'), columns: names.map(textColumn), key: [0] });
}

function changeOf(schema: TableSchema, row: Row): LogRecord {
  return { ...sampleRecord, table: schema.table, schemaVersion: schema.version, key: rowKeyOf(schema, row) as RowKey, row };
}

describe('the JSON Schema of a record', () => {
  it('describes every change', () => {
    fc.assert(
      fc.property(anyChange, ({ record, schema }) => {
        expect(matches(JSON.parse(textOf(record, schema))), JSON.stringify(matches.errors)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('describes every control record', () => {
    fc.assert(
      fc.property(anyControl, (record) => {
        expect(matches(JSON.parse(textOf(record, null))), JSON.stringify(matches.errors)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('allows nothing without which the codec refuses a record', () => {
    const schema = tableOf('id', 'note');
    const records: readonly (readonly [LogRecord, TableSchema | null])[] = [
      [changeOf(schema, ['1', 'x']), schema],
      ...fc.sample(anyControl, { numRuns: 200, seed: 7 }).map((record) => [record, null] as const),
    ];
    for (const [record, own] of records) {
      const whole = JSON.parse(textOf(record, own)) as Record<string, unknown>;
      for (const name of Object.keys(whole)) {
        const { [name]: _left, ...rest } = whole;
        const refused = codeOf(errorOrNull(() => decodeText(JSON.stringify(rest), schema))) === 'log_record_invalid';
        expect(matches(rest), `${record.tag} without ${name}`).toBe(!refused);
      }
    }
  });
});

function errorOrNull(work: () => unknown): unknown {
  try {
    work();
    return null;
  } catch (error) {
    return error;
  }
}

describe('jsonCodec', () => {
  it('keeps columns that JavaScript objects have names for', () => {
    const schema = tableOf('__proto__', 'constructor', 'toString', 'hasOwnProperty');
    for (const row of [
      ['1', '2', '3', '4'],
      ['1', undefined, undefined, undefined],
      ['1', null, undefined, '4'],
    ] satisfies Row[]) {
      expect(decodeText(textOf(changeOf(schema, row), schema), schema)).toStrictEqual(changeOf(schema, row));
    }
    const keyless = { ...changeOf(schema, ['1', '2', null, null]), row: [undefined, undefined, null, 'x'] };
    expect(decodeText(textOf(keyless, schema), schema)).toStrictEqual(keyless);
  });

  it('keeps columns apart whose names need an escape, although JSON.parse takes one for another', () => {
    // The fault needs a name that only `\` has followed so far, as the last one: the first column is met nowhere else.
    const schema = tableOf('met here only', '\\', '"', '\n', 'a"b');
    const rows: readonly Row[] = [
      ['1', 'backslash', undefined, undefined, undefined],
      ['1', undefined, 'quote', undefined, undefined],
      ['1', undefined, undefined, 'newline', undefined],
      ['1', 'backslash', 'quote', 'newline', 'word'],
      ['1', 'she said "a\\"b":', '{"a\\"b":"x"}', null, undefined],
    ];
    for (const row of [...rows, ...rows]) {
      expect(decodeText(textOf(changeOf(schema, row), schema), schema)).toStrictEqual(changeOf(schema, row));
    }
  });

  it('keeps a lone surrogate, as an escape that is valid UTF-8', () => {
    const schema = tableOf('id', 'note');
    const record = changeOf(schema, ['\udfff', 'a\ud800b']);
    const text = textOf(record, schema);
    expect(text).toContain(String.raw`"note":"a\ud800b"`);
    expect(text).not.toContain('\ufffd');
    expect(decodeText(text, schema)).toStrictEqual(record);
  });

  it('ignores members that it does not know', () => {
    const schema = tableOf('id', 'note');
    const record = changeOf(schema, ['1', 'x']);
    const more = { ...(JSON.parse(textOf(record, schema)) as object), later: { any: ['thing'] }, __proto__x: 1 };
    expect(decodeText(JSON.stringify(more), schema)).toStrictEqual(record);
  });

  it('tells a newer format from what is no record at all', () => {
    const schema = tableOf('id');
    const text = textOf(changeOf(schema, ['1']), schema);
    for (const [format, release] of [
      [2, 'a newer'],
      [0, 'an older'],
    ] as const) {
      const error = errorOf(() => decodeText(text.replace('"v":1', `"v":${format}`), schema));
      expect(codeOf(error)).toBe('log_format_unknown');
      expect(String(error)).toContain(`has format ${format}, of ${release} release; this one reads 1`);
    }
    for (const wrong of ['"v":"1"', '"v":1.5', '"v":null', '"w":1']) {
      expect(codeOf(errorOf(() => decodeText(text.replace('"v":1', wrong), schema)))).toBe('log_record_invalid');
    }
    for (const wrong of ['', 'null', '[]', '17', '{}', '\ufeff{}']) {
      expect(codeOf(errorOf(() => decodeText(wrong, schema)))).toBe('log_record_invalid');
    }
    expect(codeOf(errorOf(() => jsonCodec.decode(Uint8Array.of(0x22, 0xff, 0x22), { get: () => schema })))).toBe('log_record_invalid');
  });

  it.each([
    ['a generation that is no number', '"gen":7', '"gen":"7"'],
    ['a negative counter', '"n":42', '"n":-1'],
    ['a holder that is no text', '"by":"9f2c1d"', '"by":null'],
    ['an unknown kind', '"kind":"change"', '"kind":"changes"'],
    ['an unknown operation', '"op":"update"', '"op":"upsert"'],
    ['the table of another schema', '"table":"public.t"', '"table":"public.u"'],
    ['a key with too many columns', '"key":["1"]', '"key":["1","2"]'],
    ['a key that is no array', '"key":["1"]', '"key":"1"'],
    ['a key column that is no text', '"key":["1"]', '"key":[1]'],
    ['a short sequence', '"seq":"0000', '"seq":"000'],
    ['an upper-case sequence', '"seq":"0000', '"seq":"000A'],
    ['a value that is a number', '"note":"x"', '"note":1'],
    ['a value that is an object', '"note":"x"', '"note":{}'],
    ['a column that the schema lacks', '"note":"x"', '"other":"x"'],
    ['an image that is an array', '"after":{"id":"1","note":"x"}', '"after":["1","x"]'],
    ['an image that is null', '"after":{"id":"1","note":"x"}', '"after":null'],
    ['no image', '"after":{"id":"1","note":"x"},', ''],
    ['a delete with an image', '"op":"update"', '"op":"delete"'],
    ['an image that is said to be withheld', '"at":', '"withheld":"too large","at":'],
    ['a time that is no whole number', '"at":1790000000000000', '"at":1.5'],
    ['a transaction id that is no text', '"tx":"731"', '"tx":731'],
    ['an origin that is no text', '"tx":"731"', '"tx":"731","origin":1'],
  ])('refuses %s', (_what, from, to) => {
    const schema = tableOf('id', 'note');
    const text = textOf(changeOf(schema, ['1', 'x']), schema);
    expect(text).toContain(from);
    expect(codeOf(errorOf(() => decodeText(text.replace(from, to), schema)))).toBe('log_record_invalid');
  });

  it('says nothing of a row in its errors', () => {
    const schema = tableOf('id', 'note');
    const secret = 'tr0ub4dor';
    const text = textOf(changeOf(schema, [secret, secret]), schema);
    for (let cut = 1; cut < text.length; cut += 1) {
      const error = errorOf(() => decodeText(text.slice(0, -cut), schema));
      expect(error).toBeInstanceOf(CausewayError);
      expect((error as CausewayError).message).not.toContain(secret.slice(0, 3));
      expect((error as CausewayError).cause).toBeUndefined();
    }
    const garbled = errorOf(() => decodeText(text.replace(`:"${secret}"`, `:#"${secret}"`), schema));
    expect((garbled as CausewayError).message).not.toContain(secret.slice(0, 3));
    for (const name of ['op', 'seq', 'tx', 'key']) {
      const error = errorOf(() => decodeText(JSON.stringify({ ...(JSON.parse(text) as object), [name]: { secret } }), schema));
      expect((error as CausewayError).message).not.toContain(secret);
    }
  });

  it('asserts that a change is encoded with its own schema', () => {
    const schema = tableOf('id');
    const record = changeOf(schema, ['1']);
    expect(codeOf(errorOf(() => jsonCodec.encode(record, null)))).toBe('internal');
    expect(codeOf(errorOf(() => jsonCodec.encode(record, tableOf('id', 'note'))))).toBe('internal');
    expect(codeOf(errorOf(() => jsonCodec.encode({ ...record, key: '["public.u","1"]' as RowKey } as LogRecord, schema)))).toBe('internal');
  });
});
