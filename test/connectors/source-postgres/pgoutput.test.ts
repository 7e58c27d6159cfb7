// The decoder against frames that real servers sent, against itself, and against bytes that no server sends.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import type { EpochMicros } from '#core/position.ts';
import type { Value } from '#core/value.ts';
import type { Lsn } from '../../../connectors/source-postgres/lsn.ts';
import { decodePgoutput, encodePgoutput, type PgoutputMessage } from '../../../connectors/source-postgres/pgoutput/decode.ts';
import type { Tuple } from '../../../connectors/source-postgres/pgoutput/tuple.ts';

type Golden = { readonly frame: string; readonly message: unknown };

function goldenFrames(major: number): readonly Golden[] {
  return JSON.parse(readFileSync(new URL(`../../golden/pgoutput/postgres-${major}.json`, import.meta.url), 'utf8')) as Golden[];
}

/** The form in which the golden files hold a message: JSON has neither bigint nor undefined. */
function described(value: unknown): unknown {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (Buffer.isBuffer(value)) return { text: value.toString() };
  if (Array.isArray(value)) return value.map((item) => (item === undefined ? { unchanged: true } : described(item)));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, described(item)]));
}

describe.each([14, 18])('frames of PostgreSQL %i', (major) => {
  const golden = goldenFrames(major);

  test('decode to what they were captured as, and encode to the same bytes', () => {
    for (const { frame, message } of golden) {
      const bytes = Buffer.from(frame, 'hex');
      const decoded = decodePgoutput(bytes);
      expect(described(decoded)).toEqual(message);
      expect(encodePgoutput(decoded).toString('hex')).toBe(frame);
    }
  });

  test('hold every kind of message', () => {
    const tags = new Set(golden.map(({ frame }) => decodePgoutput(Buffer.from(frame, 'hex')).tag));
    const kinds: readonly PgoutputMessage['tag'][] = [
      ...(['begin', 'commit', 'origin', 'relation', 'type'] as const),
      ...(['insert', 'update', 'delete', 'truncate', 'message'] as const),
    ];
    expect([...tags].sort()).toEqual([...kinds].sort());
  });

  test('cut short or made longer anywhere are refused by the name of their message', () => {
    for (const { frame } of golden) {
      const bytes = Buffer.from(frame, 'hex');
      for (let length = 0; length < bytes.length; length += 1) expectInvalid(bytes.subarray(0, length));
      expectInvalid(Buffer.concat([bytes, Buffer.of(0)]));
    }
  });
});

function expectInvalid(frame: Buffer): void {
  const error = errorOf(frame);
  expect(error?.code).toBe('source_stream_invalid');
  expect(error?.message).toMatch(
    /^the source sent an? (empty|\w+) message that |^the source sent (an empty message|a message of the unknown type 0x..)$/,
  );
}

function errorOf(frame: Buffer): CausewayError | null {
  try {
    decodePgoutput(frame);
    return null;
  } catch (error) {
    if (error instanceof CausewayError) return error;
    throw error;
  }
}

const uint32 = fc.nat({ max: 0xffff_ffff });
const lsn = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }).map((value) => value as Lsn);
const micros = fc.integer({ min: 0, max: 9_000_000_000_000_000 }).map((value) => value as EpochMicros);
const word = fc.string({ unit: 'binary', maxLength: 12 }).map((text) => text.replaceAll('\0', ''));
const value: fc.Arbitrary<Value> = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.string({ maxLength: 40 }),
  fc.string({ minLength: 4_000, maxLength: 5_000 }),
  fc.constantFrom(null, undefined, '', '\ufffd', '\ufeffx'),
);
const tuple: fc.Arbitrary<Tuple> = fc.array(value, { maxLength: 8 }).map((values) => ({ values, unreadable: [] }));
const old = fc.record({ kind: fc.constantFrom('key' as const, 'whole' as const), tuple });
const column = fc.record({ name: word, inIdentity: fc.boolean(), typeOid: uint32, typmod: fc.integer({ min: -1, max: 0x7fff_ffff }) });

const message: fc.Arbitrary<PgoutputMessage> = fc.oneof(
  fc.record({ tag: fc.constant('begin' as const), commitLsn: lsn, committedAt: micros, xid: uint32 }),
  fc.record({ tag: fc.constant('commit' as const), commitLsn: lsn, endLsn: lsn, committedAt: micros }),
  fc.record({ tag: fc.constant('origin' as const), originLsn: lsn, name: word }),
  fc.record({ tag: fc.constant('type' as const), oid: uint32, schema: word.filter((name) => name !== ''), name: word }),
  fc.record({
    tag: fc.constant('relation' as const),
    relation: fc.record({
      oid: uint32,
      schema: fc.constantFrom('public', 'pg_catalog', 'é'),
      name: word,
      replicaIdentity: fc.constantFrom('d' as const, 'n' as const, 'f' as const, 'i' as const),
      columns: fc.array(column, { maxLength: 6 }),
    }),
  }),
  fc.record({ tag: fc.constant('insert' as const), relation: uint32, row: tuple }),
  fc.record({ tag: fc.constant('update' as const), relation: uint32, old: fc.option(old), row: tuple }),
  fc.record({ tag: fc.constant('delete' as const), relation: uint32, old }),
  fc.record({
    tag: fc.constant('truncate' as const),
    relations: fc.array(uint32, { maxLength: 5 }),
    cascade: fc.boolean(),
    restartIdentity: fc.boolean(),
  }),
  fc.record({
    tag: fc.constant('message' as const),
    transactional: fc.boolean(),
    lsn,
    prefix: word,
    content: fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
  }),
);

test('every message comes back from its own bytes', () => {
  fc.assert(
    fc.property(message, (sent) => {
      expect(decodePgoutput(encodePgoutput(sent))).toEqual(sent);
    }),
    { numRuns: 1_000 },
  );
});

test('bytes of any kind are a message or the one coded error', () => {
  const letters = fc.constantFrom(...Buffer.from('BCORYIUDTMSEcAbPKrp'));
  fc.assert(
    fc.property(letters, fc.uint8Array({ maxLength: 200 }), (letter, bytes) => {
      const error = errorOf(Buffer.concat([Buffer.of(letter), bytes]));
      if (error !== null) expect(error.code).toBe('source_stream_invalid');
    }),
    { numRuns: 5_000 },
  );
});

test('a message with changed bytes is a message or the one coded error', () => {
  fc.assert(
    fc.property(message, fc.nat(), fc.nat({ max: 255 }), (sent, place, byte) => {
      const frame = encodePgoutput(sent);
      frame[place % frame.length] = byte;
      const error = errorOf(frame);
      if (error !== null) expect(error.code).toBe('source_stream_invalid');
    }),
    { numRuns: 3_000 },
  );
});

test('bytes that are not UTF-8 are named, never replaced', () => {
  const frame = encodePgoutput({ tag: 'insert', relation: 1, row: { values: ['aa', '\ufffd', 'é', 'b'], unreadable: [] } });
  frame[frame.indexOf('aa')] = 0xff;
  expect(decodePgoutput(frame)).toMatchObject({ row: { values: [null, '\ufffd', 'é', 'b'], unreadable: [0] } });
});

test('a value that is too large for any string or record is named, and the row beside it is read', () => {
  // What MAX_STRING_LENGTH cannot hold: made of zeros that are never touched.
  const length = 537_000_000;
  const frame = Buffer.alloc(19 + length);
  frame.write('I\0\0\0\u0001N\0\u0002t\0\0\0\u0001at', 'latin1');
  frame.writeInt32BE(length, 15);
  expect(decodePgoutput(frame)).toMatchObject({ row: { values: ['a', null], unreadable: [1] } });
});

test('texts do not change when the frame is overwritten', () => {
  const values = ['plain', 'a longer text that stays plain', 'ünïcödé', 'x'.repeat(5_000)];
  const frame = encodePgoutput({ tag: 'insert', relation: 1, row: { values, unreadable: [] } });
  const decoded = decodePgoutput(frame);
  frame.fill(0);
  expect(decoded).toMatchObject({ row: { values } });
});

test('an error holds nothing of a row', () => {
  const frame = encodePgoutput({ tag: 'insert', relation: 1, row: { values: ['secret', 'secret'], unreadable: [] } });
  for (let length = 1; length < frame.length; length += 1) expect(errorOf(frame.subarray(0, length))?.message).not.toContain('secret');
});
