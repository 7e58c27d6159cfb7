import { expect, test } from 'vitest';
import { controlKeys, type StatusRow } from '#core/control-rows.ts';
import { StatusWriter } from '../../src/runtime/status-row.ts';
import { MemoryControlStore, memoryControlRows } from '../support/memory-control-store.ts';

const never = new AbortController().signal;
const key = controlKeys.status('orders');

function at(writtenAtWallMs: number): StatusRow {
  return { writtenAtWallMs, document: null };
}

class CountingStore extends MemoryControlStore {
  calls = 0;

  override get(...args: Parameters<MemoryControlStore['get']>): ReturnType<MemoryControlStore['get']> {
    this.calls += 1;
    return super.get(...args);
  }

  override swap(...args: Parameters<MemoryControlStore['swap']>): ReturnType<MemoryControlStore['swap']> {
    this.calls += 1;
    return super.swap(...args);
  }
}

test('a status is one request to the control store, over whatever stands there', async () => {
  const rows = memoryControlRows();
  const control = new CountingStore(rows);
  const stored = async (): Promise<unknown> => (await new MemoryControlStore(rows).get(key, never))?.value;
  const [own, other] = [control, new CountingStore(rows)].map((store) => new StatusWriter({ control: store, pipeline: 'orders' }));
  const writes = async (writer: StatusWriter | undefined, ms: number): Promise<number> => {
    const before = control.calls;
    await writer?.write(at(ms), never);
    expect(await stored()).toEqual(at(ms));
    return control.calls - before;
  };
  expect(await writes(own, 1)).toBe(1);
  expect(await writes(own, 2)).toBe(1);
  // Another process has captured meanwhile.
  await writes(other, 3);
  expect(await writes(own, 4)).toBe(2);
  expect(await writes(own, 5)).toBe(1);
  // Removed, as with the pipeline.
  rows.rows.delete(key);
  expect(await writes(own, 6)).toBe(2);
  expect(await writes(own, 7)).toBe(1);
});
