import { createRequire } from 'node:module';
import { afterEach, expect, it, vi } from 'vitest';
import '../../../connectors/log-kafka/kafkajs-internals.ts';

type Pushed = {
  readonly entry: object;
  readonly expectResponse: boolean;
  readonly sendRequest: () => void;
  readonly requestTimeout?: number;
};
type Queue = {
  push(request: Pushed): void;
  fulfillRequest(answer: object): void;
  maybeThrottle(ms: number): void;
  destroy(): void;
  scheduleRequestTimeoutCheck(): void;
};

const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue/index.js') as new (options: object) => Queue;

afterEach(() => vi.useRealTimers());

function queue(over: object = {}) {
  const sent: number[] = [];
  const logger = { debug: () => undefined, warn: () => undefined };
  const all = new RequestQueue({ maxInFlightRequests: null, requestTimeout: 1_000, enforceRequestTimeout: false, logger, ...over });
  const refused: number[] = [];
  const push = (correlationId: number, requestTimeout?: number): void => {
    const entry = { correlationId, resolve: () => undefined, reject: () => refused.push(correlationId) };
    all.push({
      entry,
      expectResponse: true,
      sendRequest: () => void sent.push(correlationId),
      ...(requestTimeout === undefined ? {} : { requestTimeout }),
    });
  };
  const answer = (correlationId: number): void => all.fulfillRequest({ correlationId, payload: null, size: 0 });
  return { all, sent, refused, push, answer };
}

it('a queue in which nothing waits has no timer', () => {
  vi.useFakeTimers();
  const { sent, push, answer } = queue();
  push(1);
  answer(1);
  expect(sent).toEqual([1]);
  expect(vi.getTimerCount()).toBe(0);
});

it('a throttled request is sent when its time has come, and the timer ends with it', () => {
  vi.useFakeTimers();
  const { all, sent, push } = queue();
  all.maybeThrottle(500);
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
  const { sent, push, answer } = queue({ maxInFlightRequests: 1 });
  push(1);
  push(2);
  expect(sent).toEqual([1]);
  answer(1);
  expect(sent).toEqual([1, 2]);
  answer(2);
  vi.advanceTimersByTime(1_000);
  expect(vi.getTimerCount()).toBe(0);
});

it('each request is given up at its own time, and one timer waits for all', () => {
  vi.useFakeTimers();
  const { all, sent, refused, push, answer } = queue({ enforceRequestTimeout: true });
  all.scheduleRequestTimeoutCheck();
  expect(vi.getTimerCount()).toBe(0);
  push(1);
  push(2, 5_000);
  push(3);
  vi.advanceTimersByTime(400);
  push(4);
  answer(3);
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(599);
  expect(refused).toEqual([]);
  vi.advanceTimersByTime(2);
  expect(refused).toEqual([1]);
  vi.advanceTimersByTime(400);
  expect(refused).toEqual([1, 4]);
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(3_700);
  expect(refused).toEqual([1, 4, 2]);
  expect(vi.getTimerCount()).toBe(0);
  expect(sent).toEqual([1, 2, 3, 4]);
});

it('a shorter time than that of the first request is kept too', () => {
  vi.useFakeTimers();
  const { refused, push } = queue({ enforceRequestTimeout: true });
  push(1, 5_000);
  push(2);
  vi.advanceTimersByTime(1_001);
  expect(refused).toEqual([2]);
});

it('a request that waited for another one has its whole time', () => {
  vi.useFakeTimers();
  const { refused, push } = queue({ enforceRequestTimeout: true, maxInFlightRequests: 1 });
  push(1);
  vi.advanceTimersByTime(900);
  push(2);
  vi.advanceTimersByTime(150);
  expect(refused).toEqual([1]);
  vi.advanceTimersByTime(900);
  expect(refused).toEqual([1]);
  vi.advanceTimersByTime(200);
  expect(refused).toEqual([1, 2]);
});

it('a clock that is set back holds no request', () => {
  vi.useFakeTimers();
  const { refused, push } = queue({ enforceRequestTimeout: true });
  push(1);
  vi.setSystemTime(Date.now() - 3_600_000);
  vi.advanceTimersByTime(1_001);
  expect(refused).toEqual([1]);
});

it('a queue that is closed has no timer', () => {
  vi.useFakeTimers();
  const { all, push } = queue({ enforceRequestTimeout: true });
  push(1);
  all.destroy();
  expect(vi.getTimerCount()).toBe(0);
});
