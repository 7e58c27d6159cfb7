import { createRequire } from 'node:module';
import { afterEach, expect, it, vi } from 'vitest';
import type { ISocketFactory } from 'kafkajs';
import { timeRequests } from '../../../connectors/log-kafka/kafkajs-repairs.ts';
import { VirtualClock } from '../../support/test-runtime.ts';

type Pushed = {
  readonly entry: object;
  readonly expectResponse: boolean;
  readonly sendRequest: () => void;
  readonly requestTimeout?: number;
};
type Queue = { push(request: Pushed): void; fulfillRequest(answer: object): void; maybeThrottle(ms: number): void; destroy(): void };

const load = createRequire(import.meta.url);
const RequestQueue = load('kafkajs/src/network/requestQueue/index.js') as new (options: object) => Queue;
const Connection = load('kafkajs/src/network/connection.js') as new (options: object) => {
  readonly requestQueue: Queue;
  connect(): Promise<boolean>;
};

afterEach(() => vi.useRealTimers());

function pushing(queue: Queue) {
  const sent: number[] = [];
  const refused: number[] = [];
  const push = (correlationId: number, requestTimeout = 0): void => {
    const entry = { correlationId, resolve: () => undefined, reject: () => refused.push(correlationId) };
    queue.push({ entry, expectResponse: true, sendRequest: () => void sent.push(correlationId), requestTimeout });
  };
  const answer = (correlationId: number): void => queue.fulfillRequest({ correlationId, payload: null, size: 0 });
  return { queue, sent, refused, push, answer };
}

function queueOf(over: object = {}) {
  const logger = { debug: () => undefined, warn: () => undefined };
  return pushing(new RequestQueue({ maxInFlightRequests: null, requestTimeout: 1_000, enforceRequestTimeout: false, logger, ...over }));
}

it('a queue in which nothing waits has no timer', () => {
  vi.useFakeTimers();
  const { sent, push, answer } = queueOf();
  push(1);
  answer(1);
  expect(sent).toEqual([1]);
  expect(vi.getTimerCount()).toBe(0);
});

it('a throttled request is sent when its time has come, and the timer ends with it', () => {
  vi.useFakeTimers();
  const { queue, sent, push } = queueOf();
  queue.maybeThrottle(500);
  push(1);
  vi.advanceTimersByTime(490);
  expect(sent).toEqual([]);
  vi.advanceTimersByTime(20);
  expect(sent).toEqual([1]);
  vi.advanceTimersByTime(1_000);
  expect(vi.getTimerCount()).toBe(0);
});

it('a request that waits for another one is sent with its answer', () => {
  vi.useFakeTimers();
  const { sent, push, answer } = queueOf({ maxInFlightRequests: 1 });
  push(1);
  push(2);
  expect(sent).toEqual([1]);
  answer(1);
  expect(sent).toEqual([1, 2]);
  answer(2);
  vi.advanceTimersByTime(1_000);
  expect(vi.getTimerCount()).toBe(0);
});

/** A queue of a connection that is up, timed by a clock that the test moves. */
async function timed(over: object = {}) {
  const clock = new VirtualClock();
  const socket = { on: () => undefined, end: () => undefined, unref: () => undefined };
  const factory = (({ onConnect }) => {
    setImmediate(onConnect);
    return socket as unknown as ReturnType<ISocketFactory>;
  }) satisfies ISocketFactory;
  timeRequests(factory, clock.runtime);
  const silent = { namespace: () => silent, debug: () => undefined, warn: () => undefined, error: () => undefined };
  const connection = new Connection({
    host: 'broker',
    port: 9_092,
    logger: silent,
    socketFactory: factory,
    connectionTimeout: 1_000,
    requestTimeout: 1_000,
    ...over,
  });
  await connection.connect();
  return { clock, ...pushing(connection.requestQueue) };
}

it('a connection that is up has no timer of the client', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'setTimeout', 'clearInterval', 'clearTimeout'] });
  const { push, answer } = await timed();
  push(1);
  answer(1);
  expect(vi.getTimerCount()).toBe(0);
});

it('each request is given up at its own time, and one timer waits for all', async () => {
  const { clock, sent, refused, push, answer } = await timed();
  expect(clock.sleeping).toBe(0);
  push(1);
  push(2, 5_000);
  push(3);
  await clock.advance(400);
  push(4);
  answer(3);
  expect(clock.sleeping).toBe(1);
  await clock.advance(599);
  expect(refused).toEqual([]);
  await clock.advance(1);
  expect(refused).toEqual([1]);
  await clock.advance(400);
  expect(refused).toEqual([1, 4]);
  expect(clock.sleeping).toBe(1);
  await clock.advance(3_600);
  expect(refused).toEqual([1, 4, 2]);
  expect(clock.sleeping).toBe(0);
  expect(sent).toEqual([1, 2, 3, 4]);
});

it('a shorter time than that of the first request is kept too', async () => {
  const { clock, refused, push } = await timed();
  push(1, 5_000);
  push(2);
  await clock.advance(1_000);
  expect(refused).toEqual([2]);
});

it('a request that waited for another one has its whole time', async () => {
  const { clock, refused, push } = await timed({ maxInFlightRequests: 1 });
  push(1);
  await clock.advance(900);
  push(2);
  await clock.advance(150);
  expect(refused).toEqual([1]);
  await clock.advance(849);
  expect(refused).toEqual([1]);
  await clock.advance(101);
  expect(refused).toEqual([1, 2]);
});

it('a connection that is closed has no timer', async () => {
  const { clock, queue, push } = await timed();
  push(1);
  queue.destroy();
  expect(clock.sleeping).toBe(0);
});
