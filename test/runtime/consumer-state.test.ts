import { expect, test } from 'vitest';
import type { LogEnds } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { PartitionStatus } from '../../src/apply/observer.ts';
import { ConsumerWindow } from '../../src/runtime/consumer-state.ts';

const MINUTE = 30;

/** A window that has seen one partition: where it stands, where the log ends, and whether its worker works. */
function seen(samples: number, at: (index: number) => { offset: number; end: number; state?: PartitionStatus['state'] }, partition = 0) {
  const window = new ConsumerWindow();
  for (let index = 0; index < samples; index += 1) window.take(...sample(at(index), partition));
  return window;
}

function sample({ offset, end, state = 'running' }: { offset: number; end: number; state?: PartitionStatus['state'] }, partition = 0) {
  const status: PartitionStatus = { partition, state, offset: offset as Offset, pair: null, watermark: null, parkedKeys: 0 };
  const ends = Array.from({ length: partition + 1 }, (): LogEnds => ({ start: 0 as Offset, end: end as Offset }));
  return [[status], ends] as const;
}

test('one that caught up within the minute is well, whatever came since', () => {
  expect(seen(1, () => ({ offset: 5, end: 5 })).state).toBe('ok');
  expect(seen(MINUTE, (index) => ({ offset: 5, end: 5 + index })).state).toBe('ok');
  expect(seen(MINUTE + 1, (index) => ({ offset: 5, end: 5 + index })).state).toBe('stall');
});

test('one that is behind and comes nearer is well, and one that falls behind while it works warns', () => {
  expect(seen(MINUTE, (index) => ({ offset: index, end: 1_000 })).state).toBe('ok');
  expect(seen(MINUTE, (index) => ({ offset: index, end: 1_000 + 2 * index })).state).toBe('warn');
});

test('one that does not come on stalls while it works, and has stopped while it does not', () => {
  expect(seen(MINUTE, () => ({ offset: 1, end: 2 })).state).toBe('stall');
  expect(seen(MINUTE, () => ({ offset: 1, end: 2, state: 'retrying' })).state).toBe('stop');
});

test('one that went back is told at once, until it is where it was', () => {
  const window = seen(3, (index) => ({ offset: 10 + index, end: 100 }));
  window.take(...sample({ offset: 4, end: 100 }));
  expect(window.state).toBe('rewind');
  window.take(...sample({ offset: 12, end: 100 }));
  expect(window.state).toBeNull();
});

test('the worst partition counts; what is not known yet, or is not here any more, tells nothing', () => {
  const window = seen(MINUTE - 1, () => ({ offset: 1, end: 2 }), 1);
  expect(window.state).toBeNull();
  const both = (first: number) => {
    const [[zero], ends] = sample({ offset: first, end: 50 });
    const [[one]] = sample({ offset: 1, end: 50 }, 1);
    return [[zero, one] as PartitionStatus[], [...ends, ...ends]] as const;
  };
  window.take(...both(50));
  expect(window.state).toBe('stall');
  window.take([], null);
  expect(window.state).toBeNull();
});
