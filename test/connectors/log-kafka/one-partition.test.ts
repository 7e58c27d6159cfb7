import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import type { Message } from 'kafkajs';
import { ofOnePartition } from '../../../connectors/log-kafka/one-partition.ts';

/** What kafkajs does with the messages of a send before it encodes them. */
const grouped = createRequire(import.meta.url)('kafkajs/src/producer/groupMessagesPerPartition.js') as (send: {
  readonly topic: string;
  readonly partitionMetadata: readonly object[];
  readonly messages: readonly Message[];
  readonly partitioner: (of: { readonly message: Message }) => number;
}) => Readonly<Record<string, readonly Message[]>>;

const send = { topic: 'orders', partitionMetadata: [{}] };

test('the messages of one partition are grouped as kafkajs groups them, without a look at each', () => {
  const messages = Array.from({ length: 3 }, (_none, at) => ({ key: `${at}`, value: 'x', partition: 7 }));
  const plain = grouped({ ...send, messages, partitioner: ({ message }) => message.partition ?? Number.NaN });
  const asked: Message[] = [];
  const quick = grouped({
    ...send,
    messages: ofOnePartition([...messages], 7),
    partitioner: ({ message }) => asked.push(message),
  });
  expect(asked).toEqual([]);
  expect(Object.keys(quick)).toEqual(Object.keys(plain));
  expect([...(quick['7'] ?? [])]).toEqual(plain['7']);
});

test('they are an array as before in everything else', () => {
  const messages = ofOnePartition([{ value: 'a' }, { value: 'b' }], 0);
  expect(Array.isArray(messages)).toBe(true);
  expect(messages.map(({ value }) => value)).toEqual(['a', 'b']);
  expect(Object.keys(messages)).toEqual(['0', '1']);
});
