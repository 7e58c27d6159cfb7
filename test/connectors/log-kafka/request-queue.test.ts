import { createRequire } from 'node:module';
import { afterEach, expect, it, vi } from 'vitest';
import '../../../connectors/log-kafka/kafkajs-internals.ts';

type Pushed = { readonly entry: object; readonly expectResponse: boolean; readonly sendRequest: () => void };
type Queue = { push(request: Pushed): void; fulfillRequest(answer: object): void; maybeThrottle(ms: number): void };

const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue/index.js') as new (options: object) => Queue;

afterEach(() => vi.useRealTimers());

function queue(over: object = {}) {
  const sent: number[] = [];
  const logger = { debug: () => undefined, warn: () => undefined };
  const all = new RequestQueue({ maxInFlightRequests: null, requestTimeout: 1_000, enforceRequestTimeout: false, logger, ...over });
  const push = (correlationId: number): void => {
    const entry = { correlationId, resolve: () => undefined, reject: () => undefined };
    all.push({ entry, expectResponse: true, sendRequest: () => void sent.push(correlationId) });
  };
  const answer = (correlationId: number): void => all.fulfillRequest({ correlationId, payload: null, size: 0 });
  return { all, sent, push, answer };
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
