import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { present } from '#core/assert.ts';
import type { SourceMessage } from '#core/event.ts';
import { partitionOf } from '#core/hash.ts';
import { rowKeyOf, type RowKey } from '#core/key.ts';
import { positionOf, type Epoch, type EpochMicros, type FencingToken } from '#core/position.ts';
import type { LogRecord } from '#core/record.ts';
import { tableSchema, type SchemaVersion, type TableId, type TableSchema } from '#core/schema.ts';
import { encodeSequence, watermarkSequence } from '#core/sequence.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { Encoder } from '../../src/capture/encode.ts';
import type { EncodedBatch } from '../../src/capture/encoded-batch.ts';

const text = { tag: 'text' } as const;
const schema = tableSchema({
  table: 'public.orders' as TableId,
  columns: ['id', 'value'].map((name) => ({ name, type: text, sourceType: 'text', nullable: false, constantDefault: null })),
  key: [0],
});
const PARTITIONS = 5;
const BYTES_MAX = 1_000;

function encoderOf(captures: (table: TableId) => boolean = () => true): Encoder {
  return new Encoder({
    codec: jsonCodec,
    generation: 7 as FencingToken,
    holder: 'abcdef01',
    epoch: 1 as Epoch,
    partitions: PARTITIONS,
    recordBytesMax: BYTES_MAX,
    captures,
  });
}

function keyOf(id: string): RowKey {
  return present(rowKeyOf(schema, [id, null]), 'key');
}

function transaction(commit: bigint, changes: readonly SourceMessage[]): readonly SourceMessage[] {
  return [
    { tag: 'begin', commit, transactionId: String(commit), committedAt: Number(commit) as EpochMicros, origin: null },
    ...changes,
    { tag: 'commit', position: positionOf(String(commit + 1n)) },
  ];
}

function insert(change: bigint, id: string, value: string): SourceMessage {
  return { tag: 'change', schema, change, op: 'insert', key: keyOf(id), row: [id, value] };
}

function decode(batches: readonly EncodedBatch[]): readonly { readonly partition: number; readonly record: LogRecord }[] {
  const schemas = new Map<SchemaVersion, TableSchema>([[schema.version, schema]]);
  return batches.flatMap(({ records }) => records.map(({ partition, value }) => ({ partition, record: jsonCodec.decode(value, schemas) })));
}

const announced: SourceMessage = { tag: 'schema', schema };

describe('records of the stream', () => {
  test('a row that gets another key and leaves a column out is published under it without values', () => {
    const moved: SourceMessage = {
      tag: 'change',
      schema,
      change: 11n,
      op: 'update',
      key: keyOf('b'),
      row: ['b', undefined],
      oldKey: keyOf('a'),
    };
    const records = decode([encoderOf().encode([announced, ...transaction(20n, [moved])])]).map(({ record }) => record);
    const changes = records.flatMap((record) =>
      record.tag === 'change' ? [[record.key, record.op, record.row, record.withheld?.split(':')[0]]] : [],
    );
    expect(changes).toEqual([
      [keyOf('a'), 'delete', null, undefined],
      [keyOf('b'), 'update', null, 'partial_without_base'],
    ]);
  });

  test('counters are dense in every partition, whatever the arrays are cut into', () => {
    const change = fc.record({ id: fc.string({ maxLength: 4 }), value: fc.string({ maxLength: 2_000 }), kind: fc.nat(4) });
    fc.assert(
      fc.property(fc.array(fc.array(change, { maxLength: 8 }), { maxLength: 10 }), fc.integer({ min: 1, max: 7 }), (transactions, size) => {
        const messages: SourceMessage[] = [announced];
        let place = 10n;
        for (const changes of transactions) {
          const rows = changes.map(({ id, value, kind }): SourceMessage => {
            place += 1n;
            if (kind === 0) return { tag: 'truncate', tables: [schema], change: place };
            if (kind === 1)
              return { tag: 'change', schema, change: place, op: 'update', key: keyOf(id), row: [id, value], oldKey: keyOf(`${id}!`) };
            return insert(place, id, value);
          });
          place += 1n;
          messages.push(...transaction(place, rows));
        }
        const encoder = encoderOf();
        const batches: EncodedBatch[] = [encoder.control(() => ({ tag: 'load-open', table: schema.table, sink: null }))];
        for (let at = 0; at < messages.length; at += size) batches.push(encoder.encode(messages.slice(at, at + size)));
        const counters = new Array<number>(PARTITIONS).fill(0);
        let records = 0;
        for (const { partition, record } of decode(batches)) {
          records += 1;
          counters[partition] = present(counters[partition], 'partition') + 1;
          expect(record.counter).toBe(counters[partition]);
          if (record.tag === 'change') expect(partition).toBe(partitionOf(record.key, PARTITIONS));
        }
        expect(encoder.records).toBe(records);
        expect(encoder.counters()).toEqual(counters);
        for (const batch of batches)
          for (const { key, value } of batch.records) expect(value.length + Buffer.byteLength(key ?? '')).toBeLessThanOrEqual(BYTES_MAX);
        const commits = batches.flatMap(({ marks }) => marks.filter(({ tag }) => tag === 'commit'));
        expect(commits).toHaveLength(transactions.length);
      }),
      { numRuns: 60 },
    );
  });

  test('the same messages give the same sequences and images', () => {
    const messages = [announced, ...transaction(100n, [insert(90n, '1', 'a'), insert(90n, '2', 'b'), insert(95n, '1', 'c')])];
    expect(decode([encoderOf().encode(messages)])).toEqual(decode([encoderOf().encode(messages)]));
  });

  test('a row is withheld exactly where the record would be larger than may be', () => {
    const size = (length: number): { readonly bytes: number; readonly withheld: string | null } => {
      const batch = encoderOf().encode([announced, ...transaction(100n, [insert(90n, 'ключ', 'x'.repeat(length))])]);
      const [last] = decode([batch]).slice(-1);
      const stored = present(batch.records.at(-1), 'record');
      const record = present(last, 'record').record;
      return {
        bytes: stored.value.length + Buffer.byteLength(stored.key ?? ''),
        withheld: record.tag === 'change' ? record.withheld : null,
      };
    };
    const fits = BYTES_MAX - size(0).bytes;
    expect(size(fits)).toEqual({ bytes: BYTES_MAX, withheld: null });
    expect(size(fits + 1).withheld).toMatch(/^record_too_large: /);
  });

  test('changes of a table that is not captured are dropped and counted', () => {
    const encoder = encoderOf(() => false);
    const batch = encoder.encode([
      announced,
      ...transaction(100n, [insert(90n, '1', 'a'), { tag: 'truncate', tables: [schema], change: 91n }]),
    ]);
    expect(batch.records).toEqual([]);
    expect(batch.counts.dropped).toBe(2);
    expect(batch.marks).toHaveLength(1);
  });

  test('a change before its schema, or outside of a transaction, is not guessed at', () => {
    expect(() => encoderOf().encode(transaction(100n, [insert(90n, '1', 'a')]))).toThrow(
      expect.objectContaining({ code: 'source_stream_invalid' }),
    );
    expect(() => encoderOf().encode([announced, insert(90n, '1', 'a')])).toThrow(
      expect.objectContaining({ code: 'source_stream_invalid' }),
    );
  });

  test('a keepalive inside of a transaction says nothing', () => {
    const [begin, ...rest] = transaction(100n, []);
    const batch = encoderOf().encode([present(begin, 'begin'), { tag: 'keepalive', position: positionOf('500') }, ...rest]);
    expect(batch.marks.map(({ tag }) => tag)).toEqual(['commit']);
  });

  test('a broken connection forgets the transaction that was half received', () => {
    const encoder = encoderOf();
    encoder.encode([announced, ...transaction(100n, [insert(90n, '1', 'a')]).slice(0, 2)]);
    encoder.disconnected();
    const batch = encoder.encode(transaction(100n, [insert(90n, '1', 'a')]));
    expect(batch.marks).toHaveLength(1);
  });

  test('what stands in the log by the checkpoint is not published again, and still moves what may be acknowledged', () => {
    const encoder = encoderOf();
    const older = transaction(100n, [insert(90n, '1', 'a'), { tag: 'truncate', tables: [schema], change: 91n }]);
    const newer = transaction(101n, [insert(100n, '1', 'b')]);
    encoder.connected(watermarkSequence(1 as Epoch, 100n));
    const batch = encoder.encode([announced, ...older, ...newer]);
    const tags = decode([batch]).map(({ record }) => (record.tag === 'change' ? record.sequence : record.tag));
    expect(tags.filter((tag) => tag !== 'schema')).toEqual([encodeSequence({ epoch: 1 as Epoch, commit: 101n, change: 100n, sub: 1 })]);
    expect(batch.counts).toMatchObject({ insert: 1, truncate: 0, dropped: 0 });
    expect(batch.marks.map(({ position }) => position)).toEqual([positionOf('101'), positionOf('102')]);
    // Another lineage of the source can use the same numbers for other transactions.
    encoder.connected(watermarkSequence(2 as Epoch, 500n));
    expect(encoder.encode(older).counts).toMatchObject({ insert: 1, truncate: 1 });
  });
});
