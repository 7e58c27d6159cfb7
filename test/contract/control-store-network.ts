import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LeaseRow } from '#core/control-rows.ts';
import type { ControlKey, ControlStore, Swap } from '#core/control.ts';
import { codeOf } from '#core/errors.ts';
import { acquireLease } from '../../src/lease/acquire.ts';
import type { Lease, LeaseObserver } from '../../src/lease/lease.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { realRuntime } from '../support/test-runtime.ts';

export type NetworkedControl = AsyncDisposable & {
  /** Where the server listens. */
  readonly host: string;
  readonly port: number;
  /** A store over the same rows each time, by that address or by another port of 127.0.0.1 that leads to it. */
  open(of: { readonly port?: number; readonly leaseTtlMs: number }): ControlStore;
};

const never = new AbortController().signal;
const at = 'lease/p' as ControlKey;
/** Short, because tests wait for it; long enough for a machine that does other things as well. */
const TTL_MS = 3_000;

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'nothing was thrown',
    (error: unknown) => codeOf(error),
  );
}

function observed(): LeaseObserver & { renewals: number; endings: string[]; troubles: string[] } {
  const seen = { renewals: 0, endings: [] as string[], troubles: [] as string[] };
  return Object.assign(seen, {
    facts: () => undefined,
    renewed: () => void (seen.renewals += 1),
    ended: (how: string) => void seen.endings.push(how),
    trouble: (error: unknown) => void seen.troubles.push(codeOf(error)),
  });
}

/** The next reply on its way is lost with its connection; what was asked took effect. */
function loseNextReply(proxy: TcpProxy): void {
  proxy.onReply = () => {
    proxy.onReply = () => 'pass';
    return 'cut';
  };
}

/** What every control store behind a network keeps, and how leases fare over it. `makeContext` gives storage of its own to each test. */
export function networkedControlContract(name: string, makeContext: () => Promise<NetworkedControl>): void {
  describe(`control store over a network: ${name}`, () => {
    let context: NetworkedControl;
    let proxy: TcpProxy;
    let opened: AsyncDisposable[];

    beforeEach(async () => {
      context = await makeContext();
      proxy = await TcpProxy.create(context);
      opened = [];
    });

    afterEach(async () => {
      proxy.onReply = () => 'pass';
      proxy.cutAll();
      for (const one of opened.reverse()) await one[Symbol.asyncDispose]();
      await proxy[Symbol.asyncDispose]();
      await context[Symbol.asyncDispose]();
    });

    const open = (of: { readonly port?: number; readonly leaseTtlMs?: number } = {}): ControlStore => {
      const store = context.open({ leaseTtlMs: TTL_MS, ...of });
      opened.push(store);
      return store;
    };
    const lease = async (control: ControlStore, of: { readonly observer?: LeaseObserver; readonly seed: number }): Promise<Lease> => {
      const { seed, ...more } = of;
      const held = await acquireLease(
        { control, runtime: realRuntime(seed), key: at, describedAs: `host:${seed}`, ttlMs: TTL_MS, ...more },
        never,
      );
      opened.push({ [Symbol.asyncDispose]: () => held.abandon() });
      return held;
    };

    it('leaves the outcome unknown when a reply is lost, and shows it at the next look', async () => {
      const direct = open();
      const store = open({ port: proxy.port });
      const first = await store.swap({ key: at, value: 'before', expected: null }, never);
      if (first.tag !== 'stored') throw new Error('not stored');
      loseNextReply(proxy);
      expect(await codeThrown(store.swap({ key: at, value: 'mine', expected: first.version }, never))).toBe('control_unavailable');
      const found = await store.get(at, never);
      expect(found?.value).toBe('mine');
      expect(found).toEqual(await direct.get(at, never));
      expect(await store.swap({ key: at, value: 'again', expected: found?.version ?? null }, never)).toMatchObject({ tag: 'stored' });

      loseNextReply(proxy);
      const key = 'request/p/1' as ControlKey;
      expect(await codeThrown(store.swap({ key, value: 1, expected: null }, never))).toBe('control_unavailable');
      const made = await store.get(key, never);
      expect(made?.value).toBe(1);
      loseNextReply(proxy);
      expect(await codeThrown(store.remove(key, made?.version ?? ('' as never), never))).toBe('control_unavailable');
      const left = await direct.get(key, never);
      if (left !== null) expect(await store.remove(key, left.version, never)).toEqual({ tag: 'removed' });
      expect(await store.get(key, never)).toBeNull();
    });

    it('never tries a write again by itself: a conflict means that nothing was written', async () => {
      const [store, other] = [open({ port: proxy.port }), open()];
      const first = await store.swap({ key: at, value: 0, expected: null }, never);
      if (first.tag !== 'stored') throw new Error('not stored');
      let replies = 0;
      proxy.onReply = () => {
        replies += 1;
        return 'cut';
      };
      const outcome = await store.swap({ key: at, value: 'mine', expected: first.version }, never).then(
        (swap): Swap | string => swap,
        (error: unknown) => codeOf(error),
      );
      expect([outcome, replies, (await other.get(at, never))?.value]).toEqual(['control_unavailable', 1, 'mine']);
    });

    it('gives up a call that nobody answers well within a lease, and serves again afterwards', async () => {
      const store = open({ port: proxy.port });
      await store.get(at, never);
      proxy.onReply = () => 'swallow';
      const startedAt = performance.now();
      const codes = await Promise.all([
        codeThrown(store.get(at, never)),
        codeThrown(store.list('', never)),
        codeThrown(store.swap({ key: at, value: 1, expected: null }, never)),
      ]);
      expect(codes).toEqual(['control_unavailable', 'control_unavailable', 'control_unavailable']);
      expect(performance.now() - startedAt).toBeLessThan(TTL_MS);
      proxy.onReply = () => 'pass';
      expect((await store.get(at, never))?.value ?? 1).toBe(1);
    });

    it('ends a call that hangs when it is told to stop', async () => {
      const store = open({ port: proxy.port, leaseTtlMs: 300_000 });
      await store.get(at, never);
      const asked = Promise.withResolvers<undefined>();
      proxy.onReply = () => 'swallow';
      proxy.onRequest = () => {
        asked.resolve(undefined);
        return 'pass';
      };
      const stop = new AbortController();
      const ended = expect(store.swap({ key: at, value: 1, expected: null }, stop.signal)).rejects.toThrow('stopped');
      await asked.promise;
      stop.abort(new Error('stopped'));
      await ended;
    });

    it('closes where the server has vanished', { timeout: 20_000 }, async () => {
      const store = context.open({ port: proxy.port, leaseTtlMs: TTL_MS });
      await store.get(at, never);
      proxy.vanish();
      await store[Symbol.asyncDispose]();
    });

    it('is unavailable where nobody listens', async () => {
      const port = proxy.port;
      const store = open({ port });
      await proxy[Symbol.asyncDispose]();
      expect(await codeThrown(store.get(at, never))).toBe('control_unavailable');
    });

    it('keeps a lease whose renewals lose their replies', async () => {
      const observer = observed();
      const held = await lease(open({ port: proxy.port }), { observer, seed: 1 });
      for (let round = 0; round < 3; round += 1) {
        const before = observer.renewals;
        loseNextReply(proxy);
        await expect.poll(() => observer.renewals, { timeout: 10_000 }).toBeGreaterThan(before);
      }
      expect(held.end.tag).toBe('held');
      expect(observer.troubles).toEqual(['control_unavailable', 'control_unavailable', 'control_unavailable']);
      const row = (await open().get(at, never))?.value as LeaseRow;
      expect({ token: row.token, holder: row.holder }).toEqual({ token: held.token, holder: held.holder });
    });

    it('hands a lease over as soon as it is released, and after its time when the holder is cut off', async () => {
      const observer = observed();
      const first = await lease(open(), { seed: 1 });
      const waiting = lease(open({ port: proxy.port }), { observer, seed: 2 });
      await first.release(never);
      const second = await waiting;
      expect(second.token).toBe(first.token + 1);
      proxy.onReply = () => 'swallow';
      proxy.onRequest = () => 'swallow';
      const third = await lease(open(), { seed: 3 });
      expect(third.token).toBe(second.token + 1);
      // The old holder stopped by its own clock, before anybody could take over.
      expect(second.end.tag).toBe('expired');
      expect(observer.endings).toEqual(['expired']);
    });
  });
}
