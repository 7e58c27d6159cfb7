import { expect, test } from 'vitest';
import { CausewayError } from '#core/errors.ts';
import { FencedPartition } from '../../../connectors/log-kafka/fenced-partition.ts';
import { errorOf, type ProducedMessage } from '../../../connectors/log-kafka/kafkajs-internals.ts';
import { Outage } from '../../../connectors/log-kafka/producer.ts';
import type { KeptBrokers } from '../../../connectors/log-kafka/topic-brokers.ts';
import { codeRejected } from '../../contract/log-support.ts';
import { keepingLogger } from '../../support/silent-logger.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const never = new AbortController().signal;
const INVALID_PRODUCER_EPOCH = 47;
const DUPLICATE_SEQUENCE_NUMBER = 46;
const OUT_OF_ORDER = 45;

type Sent = { readonly firstSequence: number; readonly keys: readonly string[]; readonly producerEpoch: number };
type Produce = {
  readonly producerEpoch: number;
  readonly topicData: readonly {
    readonly partitions: readonly { readonly firstSequence: number; readonly messages: readonly ProducedMessage[] }[];
  }[];
};

function message(text: string): ProducedMessage {
  return { key: Buffer.from(text), value: null };
}

/** A leader that answers as told, in turn, and otherwise takes everything. */
async function taken() {
  const sent: Sent[] = [];
  const answers: (() => Promise<number>)[] = [];
  const leader = {
    produce: async ({ topicData, producerEpoch }: Produce) => {
      for (const { firstSequence, messages } of topicData.flatMap(({ partitions }) => partitions)) {
        sent.push({ firstSequence, producerEpoch, keys: messages.map(({ key }) => key.toString()) });
      }
      const code = (await answers.shift()?.()) ?? 0;
      if (code !== 0) throw errorOf(code);
      return { topics: [{ topicName: 'dead', partitions: [{ partition: 3, errorCode: 0, baseOffset: '0' }] }] };
    },
  };
  const coordinator = { initProducerId: () => Promise.resolve({ producerId: '9', producerEpoch: 4 }) };
  const now = { leader: () => Promise.resolve(leader), coordinator: () => Promise.resolve(coordinator) };
  const brokers = {
    use: (signal: AbortSignal, work: (given: typeof now) => Promise<unknown>) =>
      new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
        work(now).then(resolve, reject);
      }),
  };
  const logger = keepingLogger();
  const held = await FencedPartition.take(
    {
      brokers: brokers as unknown as KeptBrokers,
      place: { topic: 'dead', partition: 3 },
      config: { requestTimeout: 1_000, compression: 'none' },
      outage: new Outage(logger),
      runtime: realRuntime(),
    },
    never,
  );
  return { held, sent, answers, logger };
}

const lost = (): Promise<never> => Promise.reject(new CausewayError('log_unavailable', 'no reply'));

test('taking writes with the new epoch, from its first number on', async () => {
  const { held, sent } = await taken();
  await held.send([message('a'), message('b')], never);
  await held.send([message('c')], never);
  expect(sent).toEqual([
    { firstSequence: 0, producerEpoch: 4, keys: ['["h"]'] },
    { firstSequence: 1, producerEpoch: 4, keys: ['a', 'b'] },
    { firstSequence: 3, producerEpoch: 4, keys: ['c'] },
  ]);
});

test('a batch without a reply is sent again with its numbers, and one that stood there already is a success', async () => {
  const { held, sent, answers, logger } = await taken();
  answers.push(lost, lost, () => Promise.resolve(DUPLICATE_SEQUENCE_NUMBER));
  await held.send([message('a')], never);
  await held.send([message('b')], never);
  expect(sent.slice(1).map(({ firstSequence, keys }) => `${firstSequence} ${keys.join()}`)).toEqual(['1 a', '1 a', '1 a', '2 b']);
  expect(logger.lines).toHaveLength(2);
});

test('what was given up without a reply goes before anything later', async () => {
  const { held, sent, answers } = await taken();
  const stop = new AbortController();
  answers.push(() => new Promise<number>(() => undefined));
  const given = codeRejected(held.send([message('a')], stop.signal));
  while (sent.length < 2) await Promise.resolve();
  stop.abort(new CausewayError('log_unavailable', 'stopped'));
  expect(await given).toBe('log_unavailable');
  await held.send([message('b')], never);
  expect(sent.slice(1).map(({ firstSequence, keys }) => `${firstSequence} ${keys.join()}`)).toEqual(['1 a', '1 a', '2 b']);
});

test.each([INVALID_PRODUCER_EPOCH, OUT_OF_ORDER])('an epoch that a leader refuses by %i is fenced, and stays so', async (code) => {
  const { held, answers } = await taken();
  answers.push(
    () => Promise.resolve(code),
    () => Promise.resolve(code),
  );
  for (const text of ['a', 'b']) expect(await codeRejected(held.send([message(text)], never))).toBe('partition_fenced');
});
