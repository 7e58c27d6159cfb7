import { rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, vi } from 'vitest';
import type { RowKey } from '#core/key.ts';
import { LogFolder } from './log-embedded-folder.ts';
import { assignmentOf, codeRejected, collect, heldLetters, letter, never, progressAt, readAll, record } from './log-support.ts';

describe('the embedded log with a thread that writes', () => {
  const folder = new LogFolder();

  it('writes nothing in the thread that reads', async () => {
    await using log = folder.open({ thread: true });
    await log.provision(never);
    await log.retain(['warm'], never);
    const writer = await log.writer(never);
    const assignment = await assignmentOf(log, 'warm', 0);
    const statements = vi.spyOn(DatabaseSync.prototype, 'exec');
    try {
      await writer.append([record(0, 'a'), record(1, 'b')], never);
      await assignment.commit(progressAt(1, null), never);
      await (await heldLetters(log)).release([{ key: 'k', sequence: '', at: null } as never], never);
      expect((await readAll(log, 0)).map(({ value }) => Buffer.from(value).toString())).toEqual(['a']);
      expect(statements.mock.calls.map(([sql]) => sql)).not.toContain('BEGIN IMMEDIATE');
    } finally {
      statements.mockRestore();
    }
  });

  it('waits for the lock of another process', async () => {
    await using log = folder.open({ thread: true });
    await log.provision(never);
    const writer = await log.writer(never);
    await writer.append([record(0, 'a')], never);
    const held = await heldLetters(log);
    using other = new DatabaseSync(folder.path);
    other.exec('BEGIN IMMEDIATE');
    const appended = writer.append([record(0, 'b')], never);
    // Answered behind the first try of the append, which found the lock taken.
    const released = held.release([{ key: 'k', sequence: '', at: null } as never], never);
    expect(await Promise.race([appended, new Promise((resolve) => setTimeout(resolve, 100, 'waits'))])).toBe('waits');
    other.exec('COMMIT');
    expect(await appended).toEqual(new Map([[0, 1]]));
    await released;
  });

  it('ends a wait for the lock with its signal, and takes nothing more', async () => {
    await using log = folder.open({ thread: true });
    await log.provision(never);
    const writer = await log.writer(never);
    using other = new DatabaseSync(folder.path);
    other.exec('BEGIN IMMEDIATE');
    const ending = new AbortController();
    const appended = writer.append([record(0, 'a')], ending.signal);
    ending.abort(new Error('stopped'));
    await expect(appended).rejects.toThrow('stopped');
    other.exec('COMMIT');
    expect(await codeRejected(writer.append([record(0, 'b')], never))).toBe('log_unavailable');
    expect(await readAll(log, 0)).toEqual([]);
  });

  it('confirms nothing once the file was removed, replaced or damaged', async () => {
    await using log = folder.open({ thread: true });
    await log.provision(never);
    const removed = await log.writer(never);
    await removed.append([record(0, 'a')], never);
    for (const suffix of ['', '-wal', '-shm']) rmSync(folder.path + suffix, { force: true });
    expect(await codeRejected(removed.append([record(0, 'b')], never))).toBe('log_unavailable');
    await log.provision(never);
    const replaced = await log.writer(never);
    for (const suffix of ['', '-wal', '-shm']) rmSync(folder.path + suffix, { force: true });
    folder.alter('CREATE TABLE theirs (id INTEGER)');
    expect(await codeRejected(replaced.append([record(0, 'c')], never))).toBe('log_foreign');
    for (const suffix of ['', '-wal', '-shm']) rmSync(folder.path + suffix, { force: true });
    await log.provision(never);
    const damaged = await log.writer(never);
    folder.alter('DELETE FROM log; DROP TABLE block');
    expect(await codeRejected(damaged.append([record(0, 'd')], never))).toBe('log_damaged');
  });

  it('has room for all the letters that a sink may have', async () => {
    await using log = folder.open({ thread: true });
    await log.provision(never);
    await log.writer(never);
    const letters = log.deadLetters('warm');
    const held = await heldLetters(log);
    const keys = Array.from({ length: 10_000 }, (_none, index) => `["t","${'k'.repeat(2_700)}${index}"]` as RowKey);
    await held.park(
      keys.map((key) => letter(key, { record: null })),
      never,
    );
    await held.release(
      keys.map((key) => ({ key, sequence: letter(key).sequence, at: null, replay: 0 })),
      never,
    );
    expect(await collect(letters.read(0, never))).toEqual([]);
  });

  it('is written by another thread once the first has failed, whoever asks for it', async () => {
    await using log = folder.open({ thread: true });
    await log.provision(never);
    const writer = await log.writer(never);
    const assignment = await assignmentOf(log, 'warm', 0);
    // More names than it may hold.
    const tooMany = log.retain(
      Array.from({ length: 500_000 }, (_none, index) => `${'n'.repeat(200)}${index}`),
      never,
    );
    const appended = writer.append([record(0, 'a')], never);
    expect(await codeRejected(tooMany)).toBe('log_unavailable');
    expect(await codeRejected(appended)).toBe('log_unavailable');
    await log.retain(['warm'], never);
    expect(await assignment.commit(progressAt(0, null), never)).toEqual(progressAt(0, null));
    expect(await codeRejected(writer.append([record(0, 'b')], never))).toBe('log_unavailable');
    expect(await readAll(log, 0)).toEqual([]);
  });

  it('goes on with the next writer in the same thread, and ends with the log', async () => {
    const log = folder.open({ thread: true });
    await log.provision(never);
    for (const text of ['a', 'b']) {
      await using writer = await log.writer(never);
      await writer.append([record(0, text)], never);
    }
    const last = await log.writer(never);
    const appended = last.append([record(0, 'c')], never);
    await new Promise((resolve) => setImmediate(resolve));
    await log[Symbol.asyncDispose]();
    expect(await appended).toEqual(new Map([[0, 2]]));
    expect(await codeRejected(last.append([record(0, 'd')], never))).toBe('log_unavailable');
  });
});
