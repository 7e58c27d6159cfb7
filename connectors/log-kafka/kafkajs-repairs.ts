/*
 * What is mended in kafkajs 2.2.4, which package.json names exactly, for every client of the process. Each is looked at anew before
 * that version is changed.
 */
import { createRequire } from 'node:module';
import type { ISocketFactory } from 'kafkajs';
import type { Runtime } from '#core/runtime.ts';

const load = createRequire(import.meta.url);

type SentRequest = { readonly requestTimeout: number; timeoutRequest(): void };
type RequestQueue = {
  readonly pending: readonly unknown[];
  readonly inflight: ReadonlyMap<number, SentRequest>;
  readonly enforceRequestTimeout: boolean;
};
type RequestQueueMethods = {
  scheduleCheckPendingRequests: (this: RequestQueue) => void;
  scheduleRequestTimeoutCheck: (this: RequestQueue) => void;
  sendSocketRequest: (this: RequestQueue, request: SentRequest) => void;
  destroy: (this: RequestQueue) => void;
};
type RequestQueueClass = { readonly prototype: RequestQueueMethods };

/**
 * Each connection's queue looks every millisecond, for ever, whether a throttled request may be sent, with a negative delay of which
 * Node.js 24 warns. It only has to look while a request waits; `push` and each answer ask for it again.
 */
function lookWhileSomethingWaits({ prototype }: RequestQueueClass): void {
  const schedule = prototype.scheduleCheckPendingRequests;
  prototype.scheduleCheckPendingRequests = function scheduleCheckPendingRequests(): void {
    if (this.pending.length > 0) schedule.call(this);
  };
}

const runtimes = new WeakMap<ISocketFactory, Runtime>();
const queueRuntimes = new WeakMap<RequestQueue, Runtime>();

/** Whose clock tells when an answer is overdue on the connections that are made with `factory`. */
export function timeRequests(factory: ISocketFactory, runtime: Runtime): void {
  runtimes.set(factory, runtime);
}

/** The one sleep of a queue, until the first of its requests would be overdue. */
type Watch = { readonly atMs: number; readonly ended: AbortController };

const ENDED = new Error('the watch ended');

/**
 * Each connection looks ten times a second, for ever, whether an answer is overdue, which was half of what an idle daemon cost. Here a
 * request that would be overdue first sets a timer for that time, and when it ends it is set for the next one. By the monotonic clock:
 * the client's own look would hold a request for as long as the other one is set back.
 */
function lookWhenAnAnswerIsDue({ prototype }: RequestQueueClass): void {
  const { sendSocketRequest, scheduleRequestTimeoutCheck, destroy } = prototype;
  const dueMs = new WeakMap<SentRequest, number>();
  const watches = new WeakMap<RequestQueue, Watch>();
  const stop = (queue: RequestQueue): void => {
    watches.get(queue)?.ended.abort(ENDED);
    watches.delete(queue);
  };
  const watchFor = (queue: RequestQueue, request: SentRequest, runtime: Runtime): void => {
    const atMs = dueMs.get(request) ?? 0;
    const set = watches.get(queue);
    if (set !== undefined && set.atMs <= atMs) return;
    stop(queue);
    const ended = new AbortController();
    watches.set(queue, { atMs, ended });
    runtime.sleep(Math.max(1, atMs - runtime.monotonicMs()), ended.signal).then(
      () => look(queue, runtime),
      () => undefined,
    );
  };
  const look = (queue: RequestQueue, runtime: Runtime): void => {
    stop(queue);
    const nowMs = runtime.monotonicMs();
    for (const request of [...queue.inflight.values()]) if ((dueMs.get(request) ?? 0) <= nowMs) request.timeoutRequest();
    for (const request of queue.inflight.values()) watchFor(queue, request, runtime);
  };
  prototype.scheduleRequestTimeoutCheck = function scheduleUnlessWatched(): void {
    if (!queueRuntimes.has(this)) scheduleRequestTimeoutCheck.call(this);
  };
  prototype.sendSocketRequest = function sendAndWatch(request): void {
    const runtime = queueRuntimes.get(this);
    if (runtime !== undefined && this.enforceRequestTimeout) {
      dueMs.set(request, runtime.monotonicMs() + request.requestTimeout);
      watchFor(this, request, runtime);
    }
    sendSocketRequest.call(this, request);
  };
  prototype.destroy = function destroyWithWatch(): void {
    destroy.call(this);
    stop(this);
  };
}

const queueClass = load('kafkajs/src/network/requestQueue/index.js') as RequestQueueClass;
lookWhileSomethingWaits(queueClass);
lookWhenAnAnswerIsDue(queueClass);

type Connection = {
  readonly socketFactory: ISocketFactory;
  readonly requestQueue: RequestQueue;
  connect: (this: Connection) => Promise<boolean>;
};
type ConnectionClass = { readonly prototype: Connection };

/**
 * Requests that meet a connection which is not up yet each open a socket for it, and all of these then feed one buffer of answers.
 * They wait for the same one here.
 */
function connectOnce({ prototype }: ConnectionClass): void {
  const { connect } = prototype;
  const connecting = new WeakMap<Connection, Promise<boolean>>();
  prototype.connect = function connectShared(): Promise<boolean> {
    const before = connecting.get(this);
    if (before !== undefined) return before;
    const runtime = runtimes.get(this.socketFactory);
    if (runtime !== undefined) queueRuntimes.set(this.requestQueue, runtime);
    const now = connect.call(this).finally(() => connecting.delete(this));
    connecting.set(this, now);
    return now;
  };
}

connectOnce(load('kafkajs/src/network/connection.js') as ConnectionClass);

type PooledBroker = { readonly lookupRequest: unknown; isConnected: (this: PooledBroker) => boolean };
type BrokerClass = { readonly prototype: PooledBroker; new (parts: object): PooledBroker };

/**
 * A broker whose socket is up but that has not told its versions, because it hangs, counts as connected, and every request to it
 * throws an Error that says nothing of that. It is not connected.
 */
function connectedOnceAnswered(BrokerConnection: BrokerClass): void {
  const unused = new BrokerConnection({ connectionPool: {}, logger: { namespace: () => null } });
  const { isConnected } = BrokerConnection.prototype;
  BrokerConnection.prototype.isConnected = function isConnectedAndAnswered(): boolean {
    return this.lookupRequest !== unused.lookupRequest && isConnected.call(this);
  };
}

connectedOnceAnswered(load('kafkajs/src/broker/index.js') as BrokerClass);
