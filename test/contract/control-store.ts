import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ControlKey, ControlStore, RowVersion, Swap } from '#core/control.ts';

export type ControlContext = AsyncDisposable & {
  /** A store over the same storage each time, as in another process. */
  open(): ControlStore;
};

const never = new AbortController().signal;
const key = (text: string): ControlKey => text as ControlKey;

function versionOf(swap: Swap): RowVersion {
  if (swap.tag !== 'stored') throw new Error('the swap met a conflict');
  return swap.version;
}

/** Adds one to a counter row as often as told, by compare-and-swap alone. Returns the number of conflicts. */
export async function countUp(store: ControlStore, at: ControlKey, times: number): Promise<number> {
  let conflicts = 0;
  for (let done = 0; done < times;) {
    const row = await store.get(at, never);
    const count = row === null ? 0 : (row.value as { readonly count: number }).count;
    const swap = await store.swap({ key: at, value: { count: count + 1 }, expected: row?.version ?? null }, never);
    if (swap.tag === 'stored') done += 1;
    else conflicts += 1;
  }
  return conflicts;
}

/** What every control store keeps. `makeContext` gives storage of its own to each test. */
export function controlStoreContract(name: string, makeContext: () => Promise<ControlContext>): void {
  describe(`control store: ${name}`, () => {
    let context: ControlContext;
    let store: ControlStore;

    beforeEach(async () => {
      context = await makeContext();
      store = context.open();
    });

    afterEach(async () => {
      await store[Symbol.asyncDispose]();
      await context[Symbol.asyncDispose]();
    });

    it('is empty at first', async () => {
      expect(await store.get(key('lease/a'), never)).toBeNull();
      expect(await store.list('', never)).toEqual([]);
    });

    it('stores a value only over the version that was expected', async () => {
      const first = versionOf(await store.swap({ key: key('a'), value: { n: 1 }, expected: null }, never));
      expect(await store.get(key('a'), never)).toEqual({ key: 'a', value: { n: 1 }, version: first });
      expect(await store.swap({ key: key('a'), value: { n: 2 }, expected: null }, never)).toEqual({
        tag: 'conflict',
        current: { key: 'a', value: { n: 1 }, version: first },
      });
      const second = versionOf(await store.swap({ key: key('a'), value: { n: 2 }, expected: first }, never));
      expect(second).not.toBe(first);
      expect(await store.swap({ key: key('a'), value: { n: 3 }, expected: first }, never)).toEqual({
        tag: 'conflict',
        current: { key: 'a', value: { n: 2 }, version: second },
      });
      expect(await store.swap({ key: key('b'), value: 1, expected: second }, never)).toEqual({ tag: 'conflict', current: null });
    });

    it('gives values back as they were', async () => {
      const values = [null, 0, -1.5, '', 'é😀\u0000"\\', true, [], {}, { nested: [{ deep: null }], big: 9007199254740991 }];
      for (const [index, value] of values.entries()) {
        await store.swap({ key: key(`v/${index}`), value, expected: null }, never);
        expect((await store.get(key(`v/${index}`), never))?.value).toStrictEqual(value);
      }
    });

    it('removes a row only at the version that was expected', async () => {
      const version = versionOf(await store.swap({ key: key('a'), value: 1, expected: null }, never));
      expect(await store.remove(key('a'), 'another' as RowVersion, never)).toMatchObject({ tag: 'conflict', current: { value: 1 } });
      expect(await store.remove(key('none'), version, never)).toEqual({ tag: 'conflict', current: null });
      expect(await store.remove(key('a'), version, never)).toEqual({ tag: 'removed' });
      expect(await store.get(key('a'), never)).toBeNull();
      expect(await store.remove(key('a'), version, never)).toEqual({ tag: 'conflict', current: null });
    });

    it('never gives a version twice, also not after a remove and over a reopening', async () => {
      const versions = new Set<RowVersion>();
      for (let round = 0; round < 20; round += 1) {
        const version = versionOf(await store.swap({ key: key('a'), value: 'same', expected: null }, never));
        versions.add(version);
        const again = versionOf(await store.swap({ key: key('a'), value: 'same', expected: version }, never));
        versions.add(again);
        await store.remove(key('a'), again, never);
        await store[Symbol.asyncDispose]();
        store = context.open();
      }
      expect(versions.size).toBe(40);
    });

    it('lists the rows of a prefix in the order of their keys', async () => {
      for (const name of [
        'table/p/b',
        'table/p/a',
        'table/p',
        'table/pq/a',
        'table/q/a',
        'sink/p/a',
        'table/p/é',
        'table/p/%',
        'TABLE/p/x',
      ]) {
        await store.swap({ key: key(name), value: name, expected: null }, never);
      }
      const rows = await store.list('table/p/', never);
      expect(rows.map((row) => row.key)).toEqual(['table/p/%', 'table/p/a', 'table/p/b', 'table/p/é']);
      expect(rows.map((row) => row.value)).toEqual(rows.map((row) => row.key));
      expect(await store.list('', never)).toHaveLength(9);
      expect(await store.list('none/', never)).toEqual([]);
    });

    it('keeps its rows when it is closed and opened again', async () => {
      const version = versionOf(await store.swap({ key: key('a'), value: { n: 1 }, expected: null }, never));
      await store[Symbol.asyncDispose]();
      store = context.open();
      expect(await store.get(key('a'), never)).toEqual({ key: 'a', value: { n: 1 }, version });
    });

    it('lets one of many win', async () => {
      await using other = context.open();
      const swaps = Array.from({ length: 20 }, (_none, index) =>
        (index % 2 === 0 ? store : other).swap({ key: key('lease/p'), value: index, expected: null }, never),
      );
      const outcomes = await Promise.all(swaps);
      expect(outcomes.filter((swap) => swap.tag === 'stored')).toHaveLength(1);
      const winner = outcomes.findIndex((swap) => swap.tag === 'stored');
      expect((await other.get(key('lease/p'), never))?.value).toBe(winner);
    });

    it('loses no update of two that count at once', async () => {
      await using other = context.open();
      await Promise.all([countUp(store, key('n'), 50), countUp(other, key('n'), 50)]);
      expect((await store.get(key('n'), never))?.value).toEqual({ count: 100 });
    });

    it('rejects every call whose signal has aborted', async () => {
      const stopped = AbortSignal.abort(new Error('stopped'));
      await expect(store.get(key('a'), stopped)).rejects.toThrow('stopped');
      await expect(store.list('', stopped)).rejects.toThrow('stopped');
      await expect(store.swap({ key: key('a'), value: 1, expected: null }, stopped)).rejects.toThrow('stopped');
      await expect(store.remove(key('a'), 'v' as RowVersion, stopped)).rejects.toThrow('stopped');
      expect(await store.get(key('a'), never)).toBeNull();
    });
  });
}
