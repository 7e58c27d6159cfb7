import { expect, test } from 'vitest';

type Platform = { readonly Controller: typeof AbortController; readonly Signal: typeof AbortSignal };

const node: Platform = { Controller: AbortController, Signal: AbortSignal };
await import('./abort-signal.ts');
const simulated: Platform = { Controller: AbortController, Signal: AbortSignal };

/** What somebody sees who listens in every way that the product does. */
function play({ Controller, Signal }: Platform): readonly unknown[] {
  const seen: unknown[] = [];
  const [first, second] = [new Controller(), new Controller()];
  const inner = Signal.any([first.signal, second.signal]);
  const outer = Signal.any([inner, new Controller().signal]);
  const removed = (): void => void seen.push('never');
  const twice = (): void => void seen.push('once');
  first.signal.addEventListener('abort', () => {
    seen.push(['root', inner.aborted, outer.aborted]);
    outer.removeEventListener('abort', removed);
    second.abort(new Error('later'));
  });
  first.signal.addEventListener('abort', twice, { once: true });
  first.signal.addEventListener('abort', twice, { once: true });
  outer.addEventListener('abort', () => seen.push(['outer', (outer.reason as Error).message]));
  outer.addEventListener('abort', removed, { once: true });
  second.signal.addEventListener('abort', () => seen.push(['second', (second.signal.reason as Error).message]));
  seen.push(outer.aborted);
  first.abort(new Error('first'));
  first.abort(new Error('again'));
  first.signal.addEventListener('abort', () => seen.push('too late'));
  seen.push((first.signal.reason as Error).message, Signal.any([new Controller().signal, outer]).aborted);
  const plain = new Controller();
  plain.abort();
  seen.push((plain.signal.reason as Error).name);
  expect(() => plain.signal.throwIfAborted()).toThrow();
  new Controller().signal.throwIfAborted();
  return seen;
}

test('an abort reaches everybody in the order in which it does on the platform', () => {
  expect(simulated.Signal).not.toBe(node.Signal);
  expect(play(simulated)).toEqual(play(node));
});
