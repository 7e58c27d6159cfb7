// The likely cause of a difference, as far as the log still tells.
import { expect, test } from 'vitest';
import { partitionOf } from '#core/hash.ts';
import type { RowKey } from '#core/key.ts';
import { epochOf, fencingTokenOf, type EpochMicros } from '#core/position.ts';
import { encodeSequence, type Sequence } from '#core/sequence.ts';
import type { Difference } from '#core/sink.ts';
import { jsonCodec } from '../../src/codec/json.ts';
import { withCauses } from '../../src/reconcile/causes.ts';
import { MemoryLog, MemoryLogStore } from '../support/memory-log.ts';
import { tableOf, text } from './columns.ts';
import { Ground } from './ground.ts';

const never = new AbortController().signal;
const schema = tableOf(text, text);
const keyOf = (id: string): RowKey => JSON.stringify([schema.table, id]) as RowKey;
const at = (commit: number): Sequence => encodeSequence({ epoch: epochOf(1), commit: BigInt(commit), change: 1n, sub: 1 });
const cut = encodeSequence({ epoch: epochOf(1), commit: 50n, change: 0n, sub: 0 });

/** A log with changes of these keys at these commits. */
async function logOf(...changes: readonly (readonly [id: string, commit: number])[]): Promise<MemoryLog> {
  const log = new MemoryLog(new MemoryLogStore({ partitions: 3 }));
  const writer = await log.writer(never);
  const records = changes.map(([id, commit], counter) => {
    const change = {
      tag: 'change',
      table: schema.table,
      schemaVersion: schema.version,
      key: keyOf(id),
      sequence: at(commit),
      op: 'update',
      row: [id, 'v'],
      withheld: null,
      committedAt: 0 as EpochMicros,
      transactionId: '1',
      origin: null,
      trace: null,
      sink: null,
      generation: fencingTokenOf(1),
      holder: 'aaaaaaaa',
      counter: counter + 1,
    } as const;
    return { partition: partitionOf(keyOf(id), 3), key: keyOf(id), value: jsonCodec.encode(change, schema) };
  });
  await writer.append(records, never);
  return log;
}

async function causesOf(log: MemoryLog, ...differences: readonly Partial<Difference>[]): Promise<readonly string[]> {
  const whole = differences.map((one): Difference => ({
    table: schema.table,
    kind: 'mismatched',
    key: keyOf('a'),
    cut,
    stored: at(10),
    cause: 'unknown',
    columns: [],
    ...one,
  }));
  const deps = { ...new Ground().deps(), log };
  const found = await withCauses(deps, { differences: whole, schemas: new Map([[schema.version, schema]]) }, never);
  expect(found.map(({ key, kind }) => [key, kind])).toEqual(whole.map(({ key, kind }) => [key, kind]));
  return found.map(({ cause }) => cause);
}

test('a newer change that the sink lacks was lost on the way', async () => {
  const log = await logOf(['a', 10], ['a', 30], ['b', 30]);
  expect(await causesOf(log, { stored: at(10) }, { key: keyOf('b'), stored: null, kind: 'missing' })).toEqual(['stale', 'stale']);
});

test('what the sink has, with another value, somebody else wrote there', async () => {
  const log = await logOf(['a', 10], ['a', 30]);
  expect(await causesOf(log, { stored: at(30) }, { key: keyOf('a'), stored: at(40) })).toEqual(['foreign_write', 'foreign_write']);
});

test('a change behind the cut says nothing of what stood there at the cut', async () => {
  const log = await logOf(['a', 10], ['a', 60]);
  expect(await causesOf(log, { stored: at(10) })).toEqual(['foreign_write']);
});

test('without a change in the log it stays unknown, and a cause that is known stays', async () => {
  const log = await logOf(['a', 30]);
  expect(await causesOf(log, { key: keyOf('c') }, { cause: 'sequence_ahead' }, { cause: 'dead_lettered' })).toEqual([
    'unknown',
    'sequence_ahead',
    'dead_lettered',
  ]);
});
