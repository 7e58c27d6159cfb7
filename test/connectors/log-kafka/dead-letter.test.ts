import { expect, test } from 'vitest';
import type { RowKey } from '#core/key.ts';
import type { Offset } from '#core/position.ts';
import type { Sequence } from '#core/sequence.ts';
import { markText } from '../../../connectors/log-kafka/dead-letter-fold.ts';
import { KafkaDeadLetters } from '../../../connectors/log-kafka/dead-letter.ts';
import type { Fetched } from '../../../connectors/log-kafka/kafkajs-internals.ts';
import { Outage } from '../../../connectors/log-kafka/producer.ts';
import type { KeptBrokers } from '../../../connectors/log-kafka/topic-brokers.ts';
import { collect, never } from '../../contract/log-support.ts';
import { batchAt } from '../../support/kafka-batch.ts';
import { silentLogger } from '../../support/silent-logger.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const place = { topic: 'dead', partition: 0 };

async function letterAt(offset: number, id: number, commit: number, format = '1'): Promise<Buffer> {
  const key = markText({ kind: 'p', key: `["t","${id}"]` as RowKey, sequence: `${commit}`.padStart(48, '0') as Sequence });
  return await batchAt(offset, [key], { keyPrefix: '', headers: { format } });
}

function lettersIn(batches: ReadonlyMap<number, Buffer>, beforeFetch: () => Promise<void> = () => Promise.resolve()): KafkaDeadLetters {
  const send = async (): Promise<Fetched> => {
    await beforeFetch();
    const bytes = Buffer.concat([...batches.values()]);
    return { clientSideThrottleTime: 0, errorCode: 0, partitions: [{ partition: 0, errorCode: 0, end: 10, bytes }] };
  };
  const now = {
    leader: () => Promise.resolve({ connectionPool: { send } }),
    epoch: () => 0,
    ends: () => Promise.resolve(new Map([[0, { start: 0, end: Math.max(...batches.keys()) + 1 }]])),
  };
  const brokers = { use: (_signal: AbortSignal, work: (given: typeof now) => Promise<unknown>) => work(now) };
  return new KafkaDeadLetters({
    topic: place.topic,
    brokers: brokers as unknown as KeptBrokers,
    config: { requestTimeout: 1_000, compression: 'none' },
    outage: new Outage(silentLogger),
    runtime: realRuntime(),
    logStart: () => Promise.resolve(0 as Offset),
  });
}

test('a letter that compaction took away while the letters were read is read where it went', async () => {
  const batches = new Map([
    [0, await letterAt(0, 1, 1)],
    [1, await letterAt(1, 2, 1)],
  ]);
  let fetches = 0;
  const letters = lettersIn(batches, async () => {
    fetches += 1;
    // Behind the fold, before the letters themselves are read.
    if (fetches !== 2) return;
    batches.delete(0);
    batches.set(2, await letterAt(2, 1, 2));
  });
  const found = await collect(letters.read(0, never));
  expect(found.map(({ key, sequence }) => `${key} ${Number(sequence)}`).toSorted()).toEqual(['["t","1"] 2', '["t","2"] 1']);
});

test.each([
  ['2', 'has the format 2; this release reads 1'],
  ['hunter2', 'has a format that is no number'],
])('a letter of the format %s is refused, not skipped', async (format, message) => {
  const letters = lettersIn(new Map([[0, await letterAt(0, 1, 1, format)]]));
  await expect(collect(letters.read(0, never))).rejects.toMatchObject({
    code: 'log_format_unknown',
    message: expect.stringContaining(message) as string,
  });
});
