// What stays in memory of a parked key is as large as the key, however large its record is: it is bounded by deadLetter.parkedKeysMax.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { assert } from '#core/assert.ts';
import { rowKeyOf } from '#core/key.ts';
import type { DeadLetters } from '#core/log.ts';
import { EPOCH_FIRST, OFFSET_FIRST } from '#core/position.ts';
import type { ChangeRecord, Envelope } from '#core/record.ts';
import { tableIdOf, tableSchema } from '#core/schema.ts';
import { encodeSequence, type Sequence } from '#core/sequence.ts';
import { ParkedKeys, ParkingLimit } from '../../src/apply/dead-letter.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { sampleRecord, textColumn } from '../codec/arbitrary-records.ts';

const KEYS = 300;
const VALUE_BYTES = 200_000;
const later = encodeSequence({ epoch: EPOCH_FIRST, commit: 0x17b_3748n, change: 0x17b_3700n, sub: 1 });
const never = new AbortController().signal;
const schema = tableSchema({ table: tableIdOf('public', 'orders'), columns: ['id', 'note'].map(textColumn), key: [0] });

async function* nothing(): AsyncGenerator<never> {}

const queue: DeadLetters = {
  take: () => Promise.resolve({ park: () => Promise.resolve(), release: () => Promise.resolve(), forget: () => Promise.resolve() }),
  read: nothing,
  readReleased: nothing,
};

function collected(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

function decoded(id: number, sequence: Sequence): Envelope & ChangeRecord {
  const row = [String(id).padStart(36, '0'), 'x'.repeat(VALUE_BYTES)];
  const given = { ...sampleRecord, table: schema.table, schemaVersion: schema.version, key: rowKeyOf(schema, row), row, sequence };
  const record = jsonCodec.decode(jsonCodec.encode(given as Envelope & ChangeRecord, schema), { get: () => schema });
  assert(record.tag === 'change', 'a change comes back');
  return record;
}

it('a parked key does not keep the text of its record, nor does one that a partial image marked', async () => {
  const parked = new ParkedKeys({ partition: 0, queue, limit: new ParkingLimit(KEYS) });
  await parked.load({ offset: OFFSET_FIRST, replays: 0 }, never);
  const before = collected();
  const bytesMax = (KEYS * VALUE_BYTES) / 4;
  for (let id = 1; id <= KEYS; id += 1) {
    const { key, sequence, committedAt } = decoded(id, sampleRecord.sequence);
    await parked.park([{ key, sequence, code: 'value_refused', reason: '', record: null, committedAtMicros: committedAt }], never);
  }
  expect(collected() - before).toBeLessThan(bytesMax);
  for (let id = 1; id <= KEYS; id += 1) parked.mark(decoded(id, later));
  expect(parked.sequenceOf(decoded(1, later).key)).toBe(later);
  expect(collected() - before).toBeLessThan(bytesMax);
});
