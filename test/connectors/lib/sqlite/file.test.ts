import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { MonoMs } from '#core/position.ts';
import { controlFile } from '../../../../connectors/control-embedded/store.ts';
import { SqliteFile } from '../../../../connectors/lib/sqlite/file.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { realRuntime } from '../../../support/test-runtime.ts';

const never = new AbortController().signal;

test('whoever writes in a loop lets others run, and one write now and then waits for nobody', async () => {
  using folder = tempFolder();
  let nowMs = 0;
  const runtime = { ...realRuntime(), monotonicMs: () => nowMs as MonoMs };
  const file = new SqliteFile({ path: join(folder.path, 'control.db'), kind: controlFile, runtime });
  const write = (tookMs: number): Promise<number> => file.write({ create: true, durable: false }, () => (nowMs += tookMs), never);
  let turns = 0;
  const turn = (): void => {
    turns += 1;
    turning = setImmediate(turn);
  };
  let turning = setImmediate(turn);
  try {
    for (let second = 0; second < 4; second += 1) {
      nowMs += 1_000;
      await write(1);
    }
    expect(turns).toBe(0);
    for (let round = 1; round <= 10; round += 1) {
      const before = turns;
      for (let row = 0; row < 5; row += 1) await write(1);
      expect(turns).toBeGreaterThan(before);
    }
  } finally {
    clearImmediate(turning);
    file.close();
  }
});
