import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { RowKey } from '#core/key.ts';
import type { Epoch, EpochMicros, FencingToken, Position } from '#core/position.ts';
import type { LogRecord } from '#core/record.ts';
import { tableIdOf, tableSchema } from '#core/schema.ts';
import { encodeSequence, watermarkSequence } from '#core/sequence.ts';
import { jsonCodec } from '../../src/codec/json.ts';

/*
 * The bytes of format version 1, one record a line. They stand in logs that outlive a release: a line never changes, and a
 * change of the format takes a new version.
 */
const golden = readFileSync(new URL('./log-records.v1.jsonl', import.meta.url), 'utf8').trimEnd().split('\n');

const orders = tableSchema({
  table: tableIdOf('public', 'orders'),
  columns: [
    { name: 'id', type: { tag: 'int', bits: 64, unsigned: false }, sourceType: 'bigint', nullable: false, constantDefault: null },
    {
      name: 'total',
      type: { tag: 'decimal', precision: 10, scale: 2 },
      sourceType: 'numeric(10,2)',
      nullable: false,
      constantDefault: '0.00',
    },
    { name: 'mood', type: { tag: 'enum', labels: ['sad', 'ok'] }, sourceType: 'public.mood', nullable: true, constantDefault: null },
    {
      name: 'tags',
      type: { tag: 'array', element: { tag: 'text' } },
      sourceType: 'text[]',
      nullable: true,
      constantDefault: null,
    },
    { name: 'note', type: { tag: 'text' }, sourceType: 'text', nullable: true, constantDefault: null },
  ],
  key: [0],
});

const epoch = 1 as Epoch;
const at = 1_790_000_000_123_456 as EpochMicros;
const sequence = encodeSequence({ epoch, commit: 0x16b_3748n, change: 0x16b_3700n, sub: 1 });
const envelope = { generation: 7 as FencingToken, holder: '9f2c1d' };
const change = {
  tag: 'change',
  table: orders.table,
  schemaVersion: orders.version,
  key: '["public.orders","17"]' as RowKey,
  sequence,
  withheld: null,
  committedAt: at,
  transactionId: '731',
  origin: null,
  trace: null,
  sink: null,
} as const;

const records: readonly LogRecord[] = [
  { ...envelope, counter: 1, tag: 'generation-open', epoch, fork: 0n, partitions: 4, acknowledged: null },
  {
    ...envelope,
    counter: 1,
    tag: 'generation-open',
    epoch: 2 as Epoch,
    fork: 0xffff_ffff_ffff_ffffn,
    partitions: 12,
    acknowledged: { generation: 6 as FencingToken, counter: 1234 },
  },
  { ...envelope, counter: 2, tag: 'epoch-open', epoch: 2 as Epoch, fork: 23_803_720n },
  { ...envelope, counter: 3, tag: 'schema', schema: orders },
  { ...envelope, counter: 4, ...change, op: 'insert', row: ['17', '12.50', 'ok', '["a","b"]', 'she said "hé" 😀\n'] },
  { ...envelope, counter: 5, ...change, op: 'update', row: ['17', '13.00', null, null, undefined] },
  { ...envelope, counter: 6, ...change, op: 'delete', row: null },
  { ...envelope, counter: 7, ...change, op: 'read', row: ['17', '13.00', null, null, ''], sink: 'warm' },
  { ...envelope, counter: 8, ...change, op: 'repair', row: null, origin: 'other', trace: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' },
  { ...envelope, counter: 9, ...change, op: 'update', row: null, withheld: 'record_too_large' },
  { ...envelope, counter: 10, tag: 'truncate', table: orders.table, sequence, committedAt: at },
  {
    ...envelope,
    counter: 11,
    tag: 'watermark',
    sequence: watermarkSequence(epoch, 0x16b_3748n),
    position: '0/16B3778' as Position,
    sourceTime: at,
    requestId: null,
  },
  {
    ...envelope,
    counter: 12,
    tag: 'watermark',
    sequence: watermarkSequence(epoch, 0x16b_3748n),
    position: '0/16B3778' as Position,
    sourceTime: at,
    requestId: 'r-1',
  },
  { ...envelope, counter: 13, tag: 'load-open', table: orders.table, sink: null },
  { ...envelope, counter: 14, tag: 'load-close', table: orders.table, sink: 'warm' },
];

describe('records of format version 1', () => {
  it.each(records.map((record, index) => [`${index} ${record.tag}`, record, golden[index]] as const))('keep their bytes: %s', (_name, record, line) => {
    const bytes = jsonCodec.encode(record, record.tag === 'change' ? orders : null);
    expect(Buffer.from(bytes).toString('utf8')).toBe(line);
    expect(jsonCodec.decode(Buffer.from(line ?? '', 'utf8'), { get: () => orders })).toStrictEqual(record);
  });

  it('are all here', () => {
    expect(golden).toHaveLength(records.length);
    expect(new Set(records.map((record) => record.tag)).size).toBe(8);
  });
});
