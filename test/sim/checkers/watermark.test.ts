import { expect, test } from 'vitest';
import { EventLoop } from '../event-loop.ts';
import { Life } from '../life.ts';
import type { Scene } from './scene.ts';
import { WatermarkChecker } from './watermark.ts';

test('a process that has not heard of two losses of its sink has to take the partitions of both again', () => {
  const checker = new WatermarkChecker({} as Scene, { partitions: [] });
  const life = new Life({ daemon: 0, id: 1, loop: new EventLoop(), rate: 1 });
  const unaware = (): readonly number[] => [0, 1, 2].filter((partition) => checker.isUnaware('warm', life, partition));
  checker.wentBack('warm', [life], { partitions: [0, 1], progress: [], reached: new Map(), sweep: false });
  checker.wentBack('warm', [life], { partitions: [0], progress: [], reached: new Map(), sweep: false });
  checker.assigned('warm', life, 0)();
  expect(unaware()).toEqual([1]);
  checker.assigned('warm', life, 1)();
  expect(unaware()).toEqual([]);
});
