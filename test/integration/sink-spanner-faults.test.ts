// The Spanner sink under what the service does and the emulator does not: throttled, aborted, unanswered, answered behind the effect. A
// proxy strikes requests by their method, and calls of the port are repeated as the worker repeats them.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ErrorCode } from '#core/errors.ts';
import type { Runtime } from '#core/runtime.ts';
import type { TableId } from '#core/schema.ts';
import type { Sink } from '#core/sink.ts';
import type { SinkConfig } from '../../connectors/sink-spanner/config.ts';
import { raiseFence } from '../../connectors/sink-spanner/own-tables.ts';
import { SpannerPartition } from '../../connectors/sink-spanner/partition.ts';
import { shapeOf } from '../../connectors/sink-spanner/shape.ts';
import type { Store } from '../../connectors/sink-spanner/transaction.ts';
import { silentObserver } from '../../src/apply/observer.ts';
import { applyDefaults } from '../../src/apply/deps.ts';
import { rideOut } from '../../src/apply/ride-out.ts';
import { plainSchema, progressAt, scanned, sequenceAt, tags, upsertAt } from '../contract/sink.ts';
import { describeShared, sharedService } from '../support/services.ts';
import { endTransaction, registersIn, sessionIn } from '../support/spanner-commits.ts';
import type { SpannerEffect } from '../support/spanner-effects.ts';
import { SpannerProxy, type SpannerFault } from '../support/spanner-proxy.ts';
import { SpannerHost, spannerSink, storeBeside } from '../support/spanner-sink-context.ts';
import { realRuntime } from '../support/test-runtime.ts';

const DEADLINE_EXCEEDED = 4;
const RESOURCE_EXHAUSTED = 8;
const ABORTED = 10;
const UNAVAILABLE = 14;
const never = new AbortController().signal;
const owner = { owner: 'o', known: false };
const schema = plainSchema('public.plain' as TableId);
const row = (id: number, sequence: number) => upsertAt(schema, sequenceAt(sequence), [String(id), `at ${sequence}`, null]);
const methods = ['CreateSession', 'StreamingRead', 'ExecuteStreamingSql', 'Commit', 'Rollback'];
/** How often a request of each kind is struck in each call of the port. */
const times = 2;

describeShared('spanner', 'sink-spanner under faults', () => {
  let host: SpannerHost;
  let proxy: SpannerProxy;
  let config: SinkConfig;
  let free: Sink;
  let retried: ErrorCode[];
  let pausesMs: number[];
  /** Of the worker. */
  let waitsMs: number[];
  let committed: SpannerEffect[];

  beforeAll(async () => {
    const { endpoint } = await sharedService('spanner');
    host = await SpannerHost.create(endpoint);
    proxy = await SpannerProxy.create(endpoint);
  });
  afterAll(async () => {
    await proxy[Symbol.asyncDispose]();
    await host[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    [retried, pausesMs, waitsMs, committed, struck] = [[], [], [], [], []];
    config = await host.database('GOOGLE_STANDARD_SQL');
    free = spannerSink(config);
    await free.provision([schema], never);
    await free.claim(owner, never);
    proxy.onCommitted = (request) => committed.push(...registersIn(request));
    proxy.onDeleteSession = (request) => endTransaction(host.asked(config).client, sessionIn(request));
  });
  afterEach(async () => {
    proxy.heal();
    await free[Symbol.asyncDispose]();
    await host.drop(config);
  });

  const real = realRuntime();
  /** Writes pauses down, and waits for none. */
  const hasty = (written: (ms: number) => void): Runtime => ({
    ...real,
    sleep: (ms, signal) => {
      written(ms);
      return real.sleep(0, signal);
    },
  });
  const onRetry = (code: ErrorCode): void => void retried.push(code);
  const struckSink = (): Sink =>
    spannerSink({ ...config, endpoint: proxy.endpoint }, { runtime: hasty((ms) => pausesMs.push(ms)), onRetry });
  /** As the worker does, whose retries are counted in the same metric. */
  const ridden = <T>(work: () => Promise<T>): Promise<T> =>
    rideOut({ runtime: hasty((ms) => waitsMs.push(ms)), observer: { ...silentObserver, retry: onRetry }, options: applyDefaults }, work, {
      signal: never,
    });
  let struck: string[] = [];
  const strike = (of: readonly string[], fault: SpannerFault | ((at: number) => SpannerFault), most = times): void => {
    const counts = new Map(of.map((method) => [method, 0]));
    proxy.onRequest = (method) => {
      const at = counts.get(method);
      if (at === undefined || at === most) return null;
      counts.set(method, at + 1);
      struck.push(method);
      return typeof fault === 'function' ? fault(at) : fault;
    };
  };
  const effects = (...of: readonly (readonly [id: number, sequence: number])[]): readonly SpannerEffect[] =>
    of.map(([id, sequence]) => ({ table: 'cw_v_plain', key: `{"id":"${id}"}`, sequence: sequenceAt(sequence) }));

  /** All that a worker does with a sink; each call meets the faults anew. */
  async function life(sink: Sink, arm: () => void): Promise<readonly string[]> {
    const call = <T>(work: () => Promise<T>): Promise<T> => {
      arm();
      return ridden(work);
    };
    await call(() => sink.claim(owner, never));
    await using partition = await call(() => sink.assign(0, never));
    const outcomes: string[] = [];
    for (const at of [1, 2]) {
      const batch = { rows: [row(1, at), row(2, at)], progress: progressAt(at) };
      outcomes.push(...tags(await call(() => partition.apply(batch, never))));
    }
    await call(() => partition.save(progressAt(3), never));
    expect(await call(() => scanned(sink, schema, never))).toHaveLength(2);
    expect((await call(() => sink.progress(never))).get(0)).toEqual(progressAt(3));
    return outcomes;
  }

  async function expectStored(): Promise<void> {
    expect((await scanned(free, schema, never)).map(({ sequence, row: found }) => [sequence, found?.[1]])).toEqual([
      [sequenceAt(2), 'at 2'],
      [sequenceAt(2), 'at 2'],
    ]);
    expect((await free.progress(never)).get(0)).toEqual(progressAt(3));
    // Each effect once, in its order.
    expect(committed).toEqual(effects([1, 1], [2, 1], [1, 2], [2, 2]));
  }

  test.each([
    ['throttled', { effect: 'none', status: RESOURCE_EXHAUSTED }, 'sink_throttled'],
    ['refused as unavailable', { effect: 'none', status: UNAVAILABLE }, 'sink_unavailable'],
    [
      'aborted, with a delay to wait for and without',
      (at: number): SpannerFault => ({ effect: 'none', status: ABORTED, ...(at === 0 ? {} : { retryMs: 1_300.5 }) }),
      'sink_unavailable',
    ],
  ] as const)('requests of every kind that are %s are repeated and counted, and nothing is lost or doubled', async (_name, fault, code) => {
    await using sink = struckSink();
    const outcomes = await life(sink, () => strike(methods, fault));
    expect(new Set(struck)).toEqual(new Set(methods));
    expect(outcomes).toEqual(['applied', 'applied', 'applied', 'applied']);
    // The emulator aborts some by itself.
    expect(new Set(retried.filter((one) => one !== 'sink_unavailable'))).toEqual(new Set(code === 'sink_unavailable' ? [] : [code]));
    const counted = retried.filter((one) => one === code).length;
    if (code === 'sink_throttled') expect(counted).toBe(struck.length);
    else expect(counted).toBeGreaterThanOrEqual(struck.length);
    await expectStored();
  });

  test.each([UNAVAILABLE, DEADLINE_EXCEEDED])('a commit that took effect and is answered with %i is found, once', async (status) => {
    await using sink = struckSink();
    const outcomes = await life(sink, () => strike(['Commit'], { effect: 'behind', status }, 1));
    expect(outcomes).toEqual(['stale', 'stale', 'stale', 'stale']);
    expect(new Set(retried)).toEqual(new Set(['sink_unavailable']));
    await expectStored();
  });

  test('what is throttled is repeated with growing pauses, a page of a scan too', async () => {
    await using sink = struckSink();
    await sink.claim(owner, never);
    await using partition = await sink.assign(0, never);
    strike(['Commit'], { effect: 'none', status: RESOURCE_EXHAUSTED }, 8);
    await ridden(() => partition.apply({ rows: [row(1, 1)], progress: null }, never));
    expect(waitsMs).toHaveLength(8);
    for (const [at, pause] of waitsMs.entries()) {
      const ceiling = Math.min(5_000, 100 * 2 ** at);
      expect(pause).toBeGreaterThanOrEqual(ceiling / 2);
      expect(pause).toBeLessThanOrEqual(ceiling);
    }
    pausesMs.length = 0;
    strike(['ExecuteStreamingSql'], { effect: 'none', status: RESOURCE_EXHAUSTED }, 8);
    expect(await scanned(sink, schema, never)).toHaveLength(1);
    expect(Math.max(...pausesMs.slice(4))).toBeGreaterThan(500);
  });

  test('an aborted transaction waits for as long as the service asks, and no longer than it grows by itself otherwise', async () => {
    await using sink = struckSink();
    await sink.claim(owner, never);
    await using partition = await sink.assign(0, never);
    const pausesOf = async (fault: SpannerFault, at: number): Promise<readonly number[]> => {
      pausesMs.length = 0;
      strike(['Commit'], fault, 8);
      await partition.apply({ rows: [row(1, at)], progress: null }, never);
      return [...pausesMs];
    };
    expect(await pausesOf({ effect: 'none', status: ABORTED, retryMs: 1_300.5 }, 1)).toEqual(Array.from({ length: 8 }, () => 1_300.5));
    const own = await pausesOf({ effect: 'none', status: ABORTED }, 2);
    expect(own).toHaveLength(8);
    expect(Math.max(...own)).toBeLessThanOrEqual(250);
    expect(own.at(-1)).toBeGreaterThan(100);
    // Longer than a call may take: the worker waits instead.
    strike(['Commit'], { effect: 'none', status: ABORTED, retryMs: 60_000 }, 1);
    await expect(partition.apply({ rows: [row(1, 3)], progress: null }, never)).rejects.toMatchObject({ code: 'sink_unavailable' });
  });

  test.each([
    ['an aborted commit', 'Commit', { effect: 'none', status: ABORTED }],
    ['a throttled page of a scan', 'StreamingRead', { effect: 'none', status: RESOURCE_EXHAUSTED }],
    ['a read without an answer', 'StreamingRead', { effect: 'hang' }],
    ['a commit without an answer', 'Commit', { effect: 'hang behind' }],
  ] as const)('%s is waited for until the signal aborts', async (_what, method, fault) => {
    await using sink = spannerSink({ ...config, endpoint: proxy.endpoint }, { onRetry });
    await sink.claim(owner, never);
    await using partition = await sink.assign(0, never);
    const stop = new AbortController();
    let met = 0;
    proxy.onRequest = (asked) => {
      if (asked !== method) return null;
      met += 1;
      if (met === (fault.effect === 'none' ? 5 : 1)) stop.abort(new Error('enough'));
      return fault;
    };
    const work =
      fault.effect === 'none' && fault.status === RESOURCE_EXHAUSTED
        ? scanned(sink, schema, stop.signal)
        : partition.apply({ rows: [row(1, 1)], progress: null }, stop.signal);
    await expect(work).rejects.toThrow('enough');
    proxy.heal();
    await ridden(() => partition.apply({ rows: [row(1, 1)], progress: null }, never));
    expect((await scanned(free, schema, never)).map(({ sequence }) => sequence)).toEqual([sequenceAt(1)]);
  });

  /** What a sink asks, with a deadline that a test can wait for. */
  function withDeadline(store: Store, timeout: number): Store {
    const sendRaw = store.client.sendRaw.bind(store.client);
    store.client.sendRaw = (signal, work) => sendRaw(signal, (clients, options) => work(clients, { ...options, timeout }));
    return store;
  }

  test.each([
    ['hang', methods.filter((method) => method !== 'ExecuteStreamingSql')],
    ['hang behind', ['StreamingRead', 'Commit']],
  ] as const)('requests that are never answered (%s) end at their deadlines, and are repeated', async (effect, of) => {
    await using beside = storeBeside({ ...config, endpoint: proxy.endpoint });
    const store = withDeadline(beside, 300);
    const place = { pipeline: 'p', sink: 's' };
    const shape = shapeOf(schema, { ...place, config, dialect: 'GOOGLE_STANDARD_SQL', target: schema.table });
    strike(of, { effect }, 1);
    const held = await ridden(() => raiseFence(store, place, { partition: 0, owner: owner.owner }, never));
    const none = () => Promise.resolve([]);
    await using partition = new SpannerPartition({ store, place, held, shapeFor: () => shape, differences: none, ownDifferences: none });
    for (const at of [1, 2]) {
      strike(of, { effect }, 1);
      await ridden(() => partition.apply({ rows: [row(1, at), row(2, at)], progress: progressAt(at) }, never));
    }
    // The second one has nothing to write, and ends without a commit.
    for (const _time of ['first', 'second']) await ridden(() => partition.save(progressAt(3), never));
    expect(new Set(struck)).toEqual(new Set(of));
    expect(retried.length).toBeGreaterThanOrEqual(struck.length);
    expect(new Set(retried)).toEqual(new Set(['sink_unavailable']));
    await expectStored();
  });

  test('each request has a deadline of seconds', async () => {
    await using sink = struckSink();
    const seconds: number[] = [];
    proxy.onRequest = (_method, headers) => {
      const [, amount = '', unit = ''] = /^(\d+)([mS])$/.exec(String(headers['grpc-timeout'])) ?? [];
      seconds.push(Number(amount) / (unit === 'm' ? 1_000 : 1));
      return null;
    };
    await life(sink, () => undefined);
    expect(seconds.length).toBeGreaterThan(10);
    for (const one of seconds) expect(one > 0 && one <= 15).toBe(true);
  });
});
