import { rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, StatementSync } from 'node:sqlite';
import { describe, expect, it, vi } from 'vitest';
import type { LogBatch, PartitionAssignment } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import type { EmbeddedLog } from '../../connectors/log-embedded/log.ts';
import { VirtualClock } from '../support/test-runtime.ts';
import { LogFolder } from './log-embedded-folder.ts';
import { assigned, codeRejected, never, record, textsOf } from './log-support.ts';

/** A look of a reader that found nothing, and the next one. */
const WITHIN_MS = 400;

describe('readers of the embedded log that wait', () => {
  const folder = new LogFolder();
  const clock = new VirtualClock();

  /** Through another path to the same file no word passes between the two, as between two processes. */
  async function elsewhere(): Promise<EmbeddedLog> {
    await using made = folder.open();
    await made.provision(never);
    symlinkSync(folder.root, join(folder.root, 'link'));
    return folder.open({ path: join(folder.root, 'link', 'log.db') });
  }

  async function readersOf(log: EmbeddedLog): Promise<readonly PartitionAssignment[]> {
    return assigned(await log.reader('warm', never), log.partitions);
  }

  function following(of: PartitionAssignment | undefined, from = 0): Promise<IteratorResult<LogBatch>> {
    if (of === undefined) throw new Error('the partition was not assigned');
    const batches = of.batches(from as Offset, never)[Symbol.asyncIterator]();
    const next = batches.next();
    next.catch(() => undefined);
    return next;
  }

  async function textsWithin(next: Promise<IteratorResult<LogBatch>>): Promise<readonly string[]> {
    const result = await clock.runUntil(next, WITHIN_MS);
    return result.done === true ? [] : textsOf([result.value]);
  }

  it('cost one look at the file for all of them while nothing is written', async () => {
    await using log = folder.open({ runtime: clock.runtime });
    await log.provision(never);
    const waiting = (await readersOf(log)).map((each) => following(each));
    await clock.advance(1_000);
    const looks = vi.spyOn(StatementSync.prototype, 'get');
    const transactions = vi.spyOn(DatabaseSync.prototype, 'exec');
    try {
      await clock.advance(10_000);
      const asked = new Set(looks.mock.contexts.map((statement) => (statement as StatementSync).sourceSQL));
      expect([looks.mock.calls.length, [...asked]]).toEqual([50, ['PRAGMA data_version']]);
      expect(transactions.mock.calls).toEqual([]);
    } finally {
      looks.mockRestore();
      transactions.mockRestore();
    }
    await log[Symbol.asyncDispose]();
    expect(await Promise.all(waiting.map(codeRejected))).toEqual(['log_unavailable', 'log_unavailable']);
  });

  it('look less often while this process writes itself, and as before once it does not', async () => {
    await using writing = await elsewhere();
    await using log = folder.open({ runtime: clock.runtime });
    const [first] = await readersOf(log);
    const own = await log.writer(never);
    const behindOwn = following(first);
    await clock.advance(5_000);
    const before = clock.nowMs;
    const writer = await writing.writer(never);
    await writer.append([record(0, 'a')], never);
    expect(textsOf([(await clock.runUntil(behindOwn)).value as LogBatch])).toEqual(['a']);
    expect(clock.nowMs - before).toBe(1_000);
    await own[Symbol.asyncDispose]();
    await own[Symbol.asyncDispose]();
    const behindNone = following(first, 1);
    await clock.advance(5_000);
    await writer.append([record(0, 'b')], never);
    expect(await textsWithin(behindNone)).toEqual(['b']);
  });

  it('are woken by another process, each from what it has seen itself', async () => {
    await using writing = await elsewhere();
    await using log = folder.open({ runtime: clock.runtime });
    const [first, second] = await readersOf(log);
    const early = following(first);
    await clock.advance(10);
    const writer = await writing.writer(never);
    await writer.append([record(0, 'a')], never);
    // The second begins to wait behind the append, and has nothing to be woken for.
    const late = following(second);
    expect(await textsWithin(early)).toEqual(['a']);
    await writer.append([record(1, 'b')], never);
    expect(await textsWithin(late)).toEqual(['b']);
  });

  it('are told when the file is gone, was replaced, or is closed', async () => {
    await using log = folder.open({ runtime: clock.runtime });
    await log.provision(never);
    const [first, second] = await readersOf(log);
    const removed = following(first);
    await clock.advance(1_000);
    for (const suffix of ['', '-wal', '-shm']) rmSync(folder.path + suffix, { force: true });
    expect(await codeRejected(clock.runUntil(removed, WITHIN_MS))).toBe('log_unavailable');
    await log.provision(never);
    const replaced = following(first);
    await clock.advance(1_000);
    for (const suffix of ['', '-wal', '-shm']) rmSync(folder.path + suffix, { force: true });
    await using writing = folder.open();
    await writing.provision(never);
    await (await writing.writer(never)).append([record(0, 'of another file')], never);
    expect(await textsWithin(replaced)).toEqual(['of another file']);
    const closed = following(second);
    await clock.advance(1_000);
    await log[Symbol.asyncDispose]();
    expect(await codeRejected(closed)).toBe('log_unavailable');
  });
});
