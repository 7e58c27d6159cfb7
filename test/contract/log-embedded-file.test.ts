import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Offset } from '#core/position.ts';
import { EmbeddedLog } from '../../connectors/log-embedded/log.ts';
import { SharedState } from '../../connectors/log-embedded/shared.ts';
import { keepingLogger, silentLogger } from '../support/silent-logger.ts';
import { type TempFolder, tempFolder } from '../support/temp-folder.ts';
import { realRuntime, VirtualClock } from '../support/test-runtime.ts';
import { assignmentOf, codeRejected, collect, progressAt, readAll, record, textsOf } from './log.ts';

const never = new AbortController().signal;

describe('the file of the embedded log', () => {
  let folder: TempFolder;
  let path: string;

  beforeEach(() => {
    folder = tempFolder();
    path = join(folder.path, 'log.db');
  });

  afterEach(() => folder[Symbol.dispose]());

  function openAt(over: Partial<ConstructorParameters<typeof EmbeddedLog>[0]> = {}): EmbeddedLog {
    return new EmbeddedLog({
      path,
      pipeline: 'orders',
      partitions: 2,
      bytesMax: 2 ** 33,
      recordBytesMax: 2 ** 24,
      runtime: realRuntime(),
      logger: silentLogger,
      ...over,
    });
  }

  /** A log with this many records in partition 0, each in a block of its own, closed. */
  async function made(records: number): Promise<void> {
    await using log = openAt();
    await log.provision(never);
    const writer = await log.writer(never);
    for (let index = 0; index < records; index += 1) await writer.append([record(0, `r${index}`)], never);
  }

  function alter(sql: string): void {
    using database = new DatabaseSync(path);
    database.exec(sql);
  }

  describe('keeps what an append has confirmed', () => {
    it.each([1, 7, 40])('when the process is killed behind append %i', async (appends) => {
      const module = fileURLToPath(new URL('./log-embedded-child.ts', import.meta.url));
      const child = spawn(process.execPath, [module, path], { stdio: ['ignore', 'pipe', 'inherit'] });
      const exit = once(child, 'exit');
      let confirmed = -1;
      for await (const line of createInterface({ input: child.stdout })) {
        confirmed = Number(line);
        if (confirmed >= appends) child.kill('SIGKILL');
      }
      expect(await exit).toEqual([null, 'SIGKILL']);
      await using log = openAt();
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

    it('by syncing every append and dead letter, but not every commit', async () => {
      await using log = openAt();
      await log.provision(never);
      const writer = await log.writer(never);
      const assignment = await assignmentOf(log, 'warm', 0, 2);
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
        const letters = log.deadLetters('warm');
        const letter = { sequence: '' as never, code: 'value_refused', reason: '', record: null, committedAtMicros: 0 };
        expect(await synchronousIn(() => assignment.commit(progressAt(1, null), never))).toEqual(['PRAGMA synchronous = NORMAL']);
        expect(await synchronousIn(() => writer.append([record(0, 'a')], never))).toEqual(['PRAGMA synchronous = FULL']);
        expect(await synchronousIn(() => assignment.commit(progressAt(2, null), never))).toEqual(['PRAGMA synchronous = NORMAL']);
        expect(await synchronousIn(() => letters.park(0, [{ ...letter, key: 'k' as never }], never))).toEqual([
          'PRAGMA synchronous = FULL',
        ]);
        expect(await synchronousIn(() => letters.release(0, ['k' as never], never))).toEqual(['PRAGMA synchronous = FULL']);
      } finally {
        statements.mockRestore();
      }
      using looking = new DatabaseSync(path, { readOnly: true });
      expect(looking.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
      expect(looking.prepare('PRAGMA auto_vacuum').get()).toEqual({ auto_vacuum: 2 });
    });
  });

  it('is made by provision only', async () => {
    await using log = openAt();
    expect(await codeRejected(log.ends(never))).toBe('log_unavailable');
    expect(await codeRejected(log.writer(never))).toBe('log_unavailable');
    expect(await codeRejected(collect(log.read(0, 0 as Offset, never)))).toBe('log_unavailable');
    expect(await log.remove(null, never)).toEqual([]);
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
    await log.provision(never);
    await log.provision(never);
    expect((await log.ends(never))[0]).toEqual({ start: 0, end: 0 });
  });

  it.each([
    [
      'a byte of a block',
      "UPDATE block SET data = CAST(substr(data, 1, 9) || X'7a' || substr(data, 11) AS BLOB) WHERE id = (SELECT id FROM block LIMIT 1 OFFSET 2)",
    ],
    [
      'a length in a block',
      "UPDATE block SET data = CAST(X'ff' || substr(data, 2) AS BLOB) WHERE id = (SELECT id FROM block LIMIT 1 OFFSET 2)",
    ],
    ['a count', 'UPDATE block SET count = 2 WHERE id = (SELECT id FROM block LIMIT 1 OFFSET 2)'],
    [
      'a place',
      'UPDATE block SET data = (SELECT data FROM block LIMIT 1), crc = (SELECT crc FROM block LIMIT 1) WHERE id = (SELECT id FROM block LIMIT 1 OFFSET 2)',
    ],
    ['the presence of a block', 'DELETE FROM block WHERE id = (SELECT id FROM block LIMIT 1 OFFSET 2)'],
  ])('is damaged when %s is wrong, and nothing is read past that', async (_what, sql) => {
    await made(5);
    alter(sql);
    await using log = openAt();
    const seen: string[] = [];
    const reading = (async () => {
      for await (const batch of log.read(0, 0 as Offset, never)) seen.push(...textsOf([batch]));
    })();
    expect(await codeRejected(reading)).toBe('log_damaged');
    expect(seen).toEqual(['r0', 'r1']);
    const assignment = await assignmentOf(log, 'warm', 0, 2);
    expect(await codeRejected(collect(assignment.batches(2 as Offset, never)))).toBe('log_damaged');
  });

  it('can be removed although it is damaged', async () => {
    await made(1);
    alter('DELETE FROM log');
    await using log = openAt();
    expect(await codeRejected(log.provision(never))).toBe('log_damaged');
    expect(await log.remove(null, never)).toEqual([`log ${path}`]);
    await log.provision(never);
  });

  it('does not sleep through a change that came between the look and the wait', async () => {
    const clock = new VirtualClock();
    const state = new SharedState();
    const seen = state.version;
    state.changed();
    await state.wait({ seen, runtime: clock.runtime }, never);
    expect(clock.nowMs).toBe(0);
  });

  it('wakes readers of the same process at once, without any clock', async () => {
    const clock = new VirtualClock();
    await using log = openAt({ runtime: clock.runtime });
    await log.provision(never);
    const batches = (await assignmentOf(log, 'warm', 0, 2)).batches(0 as Offset, never)[Symbol.asyncIterator]();
    const writer = await log.writer(never);
    for (const text of ['a', 'b', 'c']) {
      const next = batches.next();
      await writer.append([record(0, text)], never);
      const result = await next;
      expect(result.done === true ? [] : textsOf([result.value])).toEqual([text]);
    }
    expect(clock.nowMs).toBe(0);
  });

  it('is refused when its pages are damaged', async () => {
    await made(5);
    writeFileSync(path, Buffer.alloc(20_000, 0x5a).fill('SQLite format 3\0', 0, 16));
    await using log = openAt();
    const code = await codeRejected(log.provision(never));
    expect(['log_damaged', 'log_foreign']).toContain(code);
  });

  it('is refused when it is no database, or of another program, another pipeline or a newer release', async () => {
    writeFileSync(path, 'x'.repeat(5_000));
    await expectRefused('log_foreign', /not a log of Causeway/);
    rmSync(path);
    alter('CREATE TABLE theirs (id INTEGER)');
    await expectRefused('log_foreign', /not a log of Causeway/);
    rmSync(path);
    await made(1);
    await expectRefused('log_foreign', /belongs to the pipeline orders/, { pipeline: 'invoices' });
    await expectRefused('log_partitions_changed', /made with 2 partitions, and 3/, { partitions: 3 });
    alter('PRAGMA user_version = 2');
    await expectRefused('log_foreign', /format version 2/);
  });

  async function expectRefused(code: string, message: RegExp, over: Parameters<typeof openAt>[0] = {}): Promise<void> {
    await using log = openAt(over);
    await expect(log.provision(never)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
    if (code === 'log_foreign') {
      await expect(log.remove(null, never)).rejects.toMatchObject({ code });
      expect(statSync(path).size).toBeGreaterThan(0);
    }
  }

  it('confirms nothing once the file was removed or replaced under it', async () => {
    await using log = openAt();
    await log.provision(never);
    const writer = await log.writer(never);
    await writer.append([record(0, 'a')], never);
    for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
    expect(await codeRejected(writer.append([record(0, 'b')], never))).toBe('log_unavailable');
    await log.provision(never);
    expect((await log.ends(never))[0]).toEqual({ start: 0, end: 0 });
  });

  it('does not confirm an append whose file goes away while it is committed', async () => {
    await using log = openAt();
    await log.provision(never);
    const writer = await log.writer(never);
    await writer.append([record(0, 'a')], never);
    // eslint-disable-next-line @typescript-eslint/unbound-method -- called with its own object below
    const exec = DatabaseSync.prototype.exec;
    const statements = vi.spyOn(DatabaseSync.prototype, 'exec').mockImplementation(function (this: DatabaseSync, sql) {
      exec.call(this, sql);
      if (sql === 'COMMIT') rmSync(path);
    });
    try {
      expect(await codeRejected(writer.append([record(0, 'b')], never))).toBe('log_unavailable');
    } finally {
      statements.mockRestore();
    }
  });

  it('says which directory cannot be made', async () => {
    writeFileSync(join(folder.path, 'file'), '');
    await using log = openAt({ path: join(folder.path, 'file', 'log.db') });
    await expect(log.provision(never)).rejects.toMatchObject({
      code: 'log_unavailable',
      message: expect.stringContaining('directory') as string,
    });
  });

  it('wakes readers of another process by looking now and then', async () => {
    const clock = new VirtualClock();
    await using writing = openAt();
    await writing.provision(never);
    // Through another path to the same folder, no word passes between the two, as between two processes.
    symlinkSync(folder.path, join(folder.path, 'link'));
    await using reading = openAt({ path: join(folder.path, 'link', 'log.db'), runtime: clock.runtime });
    const batches = (await assignmentOf(reading, 'warm', 0, 2)).batches(0 as Offset, never)[Symbol.asyncIterator]();
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
    await using log = openAt();
    await log.provision(never);
    await log.retain(['warm'], never);
    const writer = await log.writer(never);
    const assignment = await assignmentOf(log, 'warm', 0, 2);
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
    const steady = statSync(path).size;
    await passes(60, 10);
    expect(statSync(path).size).toBeLessThan(steady * 1.5);
    await passes(120, 130);
    const backlog = statSync(path).size;
    expect(backlog).toBeGreaterThan(50_000_000);
    for (let index = 0; index < 200; index += 1) await assignment.commit(progressAt(offset, [8, index]), never);
    await log[Symbol.asyncDispose]();
    expect(statSync(path).size).toBeLessThan(backlog / 2);
  });

  it('tells an operator when it is full and when it is no longer', async () => {
    const logger = keepingLogger();
    await using log = openAt({ bytesMax: 1024 * 1024, logger });
    await log.provision(never);
    await log.retain(['warm'], never);
    const writer = await log.writer(never);
    const writing = (async () => {
      for (let index = 0; index < 12; index += 1) await writer.append([{ partition: 0, key: null, value: Buffer.alloc(100_000) }], never);
    })();
    while (!(await log.usage(never)).stalled) await new Promise((resolve) => setImmediate(resolve));
    const assignment = await assignmentOf(log, 'warm', 0, 2);
    await assignment.commit(progressAt(5, [7, 5]), never);
    await writing;
    expect(logger.lines.map((line) => line.level)).toEqual(['warn', 'info']);
    expect(logger.lines[0]?.message).toContain('causeway status');
  });

  it('refuses an append that can never fit', async () => {
    await using log = openAt({ bytesMax: 1024 * 1024 });
    await log.provision(never);
    const writer = await log.writer(never);
    const records = Array.from({ length: 12 }, () => ({ partition: 0, key: null, value: Buffer.alloc(100_000) }));
    expect(await codeRejected(writer.append(records, never))).toBe('log_full');
  });
});
