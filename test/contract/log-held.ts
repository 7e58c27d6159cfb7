import { describe, expect, it } from 'vitest';
import type { RowKey } from '#core/key.ts';
import type { LetterRelease } from '#core/log.ts';
import { OFFSET_FIRST, type Offset } from '#core/position.ts';
import type { Sequence } from '#core/sequence.ts';
import {
  codeRejected,
  collect,
  heldLetters,
  letter,
  type LogContext,
  LogAtHand,
  type LogContextInput,
  never,
  progressAt,
  readAll,
  record,
} from './log-support.ts';

const [at1, at2] = ['1', '2'].map((digit) => digit.padStart(48, '0')) as [Sequence, Sequence];

function released(key: string, sequence: Sequence, at: number | null = null, replay = 0): LetterRelease {
  return { key: key as RowKey, sequence, at: at as Offset | null, replay };
}

/** What every log keeps about dead letters and removal. A part of the log's contract. */
export function logHeldContract(name: string, makeContext: (input: LogContextInput) => Promise<LogContext>): void {
  describe(`log: ${name}, what it holds`, () => {
    const at = new LogAtHand(makeContext);

    describe('dead letters', () => {
      it('keeps the newest letter of each key, until it is released', async () => {
        const letters = at.log.deadLetters('warm');
        const held = await heldLetters(at.log);
        const last = letter('["t","1"]', { sequence: at2, code: 'partial_without_base', record: null, reason: 'é' });
        await held.park([letter('["t","1"]'), letter('["t","2"]')], never);
        await held.park([last], never);
        await (await heldLetters(at.log, 'warm', 1)).park([letter('["t","3"]')], never);
        await held.release([released('["t","2"]', at1), released('["t","unknown"]', at2)], never);
        expect(await collect(letters.read(0, never))).toEqual([last]);
        expect((await collect(letters.read(1, never))).map((one) => one.key)).toEqual(['["t","3"]']);
        expect(await collect(at.log.deadLetters('cold').read(0, never))).toEqual([]);
        await at.reopen();
        expect(await collect(at.log.deadLetters('warm').read(0, never))).toEqual([last]);
      });

      it('are not touched by a worker that was fenced and acts late: a newer letter stays', async () => {
        const letters = at.log.deadLetters('warm');
        const held = await heldLetters(at.log);
        const newer = letter('["t","1"]', { sequence: at2, record: null });
        await held.park([letter('["t","1"]', { sequence: at1 }), letter('["t","2"]', { sequence: at1 })], never);
        await held.park([newer], never);
        await held.release([released('["t","1"]', at1), released('["t","2"]', at1)], never);
        expect(await collect(letters.read(0, never))).toEqual([newer]);
        await held.park([letter('["t","1"]', { sequence: at1 })], never);
        expect(await collect(letters.read(0, never))).toEqual([newer]);
        // The same one again, after a reply was lost.
        await held.park([newer], never);
        await held.release([released('["t","1"]', at2)], never);
        await held.release([released('["t","1"]', at2)], never);
        expect(await collect(letters.read(0, never))).toEqual([]);
      });

      it('are written by their last holder only: what an earlier one sent comes too late', async () => {
        const keys = async (): Promise<readonly string[]> =>
          (await collect(at.log.deadLetters('warm').read(0, never))).map(({ key }) => key);
        const earlier = await heldLetters(at.log);
        await earlier.park([letter('["t","1"]')], never);
        await heldLetters(at.log, 'warm', 1);
        await heldLetters(at.log, 'cold');
        await earlier.park([letter('["t","2"]')], never);
        await heldLetters(at.log);
        const late = [() => earlier.park([letter('["t","3"]')], never), () => earlier.release([released('["t","1"]', at2, 4)], never)];
        for (const call of late) expect(await codeRejected(call())).toBe('partition_fenced');
        expect(await keys()).toEqual(['["t","1"]', '["t","2"]']);
        expect(await at.log.remove('warm', never)).not.toEqual([]);
        await at.prepare();
        await (await heldLetters(at.log)).park([letter('["t","4"]')], never);
        for (const call of late) expect(await codeRejected(call())).toBe('partition_fenced');
        expect(await keys()).toEqual(['["t","4"]']);
      });

      it('that were released can be read from the place where they went, but for those that were given up', async () => {
        const letters = at.log.deadLetters('warm');
        let held = await heldLetters(at.log);
        const all = ['1', '2', '3', '4'].map((id) => letter(`["t","${id}"]`));
        await held.park(all, never);
        await held.release([released('["t","1"]', at1, 4), released('["t","2"]', at1, 5)], never);
        await held.release([released('["t","3"]', at1, 6), released('["t","4"]', at1)], never);
        expect(await collect(letters.read(0, never))).toEqual([]);
        await at.reopen();
        const again = at.log.deadLetters('warm');
        held = await heldLetters(at.log);
        const since = async (from: number, replays = 0): Promise<string> =>
          (await collect(again.readReleased(0, { offset: from as Offset, replays }, never)))
            .map(({ key }) => (JSON.parse(key) as string[])[1])
            .toSorted()
            .join();
        expect(await since(0)).toBe('1,2,3');
        expect(await since(5)).toBe('2,3');
        expect(await collect(again.readReleased(1, { offset: OFFSET_FIRST, replays: 0 }, never))).toEqual([]);
        expect(await collect(at.log.deadLetters('cold').readReleased(0, { offset: OFFSET_FIRST, replays: 0 }, never))).toEqual([]);
        // Released once more, by whom the sink took it from: where it went last counts, whoever comes late.
        await held.release([released('["t","1"]', at1, 9), released('["t","2"]', at1, 1)], never);
        expect(await since(5)).toBe('1,2,3');
        // What comes late from a worker that was fenced: nothing lost what released the key.
        await held.park([letter('["t","1"]'), letter('["t","2"]')], never);
        expect(await since(0)).toBe('1,2,3');
        await held.park([{ ...letter('["t","1"]'), again: true }], never);
        expect(await since(0)).toBe('2,3');
        expect((await collect(again.read(0, never))).map(({ key }) => key)).toEqual(['["t","1"]']);
        await held.release([released('["t","1"]', at1, 9)], never);
        const newer = letter('["t","2"]', { sequence: at2 });
        await held.park([newer], never);
        expect(await since(0)).toBe('1,3');
        expect(await collect(again.read(0, never))).toEqual([{ ...newer, record: expect.anything() as Uint8Array }]);
        await held.release([released('["t","1"]', at1)], never);
        expect(await since(0)).toBe('3');
      });

      it('that a replay released can be read by whom the sink does not show that replay, however far it is', async () => {
        const letters = at.log.deadLetters('warm');
        const held = await heldLetters(at.log);
        await held.park(
          ['1', '2', '3'].map((id) => letter(`["t","${id}"]`)),
          never,
        );
        await held.release([released('["t","1"]', at1, 4, 7), released('["t","2"]', at1, 4, 8), released('["t","3"]', at1, 4)], never);
        const since = async (offset: number, replays: number): Promise<readonly string[]> =>
          (await collect(letters.readReleased(0, { offset: offset as Offset, replays }, never)))
            .map(({ key, replay }) => `${(JSON.parse(key) as string[])[1]} ${replay}`)
            .toSorted();
        expect(await since(99, 6)).toEqual(['1 7', '2 8']);
        expect(await since(99, 7)).toEqual(['2 8']);
        expect(await since(99, 8)).toEqual([]);
        expect(await since(4, 8)).toEqual(['1 7', '2 8', '3 0']);
        // What a record of the log releases once more stays what the replay released, too.
        await held.release([released('["t","2"]', at1, 9)], never);
        expect(await since(99, 7)).toEqual(['2 8']);
        // What is parked anew was released by nothing.
        await held.park([{ ...letter('["t","2"]'), again: true }], never);
        await held.release([released('["t","2"]', at1, 4)], never);
        expect(await since(99, 0)).toEqual(['1 7']);
      });

      it('gives the record back to the byte', async () => {
        const parked = letter('["t","1"]', { record: Uint8Array.of(0, 1, 255) });
        await (await heldLetters(at.log, 'warm', 2)).park([parked], never);
        const [read] = await collect(at.log.deadLetters('warm').read(2, never));
        expect([...(read?.record ?? [])]).toEqual([0, 1, 255]);
      });

      it('gives every one of many', async () => {
        const letters = Array.from({ length: 300 }, (_none, index) => letter(`["t","${index}"]`));
        await (await heldLetters(at.log)).park(letters, never);
        const keys = (await collect(at.log.deadLetters('warm').read(0, never))).map((one) => one.key);
        expect(new Set(keys)).toEqual(new Set(letters.map((one) => one.key)));
        expect(keys).toHaveLength(300);
      });
    });

    describe('remove', () => {
      it('frees what one consumer has, and nothing else', async () => {
        await at.append(record(0, 'a'), record(0, 'b'));
        for (const consumer of ['warm', 'cold']) {
          await (await at.assignment(consumer, 0)).commit(progressAt(1, [7, 1]), never);
          await (await heldLetters(at.log, consumer)).park([letter('["t","1"]')], never);
        }
        await at.leave();
        expect(await at.log.remove('warm', never)).not.toEqual([]);
        expect(await at.log.remove('warm', never)).toEqual([]);
        await at.prepare();
        expect(await (await at.assignment('warm', 0)).committed(never)).toBeNull();
        expect(await collect(at.log.deadLetters('warm').read(0, never))).toEqual([]);
        expect(await (await at.assignment('cold', 0)).committed(never)).toEqual(progressAt(1, [7, 1]));
        expect(await collect(at.log.deadLetters('cold').read(0, never))).toHaveLength(1);
        expect(await readAll(at.log, 0)).toHaveLength(2);
      });

      it('frees everything, after which the log can be made again', async () => {
        await at.append(record(0, 'a'));
        await (await at.assignment('warm', 0)).commit(progressAt(1, [7, 1]), never);
        await at.leave();
        expect(await at.log.remove(null, never)).not.toEqual([]);
        await at.log.provision(never);
        expect((await at.log.ends(never))[0]).toEqual({ start: 0, end: 0 });
        expect(await (await at.assignment('warm', 0)).committed(never)).toBeNull();
        expect(await at.append(record(0, 'a'))).toEqual(new Map([[0, 0]]));
      });
    });

    it('rejects every call whose signal has aborted', async () => {
      const stopped = AbortSignal.abort(new Error('stopped'));
      const assignment = await at.assignment('warm', 0);
      const held = await heldLetters(at.log);
      const calls = [
        at.log.provision(stopped),
        at.log.ends(stopped),
        at.log.usage(stopped),
        at.log.prepareConsumer('warm', { known: false }, stopped),
        at.log.writer(stopped),
        at.log.reader('warm', stopped),
        collect(at.log.read(0, 0 as Offset, stopped)),
        assignment.committed(stopped),
        assignment.commit(progressAt(1, null), stopped),
        assignment.rewind(progressAt(0, null), stopped),
        collect(assignment.batches(0 as Offset, stopped)),
        at.log.deadLetters('warm').take(0, stopped),
        held.park([letter('["t","1"]')], stopped),
      ];
      for (const call of calls) await expect(call).rejects.toThrow('stopped');
      expect(await assignment.committed(never)).toBeNull();
    });
  });
}
