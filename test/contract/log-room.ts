import { describe, expect, it } from 'vitest';
import type { RowKey } from '#core/key.ts';
import type { EncodedRecord, LetterRelease } from '#core/log.ts';
import { OFFSET_FIRST, type Offset } from '#core/position.ts';
import type { Sequence } from '#core/sequence.ts';
import {
  assignmentOf,
  codeRejected,
  collect,
  letter,
  type LogContext,
  LogAtHand,
  type LogContextInput,
  never,
  PARTITIONS,
  progressAt,
  readAll,
  record,
  heldLetters,
} from './log-support.ts';

const at1 = '1'.padStart(48, '0') as Sequence;

function released(key: string, sequence: Sequence, at: number | null = null, replay = 0): LetterRelease {
  return { key: key as RowKey, sequence, at: at as Offset | null, replay };
}

/** What a log keeps that frees what every retained consumer has passed, and waits while it is full. A part of the log's contract. */
export function logRoomContract(name: string, makeContext: (input: LogContextInput) => Promise<LogContext>): void {
  describe(`log: ${name}, room`, () => {
    const at = new LogAtHand(makeContext);

    async function appendOneByOne(count: number): Promise<void> {
      await using writer = await at.log.writer(never);
      for (let index = 0; index < count; index += 1) await writer.append([record(0, `${index}`)], never);
    }

    it('is made behind the slowest of the retained consumers, and the newest record stays', async () => {
      await appendOneByOne(10);
      const [fast, slow] = [await at.assignment('fast', 0), await at.assignment('slow', 0)];
      await at.log.retain(['fast', 'slow'], never);
      await fast.commit(progressAt(10, [7, 10]), never);
      expect((await at.log.ends(never))[0]).toEqual({ start: 0, end: 10 });
      await slow.commit(progressAt(4, [7, 4]), never);
      expect((await at.log.ends(never))[0]).toEqual({ start: 4, end: 10 });
      expect(await codeRejected(readAll(at.log, 0, 3))).toBe('log_offset_gone');
      expect(await codeRejected(collect(slow.batches(3 as Offset, never)))).toBe('log_offset_gone');
      expect(await readAll(at.log, 0, 4)).toHaveLength(6);
      await slow.commit(progressAt(10, [7, 10]), never);
      expect((await at.log.ends(never))[0]).toEqual({ start: 9, end: 10 });
      expect(await at.append(record(0, 'next'))).toEqual(new Map([[0, 10]]));
      await at.reopen();
      expect((await at.log.ends(never))[0]?.end).toBe(11);
    });

    it('is no longer made behind where a consumer went back to', async () => {
      await appendOneByOne(10);
      const [back, other, slow] = [await at.assignment('back', 0), await at.assignment('other', 0), await at.assignment('slow', 0)];
      await at.log.retain(['back', 'other', 'slow'], never);
      await back.rewind(progressAt(2, [7, 2]), never);
      expect(await back.committed(never)).toBeNull();
      await back.commit(progressAt(8, [7, 8]), never);
      await slow.commit(progressAt(3, [7, 3]), never);
      await back.rewind(progressAt(5, [7, 5]), never);
      expect(await back.committed(never)).toEqual(progressAt(5, [7, 5]));
      await back.rewind(progressAt(7, [7, 7]), never);
      expect(await back.committed(never)).toEqual(progressAt(5, [7, 5]));
      await slow.commit(progressAt(10, [7, 10]), never);
      await other.commit(progressAt(10, [7, 10]), never);
      expect((await at.log.ends(never))[0]).toEqual({ start: 5, end: 10 });
      expect(await back.commit(progressAt(6, [7, 6]), never)).toEqual(progressAt(6, [7, 6]));
      expect((await at.log.ends(never))[0]).toEqual({ start: 6, end: 10 });
    });

    it('is not made while nobody said who is retained, nor for an empty list', async () => {
      await appendOneByOne(3);
      await (await at.assignment('warm', 0)).commit(progressAt(3, [7, 3]), never);
      expect((await at.log.ends(never))[0]).toEqual({ start: 0, end: 3 });
      await at.log.retain([], never);
      expect((await at.log.ends(never))[0]).toEqual({ start: 0, end: 3 });
    });

    it('is made when the consumer that held it back is removed or no longer retained', async () => {
      await appendOneByOne(5);
      await (await at.assignment('fast', 0)).commit(progressAt(5, [7, 5]), never);
      await at.log.retain(['fast', 'slow'], never);
      expect((await at.log.ends(never))[0]?.start).toBe(0);
      await at.log.retain(['fast'], never);
      expect((await at.log.ends(never))[0]?.start).toBe(4);
    });

    it('that were released go with the part of the log from which a sink could ask for them', async () => {
      const letters = at.log.deadLetters('warm');
      const held = await heldLetters(at.log);
      await appendOneByOne(8);
      await held.park([letter('["t","1"]'), letter('["t","2"]'), letter('["t","3"]')], never);
      await held.release([released('["t","1"]', at1, 4), released('["t","2"]', at1, 5)], never);
      await at.log.retain(['warm'], never);
      await (await at.assignment('warm', 0)).commit(progressAt(5, [7, 5]), never);
      expect((await at.log.ends(never))[0]?.start).toBe(5);
      expect((await collect(letters.readReleased(0, { offset: OFFSET_FIRST, replays: 0 }, never))).map(({ key }) => key)).toEqual([
        '["t","2"]',
      ]);
      expect((await collect(letters.read(0, never))).map(({ key }) => key)).toEqual(['["t","3"]']);
    });

    it('that a replay released stay until their holder knows that the sink has that replay', async () => {
      const letters = at.log.deadLetters('warm');
      const held = await heldLetters(at.log);
      await appendOneByOne(8);
      await held.park([letter('["t","1"]'), letter('["t","2"]'), letter('["t","3"]')], never);
      await held.release([released('["t","1"]', at1, 4, 1), released('["t","2"]', at1, 4, 2), released('["t","3"]', at1, 5, 1)], never);
      await at.log.retain(['warm'], never);
      await (await at.assignment('warm', 0)).commit(progressAt(5, [7, 5]), never);
      expect((await at.log.ends(never))[0]?.start).toBe(5);
      const left = async (): Promise<readonly string[]> =>
        (await collect(letters.readReleased(0, { offset: OFFSET_FIRST, replays: 0 }, never))).map(({ key }) => key).toSorted();
      expect(await left()).toEqual(['["t","1"]', '["t","2"]', '["t","3"]']);
      await held.forget(1, never);
      expect(await left()).toEqual(['["t","2"]', '["t","3"]']);
      await heldLetters(at.log);
      expect(await codeRejected(held.forget(2, never))).toBe('partition_fenced');
      expect(await left()).toEqual(['["t","2"]', '["t","3"]']);
    });
  });

  describe(`log: ${name}, with a limit`, () => {
    const BYTES_MAX = 1024 * 1024;
    const chunk = (partition: number): EncodedRecord => ({ partition, key: null, value: Buffer.alloc(100_000, 1) });

    it('waits when it is full, says so, and goes on when room is made', async () => {
      await using context = await makeContext({ partitions: PARTITIONS, bytesMax: BYTES_MAX });
      await using log = context.open();
      await log.provision(never);
      await log.retain(['warm'], never);
      const writer = await log.writer(never);
      expect(await log.usage(never)).toMatchObject({ bytesMax: BYTES_MAX, stalled: false });
      let appended = 0;
      const writing = (async () => {
        for (let index = 0; index < 30; index += 1) {
          await writer.append([chunk(0)], never);
          appended += 1;
        }
      })();
      const stall = async (): Promise<void> => {
        while (!(await log.usage(never)).stalled) await new Promise((resolve) => setImmediate(resolve));
      };
      await stall();
      expect(appended).toBeGreaterThan(5);
      expect(appended).toBeLessThan(11);
      expect((await log.usage(never)).bytes).toBeLessThanOrEqual(BYTES_MAX);
      // Reading, progress and dead letters go on meanwhile.
      expect(await readAll(log, 0)).toHaveLength(appended);
      const assignment = await assignmentOf(log, 'warm', 0);
      let offset = 0;
      for await (const batch of assignment.batches(0 as Offset, never)) {
        offset += batch.records.length;
        await assignment.commit(progressAt(offset, [7, offset]), never);
        if (offset === 30) break;
      }
      await writing;
      expect(await log.usage(never)).toMatchObject({ stalled: false });
      expect((await log.ends(never))[0]).toEqual({ start: 29, end: 30 });
    });

    it('keeps a stretch behind the slowest reader, and gives it up before it waits', async () => {
      await using context = await makeContext({ partitions: PARTITIONS, bytesMax: BYTES_MAX, keepBytes: 250_000 * PARTITIONS });
      await using log = context.open();
      await log.provision(never);
      await log.retain(['warm', 'cold'], never);
      const writer = await log.writer(never);
      for (let index = 0; index < 7; index += 1) await writer.append([chunk(0)], never);
      await (await assignmentOf(log, 'cold', 0)).commit(progressAt(7, [7, 7]), never);
      const assignment = await assignmentOf(log, 'warm', 0);
      for (const [offset, start] of [
        [2, 0],
        [4, 1],
        [7, 4],
      ] as const) {
        await assignment.commit(progressAt(offset, [7, offset]), never);
        expect((await log.ends(never))[0]?.start).toBe(start);
      }
      // Eight that nobody took: without the stretch there is room for them.
      for (let index = 0; index < 8; index += 1) await writer.append([chunk(0)], never);
      expect((await log.ends(never))[0]).toEqual({ start: 7, end: 15 });
      expect(await readAll(log, 0, 7)).toHaveLength(8);
    });

    it('takes an append that is larger than itself part by part, as room is made', async () => {
      await using context = await makeContext({ partitions: PARTITIONS, bytesMax: BYTES_MAX });
      await using log = context.open();
      await log.provision(never);
      await log.retain(['warm'], never);
      const writer = await log.writer(never);
      const records = Array.from({ length: 30 }, (_none, index) => chunk(index % 2));
      const appended = writer.append(records, never);
      const taken = await Promise.all(
        [0, 1].map(async (partition) => {
          const assignment = await assignmentOf(log, 'warm', partition);
          let offset = 0;
          for await (const batch of assignment.batches(0 as Offset, never)) {
            offset += batch.records.length;
            await assignment.commit(progressAt(offset, [7, offset]), never);
            if (offset === 15) break;
          }
          return offset;
        }),
      );
      expect(taken).toEqual([15, 15]);
      expect(await appended).toEqual(
        new Map([
          [0, 14],
          [1, 14],
        ]),
      );
      await (await assignmentOf(log, 'warm', 2)).commit(progressAt(0, null), never);
      expect((await log.usage(never)).bytes).toBeLessThanOrEqual(BYTES_MAX);
    });

    it('ends the wait with the signal, and has appended nothing then', async () => {
      await using context = await makeContext({ partitions: PARTITIONS, bytesMax: BYTES_MAX });
      await using log = context.open();
      await log.provision(never);
      const writer = await log.writer(never);
      const stop = new AbortController();
      const writing = (async () => {
        while (true) await writer.append([chunk(0)], stop.signal);
      })().catch((error: unknown) => error);
      while (!(await log.usage(never)).stalled) await new Promise((resolve) => setImmediate(resolve));
      const before = await log.ends(never);
      stop.abort(new Error('stopped'));
      expect(await writing).toMatchObject({ message: 'stopped' });
      expect(await log.ends(never)).toEqual(before);
      expect(await log.usage(never)).toMatchObject({ stalled: false });
    });
  });
}
