import { expect, test } from 'vitest';
import { positionOf, type Epoch, type FencingToken, type Offset } from '#core/position.ts';
import { watermarkSequence } from '#core/sequence.ts';
import { Checkpoint } from '../../src/capture/checkpoint.ts';
import { MemoryControlStore } from '../support/memory-control-store.ts';
import { VirtualClock } from '../support/test-runtime.ts';

const never = new AbortController().signal;
const epoch = 1 as Epoch;

test('neither position, sequence nor a partition falls', async () => {
  const checkpoint = new Checkpoint({
    access: { control: new MemoryControlStore(), runtime: new VirtualClock().runtime, trouble: () => undefined },
    pipeline: 'orders',
    owner: { generation: 2 as FencingToken, holder: 'a' },
    comparePositions: (a, b) => Number(a) - Number(b),
  });
  const pair = (counter: number) => ({ generation: 2 as FencingToken, counter, offset: counter as Offset });
  const step = (place: number) => ({
    position: positionOf(String(place)),
    sequence: watermarkSequence(epoch, BigInt(place)),
    partitions: [pair(place), null],
  });
  await checkpoint.create({ epoch, ...step(100) }, never);
  const ahead = await checkpoint.advance(step(200), never);
  expect(await checkpoint.advance(step(150), never)).toEqual(ahead);
  expect(await checkpoint.advance({ position: positionOf('200'), sequence: null, partitions: [null, pair(7)] }, never)).toEqual({
    ...ahead,
    partitions: [pair(200), pair(7)],
  });
});
