// Keys that wait for a close look: a place counts only once everything in front of it was looked at.
import { expect, test } from 'vitest';
import type { RowKey } from '#core/key.ts';
import { Suspects } from '../../src/reconcile/suspects.ts';
import { settle } from '../support/test-runtime.ts';

const never = new AbortController().signal;
const keysOf = (...ids: readonly string[]): readonly RowKey[] => ids as readonly RowKey[];

/** What happened, in order; each look waits until it is let go. */
function watched(options: { readonly keysMax?: number; readonly keysAtOnce?: number } = {}) {
  const events: string[] = [];
  const held: (() => void)[] = [];
  const suspects = new Suspects({
    keysMax: options.keysMax ?? 100,
    keysAtOnce: options.keysAtOnce ?? 3,
    look: async (keys) => {
      events.push(`look ${keys.join('')}`);
      const { promise, resolve } = Promise.withResolvers<null>();
      held.push(() => resolve(null));
      await promise;
      events.push(`saw ${keys.join('')}`);
    },
  });
  const letGo = async (): Promise<void> => {
    await settle();
    held.shift()?.();
    await settle();
  };
  const mark = (name: string): void =>
    suspects.mark(() => {
      events.push(`mark ${name}`);
      return Promise.resolve();
    });
  return { suspects, events, letGo, mark };
}

test('a mark is reached behind the keys in front of it and before those behind it', async () => {
  const { suspects, events, letGo, mark } = watched();
  const running = suspects.run(never);
  await suspects.add(keysOf('a', 'b'), never);
  mark('1');
  await suspects.add(keysOf('c'), never);
  await suspects.add(keysOf('d', 'e', 'f'), never);
  mark('2');
  suspects.end();
  await settle();
  expect(events).toEqual(['look ab']);
  for (let look = 0; look < 3; look += 1) await letGo();
  await running;
  expect(events).toEqual(['look ab', 'saw ab', 'mark 1', 'look cde', 'saw cde', 'look f', 'saw f', 'mark 2']);
});

test('whoever adds waits while too many wait, and no longer', async () => {
  const { suspects, letGo } = watched({ keysMax: 3, keysAtOnce: 2 });
  const running = suspects.run(never);
  await suspects.add(keysOf('a', 'b', 'c'), never);
  let isAdded = false;
  const adding = suspects.add(keysOf('d', 'e'), never).then(() => (isAdded = true));
  await settle();
  expect(isAdded).toBe(false);
  await letGo();
  expect(isAdded).toBe(true);
  await adding;
  suspects.end();
  for (let look = 0; look < 2; look += 1) await letGo();
  await running;
});

test('it ends only once it is told that no more comes', async () => {
  const { suspects, events, letGo } = watched();
  let isOver = false;
  const running = suspects.run(never).then(() => (isOver = true));
  await suspects.add([], never);
  await suspects.add(keysOf('a'), never);
  await letGo();
  expect([isOver, events]).toEqual([false, ['look a', 'saw a']]);
  suspects.end();
  await running;
  expect(events).toEqual(['look a', 'saw a']);
});

test('an abort ends both who looks and who waits to add', async () => {
  const stop = new AbortController();
  const { suspects } = watched({ keysMax: 0 });
  const idle = new Suspects({ keysMax: 1, keysAtOnce: 1, look: () => Promise.resolve() }).run(stop.signal);
  const adding = suspects.add(keysOf('a'), stop.signal);
  stop.abort(new Error('stop'));
  await expect(adding).rejects.toThrow('stop');
  await expect(idle).rejects.toThrow('stop');
});
