import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import type { Offset } from '#core/position.ts';
import { SharedState } from '../../connectors/log-embedded/shared.ts';
import { keepingLogger } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/test-runtime.ts';
import { LogFolder } from './log-embedded-folder.ts';
import { assignmentOf, codeRejected, collect, never, progressAt, readAll, record, textsOf, heldLetters } from './log-support.ts';

describe('the file of the embedded log', () => {
  const folder = new LogFolder();

  describe('keeps what an append has confirmed', () => {
    it.each([1, 7, 40])('when the process is killed behind append %i', async (appends) => {
      const module = fileURLToPath(new URL('./log-embedded-child.ts', import.meta.url));
      const child = spawn(process.execPath, [module, folder.path], { stdio: ['ignore', 'pipe', 'inherit'] });
      const exit = once(child, 'exit');
      let confirmed = -1;
      for await (const line of createInterface({ input: child.stdout })) {
        confirmed = Number(line);
        if (confirmed >= appends) child.kill('SIGKILL');
      }
      expect(await exit).toEqual([null, 'SIGKILL']);
      await using log = folder.open();
      const counts = [];
      for (const partition of [0, 1]) {
        const stored = await readAll(log, partition);
        for (const [index, one] of stored.entries()) {
          expect(one.offset).toBe(index);
          expect(one.key).toBe(`${Math.floor(index / 2)}`);
          expect(Buffer.from(one.value).toString()).toBe(`${Math.floor(index / 2)}`.repeat(50));
        }
        expect(stored.length).toBeGreaterThanOrEqual((confirmed + 1) * 2);
        counts.push(stored.length);
      }
      // An append is there in all of its partitions or in none.
      expect(counts[0]).toBe(counts[1]);
    });

    it('of dead letters beside what counts for its limit: no sink that catches up would make room', async () => {
      const bytesMax = 8 * 1024 * 1024;
      await using log = folder.open({ bytesMax });
      await log.provision(never);
      const text = { sequence: '' as never, code: 'value_refused', reason: '', committedAtMicros: 0 };
      for (let key = 0; key < 40; key += 1) {
        const letters = [{ ...text, key: `${key}` as never, record: Buffer.alloc(300_000, key) }];
        await (await heldLetters(log)).park(letters, never);
        // Small ones too, of which many share a page.
        const small = Array.from({ length: 100 }, (_none, at) => ({
          ...text,
          key: `${key}.${at}` as never,
          record: Buffer.alloc(300, at),
        }));
        await (await heldLetters(log, 'warm', 1)).park(small, never);
      }
      expect((await log.usage(never)).bytes).toBeLessThan(bytesMax / 10);
      await using writer = await log.writer(never);
      expect(await writer.append([record(0, 'a')], AbortSignal.timeout(5_000))).toEqual(new Map([[0, 0]]));
    });

    it('by syncing every append and dead letter, but not every commit', async () => {
      await using log = folder.open();
      await log.provision(never);
      const writer = await log.writer(never);
      const assignment = await assignmentOf(log, 'warm', 0);
      const statements = vi.spyOn(DatabaseSync.prototype, 'exec');
      const synchronousIn = async (work: () => Promise<unknown>): Promise<readonly string[]> => {
        statements.mockClear();
        await work();
        const transactions: string[] = [];
        let setting = '';
        for (const [sql] of statements.mock.calls) {
          if (sql.startsWith('PRAGMA synchronous')) setting = sql;
          if (sql === 'BEGIN IMMEDIATE') transactions.push(setting);
        }
        return transactions;
      };
      try {
        const held = await heldLetters(log);
        const letter = { sequence: '' as never, code: 'value_refused', reason: '', record: null, committedAtMicros: 0 };
        expect(await synchronousIn(() => assignment.commit(progressAt(1, null), never))).toEqual(['PRAGMA synchronous = NORMAL']);
        expect(await synchronousIn(() => writer.append([record(0, 'a')], never))).toEqual(['PRAGMA synchronous = FULL']);
        expect(await synchronousIn(() => assignment.commit(progressAt(2, null), never))).toEqual(['PRAGMA synchronous = NORMAL']);
        expect(await synchronousIn(() => held.park([{ ...letter, key: 'k' as never }], never))).toEqual(['PRAGMA synchronous = FULL']);
        expect(await synchronousIn(() => held.release([{ key: 'k' as never, sequence: '' as never, at: null, replay: 0 }], never))).toEqual(
          ['PRAGMA synchronous = FULL'],
        );
      } finally {
        statements.mockRestore();
      }
      using looking = new DatabaseSync(folder.path, { readOnly: true });
      expect(looking.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
      expect(looking.prepare('PRAGMA auto_vacuum').get()).toEqual({ auto_vacuum: 2 });
    });
  });

  it('is made by provision only', async () => {
    await using log = folder.open();
    expect(await codeRejected(log.ends(never))).toBe('log_unavailable');
    expect(await codeRejected(log.writer(never))).toBe('log_unavailable');
    expect(await codeRejected(collect(log.read(0, 0 as Offset, never)))).toBe('log_unavailable');
    expect(await log.remove(null, never)).toEqual([]);
    expect(statSync(folder.path, { throwIfNoEntry: false })).toBeUndefined();
    await log.provision(never);
    await log.provision(never);
    expect((await log.ends(never))[0]).toEqual({ start: 0, end: 0 });
  });

  it('does not sleep through a change that came between the look and the wait', async () => {
    const clock = new VirtualClock();
    const state = new SharedState();
    const seen = state.version(0);
    state.changed([0]);
    await state.wait({ concern: 0, seen, ms: 1_000, runtime: clock.runtime }, never);
    expect(clock.nowMs).toBe(0);
  });

  it('wakes only those whom a change concerns', async () => {
    const clock = new VirtualClock();
    const state = new SharedState();
    const woken: unknown[] = [];
    const waits = ([0, 1, 'room'] as const).map(async (concern) => {
      await state.wait({ concern, seen: state.version(concern), ms: 500, runtime: clock.runtime }, never);
      woken.push(concern);
    });
    state.changed([1]);
    await waits[1];
    state.changed(['room']);
    await waits[2];
    expect(woken).toEqual([1, 'room']);
    await clock.advance(1_000);
    expect(woken).toEqual([1, 'room', 0]);
  });

  it('wakes readers of the same process at once, without any clock', async () => {
    const clock = new VirtualClock();
    await using log = folder.open({ runtime: clock.runtime });
    await log.provision(never);
    const batches = (await assignmentOf(log, 'warm', 0)).batches(0 as Offset, never)[Symbol.asyncIterator]();
    const writer = await log.writer(never);
    for (const text of ['a', 'b', 'c']) {
      const next = batches.next();
      await writer.append([record(0, text)], never);
      const result = await next;
      expect(result.done === true ? [] : textsOf([result.value])).toEqual([text]);
    }
    expect(clock.nowMs).toBe(0);
  });

  it('confirms nothing once the file was removed or replaced under it', async () => {
    await using log = folder.open();
    await log.provision(never);
    const writer = await log.writer(never);
    await writer.append([record(0, 'a')], never);
    for (const suffix of ['', '-wal', '-shm']) rmSync(folder.path + suffix, { force: true });
    expect(await codeRejected(writer.append([record(0, 'b')], never))).toBe('log_unavailable');
    await log.provision(never);
    expect((await log.ends(never))[0]).toEqual({ start: 0, end: 0 });
  });

  it('does not confirm an append whose file goes away while it is committed', async () => {
    await using log = folder.open();
    await log.provision(never);
    const writer = await log.writer(never);
    await writer.append([record(0, 'a')], never);
    // eslint-disable-next-line @typescript-eslint/unbound-method -- called with its own object below
    const exec = DatabaseSync.prototype.exec;
    const statements = vi.spyOn(DatabaseSync.prototype, 'exec').mockImplementation(function (this: DatabaseSync, sql) {
      exec.call(this, sql);
      if (sql === 'COMMIT') rmSync(folder.path);
    });
    try {
      expect(await codeRejected(writer.append([record(0, 'b')], never))).toBe('log_unavailable');
    } finally {
      statements.mockRestore();
    }
  });

  it('says which directory cannot be made', async () => {
    writeFileSync(join(folder.root, 'file'), '');
    await using log = folder.open({ path: join(folder.root, 'file', 'log.db') });
    await expect(log.provision(never)).rejects.toMatchObject({
      code: 'log_unavailable',
      message: expect.stringContaining('directory') as string,
    });
  });

  it('wakes readers of another process by looking now and then', async () => {
    const clock = new VirtualClock();
    await using writing = folder.open();
    await writing.provision(never);
    // Through another folder.path to the same folder, no word passes between the two, as between two processes.
    symlinkSync(folder.root, join(folder.root, 'link'));
    await using reading = folder.open({ path: join(folder.root, 'link', 'log.db'), runtime: clock.runtime });
    const batches = (await assignmentOf(reading, 'warm', 0)).batches(0 as Offset, never)[Symbol.asyncIterator]();
    const next = batches.next();
    await clock.advance(1_000);
    const writer = await writing.writer(never);
    await writer.append([record(0, 'a')], never);
    const before = clock.nowMs;
    const result = await clock.runUntil(next);
    expect(result.done === true ? [] : textsOf([result.value])).toEqual(['a']);
    expect(clock.nowMs - before).toBeLessThanOrEqual(400);
  });

  it('uses freed room again, and gives it back when most of it is free', async () => {
    await using log = folder.open();
    await log.provision(never);
    await log.retain(['warm'], never);
    const writer = await log.writer(never);
    const assignment = await assignmentOf(log, 'warm', 0);
    const chunk = { partition: 0, key: null, value: Buffer.alloc(500_000, 1) };
    let offset = 0;
    const passes = async (count: number, lag: number): Promise<void> => {
      for (let index = 0; index < count; index += 1) {
        await writer.append([chunk], never);
        offset += 1;
        if (offset > lag) await assignment.commit(progressAt(offset - lag, [7, offset - lag]), never);
      }
    };
    await passes(20, 10);
    const steady = statSync(folder.path).size;
    await passes(60, 10);
    expect(statSync(folder.path).size).toBeLessThan(steady * 1.5);
    await passes(120, 130);
    const backlog = statSync(folder.path).size;
    expect(backlog).toBeGreaterThan(50_000_000);
    for (let index = 0; index < 200; index += 1) await assignment.commit(progressAt(offset, [8, index]), never);
    await log[Symbol.asyncDispose]();
    expect(statSync(folder.path).size).toBeLessThan(backlog / 2);
  });

  it('tells an operator when it is full and when it is no longer', async () => {
    const logger = keepingLogger();
    await using log = folder.open({ bytesMax: 1024 * 1024, logger });
    await log.provision(never);
    await log.retain(['warm'], never);
    const writer = await log.writer(never);
    const writing = (async () => {
      for (let index = 0; index < 12; index += 1) await writer.append([{ partition: 0, key: null, value: Buffer.alloc(100_000) }], never);
    })();
    while (!(await log.usage(never)).stalled) await new Promise((resolve) => setImmediate(resolve));
    const assignment = await assignmentOf(log, 'warm', 0);
    await assignment.commit(progressAt(5, [7, 5]), never);
    await writing;
    expect(logger.lines.map((line) => line.level)).toEqual(['warn', 'info']);
    expect(logger.lines[0]?.message).toContain('causeway status');
  });

  it('gives up the stretch behind the readers without a word', async () => {
    const logger = keepingLogger();
    await using log = folder.open({ bytesMax: 1024 * 1024, keepBytes: 4 * 1024 * 1024, logger });
    await log.provision(never);
    await log.retain(['warm'], never);
    const writer = await log.writer(never);
    const assignment = await assignmentOf(log, 'warm', 0);
    for (let index = 1; index <= 20; index += 1) {
      await writer.append([{ partition: 0, key: null, value: Buffer.alloc(100_000) }], never);
      await assignment.commit(progressAt(index, [7, index]), never);
    }
    expect(logger.lines).toEqual([]);
  });

  it('refuses a record that can never fit', async () => {
    await using log = folder.open({ bytesMax: 1024 * 1024 });
    await log.provision(never);
    const writer = await log.writer(never);
    const large = { partition: 0, key: null, value: Buffer.alloc(1_000_000) };
    expect(await codeRejected(writer.append([large], never))).toBe('log_full');
  });
});
