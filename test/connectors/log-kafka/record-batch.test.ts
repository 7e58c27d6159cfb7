import { expect, test } from 'vitest';
import { continued } from '../../../connectors/log-kafka/continuity.ts';
import { logRecords } from '../../../connectors/log-kafka/fetch.ts';
import { BatchDamage, headersOf, rawBatches, recordsOf } from '../../../connectors/log-kafka/record-batch.ts';
import { codeRejected } from '../../contract/log-support.ts';
import { batchAt } from '../../support/kafka-batch.ts';
import '../../../connectors/log-kafka/compression.ts';

const place = { topic: 'orders', partition: 1 };

test.each([0, 1, 3, 4])('the records of a batch are read, packed by codec %i', async (compression) => {
  const [batch] = rawBatches(await batchAt(5_000_000_000, ['a', null, 'é'], { compression }));
  if (batch === undefined) throw new Error('no batch');
  expect(batch).toMatchObject({ firstOffset: 5_000_000_000, lastOffset: 5_000_000_002, isControl: false });
  const records = await recordsOf(batch);
  expect(records.map(({ offset, key, value }) => [offset, key?.toString() ?? null, value?.toString() ?? null])).toEqual([
    [5_000_000_000, 'ka', 'a'],
    [5_000_000_001, null, null],
    [5_000_000_002, 'ké', 'é'],
  ]);
  for (const record of records) expect(headersOf(record).get('h')?.toString()).toBe('v');
});

test('a batch that is cut off is left for the next answer, wherever the cut is', async () => {
  const [first, second] = [await batchAt(0, ['a', 'b']), await batchAt(2, ['c'])];
  const both = Buffer.concat([first, second]);
  for (let length = 0; length <= both.length; length += 1) {
    const whole = length < first.length ? 0 : length < both.length ? 1 : 2;
    expect(rawBatches(both.subarray(0, length))).toHaveLength(whole);
  }
});

test('a bit that flipped is damage', async () => {
  const bytes = await batchAt(0, ['a', 'b']);
  for (const position of [22, 30, 61, bytes.length - 1]) {
    const flipped = Buffer.from(bytes);
    flipped.writeUInt8(flipped.readUInt8(position) ^ 1, position);
    const [batch] = rawBatches(flipped);
    if (batch === undefined) throw new Error('no batch');
    await expect(recordsOf(batch)).rejects.toBeInstanceOf(BatchDamage);
  }
});

test('what was read before is passed over, and the rest is read from the middle of its batch', async () => {
  const bytes = Buffer.concat([await batchAt(0, ['a', 'b']), await batchAt(2, ['c', 'd', 'e'])]);
  const { batches, next } = continued(rawBatches(bytes), 3);
  expect(next).toBe(5);
  expect(batches).toHaveLength(1);
  const [batch] = batches;
  if (batch === undefined) throw new Error('no batch');
  expect((await logRecords(place, batch, 3)).map(({ offset, key }) => [offset, key])).toEqual([
    [3, 'kd'],
    [4, 'ke'],
  ]);
});

test('a hole before a batch, or in it, is a loss', async () => {
  const [late] = rawBatches(await batchAt(7, ['a']));
  const [sparse] = rawBatches(await batchAt(5, ['a', 'b'], { lastOffsetDelta: 2 }));
  if (late === undefined || sparse === undefined) throw new Error('no batch');
  expect(await codeRejected(logRecords(place, late, 6))).toBe('log_offset_gone');
  expect(await codeRejected(logRecords(place, sparse, 5))).toBe('log_offset_gone');
});

test('a marker that ends a transaction takes its offset and is no record', async () => {
  const bytes = await batchAt(5, ['a'], { transactional: true });
  bytes.writeInt16BE(bytes.readInt16BE(21) | 0x20, 21);
  const [marker] = rawBatches(bytes);
  if (marker === undefined) throw new Error('no batch');
  expect(continued([marker], 5).next).toBe(6);
  expect(await logRecords(place, marker, 5)).toEqual([]);
});
