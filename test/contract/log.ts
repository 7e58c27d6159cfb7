import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import { codeOf } from '#core/errors.ts';
import type { RowKey } from '#core/key.ts';
import type { DeadLetter, EncodedRecord, Log, LogBatch, LogProgress, LogReader, PartitionAssignment, StoredRecord } from '#core/log.ts';
import type { FencingToken, Offset } from '#core/position.ts';
import type { Sequence } from '#core/sequence.ts';

export type LogContext = AsyncDisposable & {
  /** A Log over the same storage each time: what one leaves behind, the next one finds. */
  open(): Log;
};

export type LogContextInput = { readonly partitions: number; readonly bytesMax: number | null };

const never = new AbortController().signal;
const PARTITIONS = 3;

export function record(partition: number, text: string, key: string | null = `["t","${text}"]`): EncodedRecord {
  return { partition, key, value: Buffer.from(text) };
}

export function progressAt(offset: number, pair: readonly [generation: number, counter: number] | null): LogProgress {
  return { offset: offset as Offset, pair: pair === null ? null : { generation: pair[0] as FencingToken, counter: pair[1] } };
}

export function textsOf(batches: readonly LogBatch[]): readonly string[] {
  return batches.flatMap((batch) => batch.records.map((stored) => Buffer.from(stored.value).toString()));
}

export async function collect<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function readAll(log: Log, partition: number, from = 0): Promise<readonly StoredRecord[]> {
  return (await collect(log.read(partition, from as Offset, never))).flatMap((batch) => batch.records);
}

export async function assigned(reader: LogReader, count = PARTITIONS): Promise<readonly PartitionAssignment[]> {
  const assignments: PartitionAssignment[] = [];
  for await (const assignment of reader.assignments(never)) {
    assignments.push(assignment);
    if (assignments.length === count) break;
  }
  return assignments;
}

/** The assignment of one partition of a new reader. */
export async function assignmentOf(log: Log, consumer: string, partition: number, count = PARTITIONS): Promise<PartitionAssignment> {
  const found = (await assigned(await log.reader(consumer, never), count)).find((assignment) => assignment.partition === partition);
  if (found === undefined) throw new Error('the partition was not assigned');
  return found;
}

export async function codeRejected(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return codeOf(error);
  }
  return 'nothing was thrown';
}

function letter(key: string, over: Partial<DeadLetter> = {}): DeadLetter {
  return {
    key: key as RowKey,
    sequence: '0'.repeat(48) as Sequence,
    code: 'value_refused',
    reason: 'the target column is too short',
    record: Buffer.from(key),
    committedAtMicros: 1_790_000_000_000_000,
    ...over,
  };
}

/** What every log keeps. `makeContext` gives storage of its own to each test. */
export function logContract(name: string, makeContext: (input: LogContextInput) => Promise<LogContext>): void {
  describe(`log: ${name}`, () => {
    let context: LogContext;
    let log: Log;

    beforeEach(async () => {
      context = await makeContext({ partitions: PARTITIONS, bytesMax: null });
      log = context.open();
      await log.provision(never);
    });

    afterEach(async () => {
      await log[Symbol.asyncDispose]();
      await context[Symbol.asyncDispose]();
    });

    async function reopen(): Promise<void> {
      await log[Symbol.asyncDispose]();
      log = context.open();
      await log.provision(never);
    }

    async function append(...records: readonly EncodedRecord[]): Promise<ReadonlyMap<number, Offset>> {
      await using writer = await log.writer(never);
      return await writer.append(records, never);
    }

    describe('append', () => {
      it('gives each partition dense offsets from 0 and tells the last one', async () => {
        expect(await append(record(0, 'a'), record(2, 'b'), record(0, 'c'))).toEqual(
          new Map([
            [0, 1],
            [2, 0],
          ]),
        );
        expect(await append(record(0, 'd'))).toEqual(new Map([[0, 2]]));
        expect((await readAll(log, 0)).map((stored) => stored.offset)).toEqual([0, 1, 2]);
        expect(await log.ends(never)).toEqual([
          { start: 0, end: 3 },
          { start: 0, end: 0 },
          { start: 0, end: 1 },
        ]);
      });

      it('keeps keys and values to the byte', async () => {
        const records: EncodedRecord[] = [
          { partition: 0, key: null, value: Buffer.alloc(0) },
          { partition: 0, key: '', value: Uint8Array.of(0, 255, 10) },
          { partition: 0, key: '["public.é😀","\\u0000"]', value: Buffer.alloc(300_000, 7) },
          { partition: 0, key: null, value: Buffer.from('end') },
        ];
        await append(...records);
        const stored = await readAll(log, 0);
        expect(stored.map((one) => one.key)).toEqual(records.map((one) => one.key));
        for (const [index, one] of stored.entries()) expect(Buffer.compare(one.value, records[index]?.value ?? Buffer.from('?'))).toBe(0);
      });

      it('keeps the order of calls that do not wait for each other', async () => {
        await using writer = await log.writer(never);
        const texts = Array.from({ length: 200 }, (_none, index) => `r${index}`);
        const offsets = await Promise.all(texts.map((text) => writer.append([record(1, text)], never)));
        expect(offsets.map((offset) => offset.get(1))).toEqual(texts.map((_text, index) => index));
        expect((await readAll(log, 1)).map((stored) => Buffer.from(stored.value).toString())).toEqual(texts);
      });

      it('takes no record at all', async () => {
        expect(await append()).toEqual(new Map());
        expect(await log.ends(never)).toEqual(Array.from({ length: PARTITIONS }, () => ({ start: 0, end: 0 })));
      });

      it('takes nothing behind an append that failed', async () => {
        await using writer = await log.writer(never);
        const results = await Promise.all([
          codeRejected(writer.append([record(0, 'lost')], AbortSignal.abort())),
          codeRejected(writer.append([record(0, 'behind')], never)),
        ]);
        expect(results[1]).toBe('log_unavailable');
        expect(await readAll(log, 0)).toEqual([]);
        expect(await append(record(0, 'by another writer'))).toEqual(new Map([[0, 0]]));
      });
    });

    it('keeps records, progress and dead letters when it is closed and opened again', async () => {
      await append(record(0, 'a'), record(0, 'b'));
      await (await assignmentOf(log, 'warm', 0)).commit(progressAt(1, [7, 1]), never);
      await log.deadLetters('warm').park(0, [letter('["t","1"]')], never);
      await reopen();
      expect((await readAll(log, 0)).map((stored) => Buffer.from(stored.value).toString())).toEqual(['a', 'b']);
      expect(await (await assignmentOf(log, 'warm', 0)).committed(never)).toEqual(progressAt(1, [7, 1]));
      expect((await collect(log.deadLetters('warm').read(0, never))).map((one) => one.key)).toEqual(['["t","1"]']);
      expect(await append(record(0, 'c'))).toEqual(new Map([[0, 2]]));
    });

    describe('read', () => {
      it('begins where it is told and ends where the log ended when it was called', async () => {
        await append(...Array.from({ length: 10 }, (_none, index) => record(0, `a${index}`)));
        const seen: string[] = [];
        for await (const batch of log.read(0, 4 as Offset, never)) {
          seen.push(...textsOf([batch]));
          await append(record(0, 'later'));
        }
        expect(seen).toEqual(['a4', 'a5', 'a6', 'a7', 'a8', 'a9']);
        expect(await collect(log.read(1, 0 as Offset, never))).toEqual([]);
      });

      it('gives more than a page, without a hole', async () => {
        await using writer = await log.writer(never);
        for (let round = 0; round < 5; round += 1) {
          await writer.append(
            Array.from({ length: 1_500 }, (_none, index) => record(0, `${round * 1_500 + index}`)),
            never,
          );
        }
        const stored = await readAll(log, 0, 3);
        expect(stored).toHaveLength(7_497);
        for (const [index, one] of stored.entries()) {
          expect(one.offset).toBe(index + 3);
          expect(Buffer.from(one.value).toString()).toBe(`${index + 3}`);
        }
      });

      it('refuses an offset beyond the end', async () => {
        await append(record(0, 'a'));
        expect(await readAll(log, 0, 1)).toEqual([]);
        expect(await codeRejected(readAll(log, 0, 2))).toBe('log_offset_gone');
      });
    });

    describe('a reader', () => {
      it('is given every partition, with nothing committed at first', async () => {
        const assignments = await assigned(await log.reader('warm', never));
        expect(assignments.map((assignment) => assignment.partition)).toEqual([0, 1, 2]);
        for (const assignment of assignments) expect(await assignment.committed(never)).toBeNull();
      });

      it('waits for records and is woken by an append', async () => {
        const batches = (await assignmentOf(log, 'warm', 1)).batches(0 as Offset, never)[Symbol.asyncIterator]();
        for (const text of ['a', 'b', 'c']) {
          const next = batches.next();
          await append(record(0, 'elsewhere'), record(1, text));
          expect(textsOf([(await next).value as LogBatch])).toEqual([text]);
        }
        await batches.return?.();
      });

      it('sees what another Log of the same storage appends', async () => {
        await using other = context.open();
        const batches = (await assignmentOf(other, 'warm', 0)).batches(0 as Offset, never)[Symbol.asyncIterator]();
        const next = batches.next();
        await append(record(0, 'a'));
        expect(textsOf([(await next).value as LogBatch])).toEqual(['a']);
        await batches.return?.();
      });

      it('refuses an offset beyond the end instead of waiting there', async () => {
        await append(record(0, 'a'));
        const assignment = await assignmentOf(log, 'warm', 0);
        expect(await codeRejected(collect(assignment.batches(2 as Offset, never)))).toBe('log_offset_gone');
      });

      it('ends its waits with the signal, and when it is closed', async () => {
        const reader = await log.reader('warm', never);
        const first = present((await assigned(reader, 1))[0], 'the first assignment');
        const stop = new AbortController();
        const reason = new Error('stopped');
        const waits = [collect(first.batches(0 as Offset, stop.signal)), collect(reader.assignments(stop.signal))].map((wait) =>
          wait.then(
            () => 'ended',
            (error: unknown) => error,
          ),
        );
        stop.abort(reason);
        for (const wait of waits) expect(await wait).toBe(reason);
        const closed = collect(first.batches(0 as Offset, never)).then(
          () => 'ended',
          (error: unknown) => codeOf(error),
        );
        expect(first.revoked.aborted).toBe(false);
        await reader[Symbol.asyncDispose]();
        expect(first.revoked.aborted).toBe(true);
        expect(await closed).toBe('log_unavailable');
      });

      it('commits progress that never falls, compared by the pair', async () => {
        const assignment = await assignmentOf(log, 'warm', 0);
        const steps: readonly (readonly [LogProgress, LogProgress])[] = [
          [progressAt(5, null), progressAt(5, null)],
          [progressAt(4, null), progressAt(5, null)],
          [progressAt(5, [7, 5]), progressAt(5, [7, 5])],
          [progressAt(9, [6, 900]), progressAt(5, [7, 5])],
          [progressAt(9, [7, 4]), progressAt(5, [7, 5])],
          [progressAt(9, [7, 9]), progressAt(9, [7, 9])],
          [progressAt(12, [8, 1]), progressAt(12, [8, 1])],
          [progressAt(11, null), progressAt(12, [8, 1])],
        ];
        for (const [given, stored] of steps) {
          expect(await assignment.commit(given, never)).toEqual(stored);
          expect(await assignment.committed(never)).toEqual(stored);
        }
        expect(await (await assignmentOf(log, 'warm', 1)).committed(never)).toBeNull();
        expect(await (await assignmentOf(log, 'cold', 0)).committed(never)).toBeNull();
      });
    });

    describe('room', () => {
      async function appendOneByOne(count: number): Promise<void> {
        await using writer = await log.writer(never);
        for (let index = 0; index < count; index += 1) await writer.append([record(0, `${index}`)], never);
      }

      it('is made behind the slowest of the retained consumers, and the newest record stays', async () => {
        await appendOneByOne(10);
        const [fast, slow] = [await assignmentOf(log, 'fast', 0), await assignmentOf(log, 'slow', 0)];
        await log.retain(['fast', 'slow'], never);
        await fast.commit(progressAt(10, [7, 10]), never);
        expect((await log.ends(never))[0]).toEqual({ start: 0, end: 10 });
        await slow.commit(progressAt(4, [7, 4]), never);
        expect((await log.ends(never))[0]).toEqual({ start: 4, end: 10 });
        expect(await codeRejected(readAll(log, 0, 3))).toBe('log_offset_gone');
        expect(await codeRejected(collect(slow.batches(3 as Offset, never)))).toBe('log_offset_gone');
        expect(await readAll(log, 0, 4)).toHaveLength(6);
        await slow.commit(progressAt(10, [7, 10]), never);
        expect((await log.ends(never))[0]).toEqual({ start: 9, end: 10 });
        expect(await append(record(0, 'next'))).toEqual(new Map([[0, 10]]));
        await reopen();
        expect((await log.ends(never))[0]?.end).toBe(11);
      });

      it('is not made while nobody said who is retained, nor for an empty list', async () => {
        await appendOneByOne(3);
        await (await assignmentOf(log, 'warm', 0)).commit(progressAt(3, [7, 3]), never);
        expect((await log.ends(never))[0]).toEqual({ start: 0, end: 3 });
        await log.retain([], never);
        expect((await log.ends(never))[0]).toEqual({ start: 0, end: 3 });
      });

      it('is made when the consumer that held it back is removed or no longer retained', async () => {
        await appendOneByOne(5);
        await (await assignmentOf(log, 'fast', 0)).commit(progressAt(5, [7, 5]), never);
        await log.retain(['fast', 'slow'], never);
        expect((await log.ends(never))[0]?.start).toBe(0);
        await log.retain(['fast'], never);
        expect((await log.ends(never))[0]?.start).toBe(4);
      });
    });

    describe('dead letters', () => {
      it('keeps the letter parked last of each key, until it is released', async () => {
        const letters = log.deadLetters('warm');
        const last = letter('["t","1"]', { code: 'partial_without_base', record: null, reason: 'é' });
        await letters.park(0, [letter('["t","1"]'), letter('["t","2"]')], never);
        await letters.park(0, [last], never);
        await letters.park(1, [letter('["t","3"]')], never);
        await letters.release(0, ['["t","2"]', '["t","unknown"]'] as RowKey[], never);
        expect(await collect(letters.read(0, never))).toEqual([last]);
        expect((await collect(letters.read(1, never))).map((one) => one.key)).toEqual(['["t","3"]']);
        expect(await collect(log.deadLetters('cold').read(0, never))).toEqual([]);
        await reopen();
        expect(await collect(log.deadLetters('warm').read(0, never))).toEqual([last]);
      });

      it('gives the record back to the byte', async () => {
        const parked = letter('["t","1"]', { record: Uint8Array.of(0, 1, 255) });
        await log.deadLetters('warm').park(2, [parked], never);
        const [read] = await collect(log.deadLetters('warm').read(2, never));
        expect([...(read?.record ?? [])]).toEqual([0, 1, 255]);
      });

      it('gives every one of many', async () => {
        const letters = Array.from({ length: 300 }, (_none, index) => letter(`["t","${index}"]`));
        await log.deadLetters('warm').park(0, letters, never);
        const keys = (await collect(log.deadLetters('warm').read(0, never))).map((one) => one.key);
        expect(new Set(keys)).toEqual(new Set(letters.map((one) => one.key)));
        expect(keys).toHaveLength(300);
      });
    });

    describe('remove', () => {
      it('frees what one consumer has, and nothing else', async () => {
        await append(record(0, 'a'), record(0, 'b'));
        for (const consumer of ['warm', 'cold']) {
          await (await assignmentOf(log, consumer, 0)).commit(progressAt(1, [7, 1]), never);
          await log.deadLetters(consumer).park(0, [letter('["t","1"]')], never);
        }
        expect(await log.remove('warm', never)).not.toEqual([]);
        expect(await log.remove('warm', never)).toEqual([]);
        expect(await (await assignmentOf(log, 'warm', 0)).committed(never)).toBeNull();
        expect(await collect(log.deadLetters('warm').read(0, never))).toEqual([]);
        expect(await (await assignmentOf(log, 'cold', 0)).committed(never)).toEqual(progressAt(1, [7, 1]));
        expect(await collect(log.deadLetters('cold').read(0, never))).toHaveLength(1);
        expect(await readAll(log, 0)).toHaveLength(2);
      });

      it('frees everything, after which the log can be made again', async () => {
        await append(record(0, 'a'));
        await (await assignmentOf(log, 'warm', 0)).commit(progressAt(1, [7, 1]), never);
        expect(await log.remove(null, never)).not.toEqual([]);
        await log.provision(never);
        expect((await log.ends(never))[0]).toEqual({ start: 0, end: 0 });
        expect(await (await assignmentOf(log, 'warm', 0)).committed(never)).toBeNull();
        expect(await append(record(0, 'a'))).toEqual(new Map([[0, 0]]));
      });
    });

    it('rejects every call whose signal has aborted', async () => {
      const stopped = AbortSignal.abort(new Error('stopped'));
      const assignment = await assignmentOf(log, 'warm', 0);
      const calls = [
        log.provision(stopped),
        log.ends(stopped),
        log.usage(stopped),
        log.writer(stopped),
        log.reader('warm', stopped),
        collect(log.read(0, 0 as Offset, stopped)),
        assignment.committed(stopped),
        assignment.commit(progressAt(1, null), stopped),
        collect(assignment.batches(0 as Offset, stopped)),
        log.deadLetters('warm').park(0, [letter('["t","1"]')], stopped),
      ];
      for (const call of calls) await expect(call).rejects.toThrow('stopped');
      expect(await assignment.committed(never)).toBeNull();
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
