import { describe, expect, it } from 'vitest';
import { present } from '#core/assert.ts';
import { codeOf } from '#core/errors.ts';
import type { EncodedRecord, LogBatch, LogProgress } from '#core/log.ts';
import type { Offset } from '#core/position.ts';
import { logHeldContract } from './log-held.ts';
import { logRoomContract } from './log-room.ts';
import {
  assigned,
  assignmentOf,
  codeRejected,
  collect,
  letter,
  type LogContext,
  LogAtHand,
  type LogContextInput,
  type LogFreedBy,
  never,
  PARTITIONS,
  progressAt,
  readAll,
  record,
  textsOf,
  heldLetters,
} from './log-support.ts';

/** What every log keeps. `makeContext` gives storage of its own to each test. */
export function logContract(
  name: string,
  makeContext: (input: LogContextInput) => Promise<LogContext>,
  options: { readonly freedBy: LogFreedBy } = { freedBy: 'progress' },
): void {
  describe(`log: ${name}`, () => {
    const at = new LogAtHand(makeContext);

    describe('append', () => {
      it('gives each partition dense offsets from 0 and tells the last one', async () => {
        expect(await at.append(record(0, 'a'), record(2, 'b'), record(0, 'c'))).toEqual(
          new Map([
            [0, 1],
            [2, 0],
          ]),
        );
        expect(await at.append(record(0, 'd'))).toEqual(new Map([[0, 2]]));
        expect((await readAll(at.log, 0)).map((stored) => stored.offset)).toEqual([0, 1, 2]);
        expect(await at.log.ends(never)).toEqual([
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
        await at.append(...records);
        const stored = await readAll(at.log, 0);
        expect(stored.map((one) => one.key)).toEqual(records.map((one) => one.key));
        for (const [index, one] of stored.entries()) expect(Buffer.compare(one.value, records[index]?.value ?? Buffer.from('?'))).toBe(0);
      });

      it('keeps the order of calls that do not wait for each other', async () => {
        await using writer = await at.log.writer(never);
        const texts = Array.from({ length: 200 }, (_none, index) => `r${index}`);
        const offsets = await Promise.all(texts.map((text) => writer.append([record(1, text)], never)));
        expect(offsets.map((offset) => offset.get(1))).toEqual(texts.map((_text, index) => index));
        expect((await readAll(at.log, 1)).map((stored) => Buffer.from(stored.value).toString())).toEqual(texts);
      });

      it('takes no record at all', async () => {
        expect(await at.append()).toEqual(new Map());
        expect(await at.log.ends(never)).toEqual(Array.from({ length: PARTITIONS }, () => ({ start: 0, end: 0 })));
      });

      it('takes nothing behind an append that failed', async () => {
        await using writer = await at.log.writer(never);
        const results = await Promise.all([
          codeRejected(writer.append([record(0, 'lost')], AbortSignal.abort())),
          codeRejected(writer.append([record(0, 'behind')], never)),
        ]);
        expect(results[1]).toBe('log_unavailable');
        expect(await readAll(at.log, 0)).toEqual([]);
        expect(await at.append(record(0, 'by another writer'))).toEqual(new Map([[0, 0]]));
      });
    });

    it('keeps records, progress and dead letters when it is closed and opened again', async () => {
      await at.append(record(0, 'a'), record(0, 'b'));
      await (await at.assignment('warm', 0)).commit(progressAt(1, [7, 1]), never);
      await (await heldLetters(at.log)).park([letter('["t","1"]')], never);
      await at.reopen();
      expect((await readAll(at.log, 0)).map((stored) => Buffer.from(stored.value).toString())).toEqual(['a', 'b']);
      expect(await (await at.assignment('warm', 0)).committed(never)).toEqual(progressAt(1, [7, 1]));
      expect((await collect(at.log.deadLetters('warm').read(0, never))).map((one) => one.key)).toEqual(['["t","1"]']);
      expect(await at.append(record(0, 'c'))).toEqual(new Map([[0, 2]]));
    });

    describe('read', () => {
      it('begins where it is told and ends where the log ended when it was called', async () => {
        await at.append(...Array.from({ length: 10 }, (_none, index) => record(0, `a${index}`)));
        const seen: string[] = [];
        for await (const batch of at.log.read(0, 4 as Offset, never)) {
          seen.push(...textsOf([batch]));
          await at.append(record(0, 'later'));
        }
        expect(seen).toEqual(['a4', 'a5', 'a6', 'a7', 'a8', 'a9']);
        expect(await collect(at.log.read(1, 0 as Offset, never))).toEqual([]);
      });

      it('gives more than a page, without a hole', async () => {
        await using writer = await at.log.writer(never);
        for (let round = 0; round < 5; round += 1) {
          await writer.append(
            Array.from({ length: 1_500 }, (_none, index) => record(0, `${round * 1_500 + index}`)),
            never,
          );
        }
        const stored = await readAll(at.log, 0, 3);
        expect(stored).toHaveLength(7_497);
        for (const [index, one] of stored.entries()) {
          expect(one.offset).toBe(index + 3);
          expect(Buffer.from(one.value).toString()).toBe(`${index + 3}`);
        }
      });

      it('refuses an offset beyond the end', async () => {
        await at.append(record(0, 'a'));
        expect(await readAll(at.log, 0, 1)).toEqual([]);
        expect(await codeRejected(readAll(at.log, 0, 2))).toBe('log_offset_gone');
      });
    });

    describe('a reader', () => {
      it('is given every partition, with nothing committed at first', async () => {
        await using reader = await at.log.reader('warm', never);
        const assignments = await assigned(reader, PARTITIONS);
        expect(assignments.map((assignment) => assignment.partition)).toEqual([0, 1, 2]);
        for (const assignment of assignments) expect(await assignment.committed(never)).toBeNull();
      });

      it('waits for records and is woken by an append', async () => {
        const batches = (await at.assignment('warm', 1)).batches(0 as Offset, never)[Symbol.asyncIterator]();
        for (const text of ['a', 'b', 'c']) {
          const next = batches.next();
          await at.append(record(0, 'elsewhere'), record(1, text));
          expect(textsOf([(await next).value as LogBatch])).toEqual([text]);
        }
        await batches.return?.();
      });

      it('sees what another Log of the same storage appends', async () => {
        await using other = at.context.open();
        const batches = (await assignmentOf(other, 'warm', 0)).batches(0 as Offset, never)[Symbol.asyncIterator]();
        const next = batches.next();
        await at.append(record(0, 'a'));
        expect(textsOf([(await next).value as LogBatch])).toEqual(['a']);
        await batches.return?.();
      });

      it('refuses an offset beyond the end instead of waiting there', async () => {
        await at.append(record(0, 'a'));
        const assignment = await at.assignment('warm', 0);
        expect(await codeRejected(collect(assignment.batches(2 as Offset, never)))).toBe('log_offset_gone');
      });

      it('ends its waits with the signal, and when it is closed', async () => {
        const reader = await at.log.reader('warm', never);
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
        const assignment = await at.assignment('warm', 0);
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
        expect(await (await at.assignment('warm', 1)).committed(never)).toBeNull();
        expect(await (await at.assignment('cold', 0)).committed(never)).toBeNull();
      });

      it('lowers progress where the sink went back, and only there', async () => {
        const assignment = await at.assignment('warm', 0);
        const steps: readonly (readonly [LogProgress, LogProgress | null])[] = [
          [progressAt(2, [7, 2]), null],
          [progressAt(5, [7, 5]), progressAt(5, [7, 5])],
          [progressAt(7, [7, 7]), progressAt(5, [7, 5])],
        ];
        for (const [to, stored] of steps) {
          await assignment.rewind(to, never);
          expect(await assignment.committed(never)).toEqual(stored);
          if (stored === null) await assignment.commit(progressAt(8, [7, 8]), never);
        }
        expect(await assignment.commit(progressAt(6, [7, 6]), never)).toEqual(progressAt(6, [7, 6]));
      });
    });
  });
  logHeldContract(name, makeContext);
  if (options.freedBy === 'progress') logRoomContract(name, makeContext);
}
