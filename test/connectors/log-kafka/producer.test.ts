import kafkajs, { type RecordMetadata } from 'kafkajs';
import { describe, expect, it } from 'vitest';
import { codeOf } from '#core/errors.ts';
import type { Offset } from '#core/position.ts';
import { KafkaProducer, Outage, type Batch, type Sender } from '../../../connectors/log-kafka/producer.ts';
import { VirtualClock } from '../../support/test-runtime.ts';

const { KafkaJSConnectionError, KafkaJSNumberOfRetriesExceeded, KafkaJSProtocolError } = kafkajs;

const never = new AbortController().signal;
const topic = 'orders';
const batch: Batch = { partition: 1, messages: [{ value: 'a' }, { value: 'b' }] };

type Answer = Error | readonly Partial<RecordMetadata>[];

function at(baseOffset: number | string, over: Partial<RecordMetadata> = {}): readonly Partial<RecordMetadata>[] {
  return [{ topicName: topic, partition: 1, errorCode: 0, baseOffset: `${baseOffset}`, ...over }];
}

function brokerError(type: string): Error {
  const error = new KafkaJSProtocolError({ name: '', message: type, retriable: true, type, code: 0 } as never);
  // As the client gives it, which tried once more by itself.
  return new KafkaJSNumberOfRetriesExceeded(error, { retryCount: 1, retryTime: 100 });
}

/** A producer whose senders answer one send after the other from one list. */
function scene(answers: readonly Answer[], ends: readonly number[] = []) {
  const clock = new VirtualClock();
  const lines: string[] = [];
  const senders: { readonly sent: Batch[]; destroyed: boolean }[] = [];
  const left = [...answers];
  const logger = { log: (level: string) => void lines.push(level), with: () => logger };
  const outage = new Outage(logger);
  const open = (): Promise<Sender> => {
    const own = { sent: [] as Batch[], destroyed: false };
    senders.push(own);
    return Promise.resolve({
      destroy: () => void (own.destroyed = true),
      send: (sent) => {
        if (own.destroyed) throw new Error('a destroyed sender was used');
        own.sent.push(sent);
        const answer = left.shift();
        if (answer === undefined) return new Promise<never>(() => undefined);
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer as readonly RecordMetadata[]);
      },
    });
  };
  const producer = new KafkaProducer({
    topic,
    open,
    outage,
    runtime: clock.runtime,
    ends: new Map(ends.map((end, partition) => [partition, end as Offset])),
  });
  return { clock, lines, senders, outage, producer };
}

async function codeRejected(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'nothing was thrown',
    (error: unknown) => codeOf(error),
  );
}

describe('a reply', () => {
  it('gives the offset of the last message', async () => {
    const { producer } = scene([at(7), at(9), at(20)]);
    expect(await producer.send(batch, never)).toBe(8);
    expect(await producer.send(batch, never)).toBe(10);
    // What a producer of before still had on its way stands in between.
    expect(await producer.send(batch, never)).toBe(21);
  });

  it.each<[string, Answer]>([
    ['names nothing', []],
    ['names another partition', at(7, { partition: 0 })],
    ['names another topic', at(7, { topicName: 'other' })],
    ['has an error code', at(7, { errorCode: 3 })],
    ['has no offset', at('')],
    ['has the offset of a repetition that is not kept', at(-1)],
  ])('that %s proves nothing, and the process ends', async (_name, answer) => {
    const { producer, senders } = scene([answer]);
    expect(await codeRejected(producer.send(batch, never))).toBe('log_unproved');
    expect(senders).toMatchObject([{ destroyed: true }]);
  });

  it('whose offset did not rise proves nothing', async () => {
    const { producer } = scene([at(7), at(8)]);
    await producer.send(batch, never);
    expect(await codeRejected(producer.send(batch, never))).toBe('log_unproved');
  });

  it('below where the partition ended when the writer was made proves nothing: the topic was made again', async () => {
    const { producer } = scene([at(0)], [0, 500]);
    expect(await codeRejected(producer.send(batch, never))).toBe('log_unproved');
  });
});

describe('after a refused send', () => {
  it('the same messages go through another producer, for as long as an outage lasts', async () => {
    const failures = ['NOT_LEADER_FOR_PARTITION', 'NOT_ENOUGH_REPLICAS', 'REQUEST_TIMED_OUT', 'NOT_ENOUGH_REPLICAS_AFTER_APPEND'];
    const { producer, senders, outage, clock, lines } = scene([
      ...failures.map(brokerError),
      ...Array.from({ length: 40 }, () => new KafkaJSConnectionError('connect ECONNREFUSED', { code: 'ECONNREFUSED' })),
      at(100),
    ]);
    const sent = producer.send(batch, never);
    await clock.advance(1_000);
    expect(outage.lasts).toBe(true);
    await clock.advance(300_000);
    expect(await sent).toBe(101);
    expect(outage.lasts).toBe(false);
    expect(senders).toHaveLength(45);
    expect(senders.every((sender) => sender.sent.length === 1 && sender.sent[0] === batch)).toBe(true);
    expect(senders.map(({ destroyed }) => destroyed)).toEqual([...Array<boolean>(44).fill(true), false]);
    expect(lines).toEqual(['warn', 'info']);
  });

  it('a topic that a broker does not know yet is asked for again, and then it is missing', async () => {
    const missing = (): Error => brokerError('UNKNOWN_TOPIC_OR_PARTITION');
    const soon = scene([missing(), missing(), at(0)]);
    const sent = soon.producer.send(batch, never);
    await soon.clock.advance(10_000);
    expect(await sent).toBe(1);
    const gone = scene(Array.from({ length: 20 }, missing));
    const refused = codeRejected(gone.producer.send(batch, never));
    await gone.clock.advance(60_000);
    expect(await refused).toBe('log_topic_missing');
  });

  it.each<[string, Error, string]>([
    [
      'a login',
      Object.assign(new Error('SASL PLAIN authentication failed'), { name: 'KafkaJSSASLAuthenticationError' }),
      'log_credentials',
    ],
    ['a certificate', new KafkaJSConnectionError('self-signed', { code: 'SELF_SIGNED_CERT_IN_CHAIN' }), 'log_credentials'],
    ['a right', brokerError('TOPIC_AUTHORIZATION_FAILED'), 'log_permission'],
    ['a size', brokerError('MESSAGE_TOO_LARGE'), 'log_misconfigured'],
    ['a sequence', brokerError('OUT_OF_ORDER_SEQUENCE_NUMBER'), 'log_unproved'],
    ['something that nobody knows', brokerError('KAFKAJS_UNKNOWN_ERROR_CODE'), 'log_misconfigured'],
  ])('of %s it ends at once', async (_name, error, code) => {
    const { producer, senders } = scene([error]);
    expect(await codeRejected(producer.send(batch, never))).toBe(code);
    expect(senders).toMatchObject([{ destroyed: true, sent: [batch] }]);
  });

  it('an abort ends the wait', async () => {
    const { producer, clock, outage } = scene([new KafkaJSConnectionError('connect ECONNREFUSED')]);
    const stop = new AbortController();
    const sent = producer.send(batch, stop.signal);
    await clock.advance(0);
    stop.abort(new Error('stopped'));
    await expect(sent).rejects.toThrow('stopped');
    expect(outage.lasts).toBe(false);
  });
});

it('one send is on its way at a time', async () => {
  const { producer, senders, clock } = scene([]);
  const sends = [producer.send(batch, never), producer.send(batch, never)];
  await clock.advance(1_000);
  expect(sends).toHaveLength(2);
  expect(senders.map(({ sent }) => sent.length)).toEqual([1]);
});

it('another producer takes over before the numbers of a partition begin anew', async () => {
  const messages: Batch['messages'][number][] = [];
  messages.length = 600_000_000;
  const { producer, senders } = scene([at(0), at(600_000_000), at(600_000_000, { partition: 0 })]);
  await producer.send({ partition: 1, messages }, never);
  await producer.send({ partition: 1, messages }, never);
  await producer.send({ partition: 0, messages }, never);
  expect(senders.map(({ sent }) => sent.map(({ partition }) => partition))).toEqual([[1], [1, 0]]);
});
