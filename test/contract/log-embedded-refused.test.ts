import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Offset } from '#core/position.ts';
import { LogFolder } from './log-embedded-folder.ts';
import { assignmentOf, codeRejected, collect, never, textsOf } from './log-support.ts';

describe('a damaged or foreign file of the embedded log', () => {
  const folder = new LogFolder();

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
    await folder.made(5);
    folder.alter(sql);
    await using log = folder.open();
    const seen: string[] = [];
    const reading = (async () => {
      for await (const batch of log.read(0, 0 as Offset, never)) seen.push(...textsOf([batch]));
    })();
    expect(await codeRejected(reading)).toBe('log_damaged');
    expect(seen).toEqual(['r0', 'r1']);
    const assignment = await assignmentOf(log, 'warm', 0);
    expect(await codeRejected(collect(assignment.batches(2 as Offset, never)))).toBe('log_damaged');
  });

  it('can be removed although it is damaged', async () => {
    await folder.made(1);
    folder.alter('DELETE FROM log');
    await using log = folder.open();
    expect(await codeRejected(log.provision(never))).toBe('log_damaged');
    expect(await log.remove(null, never)).toEqual([`log ${folder.path}`]);
    await log.provision(never);
  });

  it('is refused when its pages are damaged', async () => {
    await folder.made(5);
    writeFileSync(folder.path, Buffer.alloc(20_000, 0x5a).fill('SQLite format 3\0', 0, 16));
    await using log = folder.open();
    const code = await codeRejected(log.provision(never));
    expect(['log_damaged', 'log_foreign']).toContain(code);
  });

  it.each([
    ['less than none', 0xff],
    ['more than it has', 0x7f],
  ])('is damaged when its head counts as many free pages as %s, which would make it full for ever or never', async (_what, byte) => {
    await folder.made(5);
    folder.alter('PRAGMA wal_checkpoint(TRUNCATE)');
    // The count is a big-endian number at place 36 (https://www.sqlite.org/fileformat.html#the_database_header).
    const file = readFileSync(folder.path);
    file[36] = byte;
    writeFileSync(folder.path, file);
    await expectRefused('log_damaged', /free pages of/);
  });

  it.each(['data = 22', "count = 'two'", 'count = 9151315183789708823'])(
    'is damaged when a row holds what its table does not allow: %s',
    async (set) => {
      await folder.made(5);
      // Damage of a page changes the type of a value as well, at a place that moves with every version of the format.
      folder.alter(`ALTER TABLE block RENAME TO typed; CREATE TABLE block (id INTEGER PRIMARY KEY, count, bytes, crc, data);
        INSERT INTO block SELECT * FROM typed; DROP TABLE typed`);
      folder.alter(`UPDATE block SET ${set} WHERE id = (SELECT max(id) FROM block)`);
      await using log = folder.open();
      expect(await codeRejected(collect(log.read(0, 0 as Offset, never)))).toBe('log_damaged');
    },
  );

  it('is refused when it is no database, or of another program, another pipeline or another release', async () => {
    writeFileSync(folder.path, 'x'.repeat(5_000));
    await expectRefused('log_foreign', /not a log of Causeway/);
    rmSync(folder.path);
    folder.alter('CREATE TABLE theirs (id INTEGER)');
    await expectRefused('log_foreign', /not a log of Causeway/);
    rmSync(folder.path);
    await folder.made(1);
    await expectRefused('log_foreign', /belongs to the pipeline orders/, { pipeline: 'invoices' });
    await expectRefused('log_partitions_changed', /made with 2 partitions, and 3/, { partitions: 3 });
    folder.alter('PRAGMA user_version = 5');
    await expectRefused('log_foreign', /format version 5, of a newer release/);
    folder.alter('PRAGMA user_version = 3');
    await expectRefused('log_foreign', /format version 3, of an older release/);
  });

  async function expectRefused(code: string, message: RegExp, over: Parameters<typeof folder.open>[0] = {}): Promise<void> {
    await using log = folder.open(over);
    await expect(log.provision(never)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
    if (code === 'log_foreign') {
      await expect(log.remove(null, never)).rejects.toMatchObject({ code });
      expect(statSync(folder.path).size).toBeGreaterThan(0);
    }
  }
});
