import { beforeEach, expect, test, vi } from 'vitest';
import { CausewayError, codeOf } from '#core/errors.ts';
import { answerOf, errorOf } from '../../../connectors/log-embedded/thread-messages.ts';
import { WriterThread } from '../../../connectors/log-embedded/writer-thread.ts';
import { resultCodeOf } from '../../../connectors/lib/sqlite/result-code.ts';

const { FakeWorker, made } = await vi.hoisted(async () => {
  const events = await import('node:events');
  class Fake extends events.EventEmitter {
    readonly posted: unknown[] = [];
    isReferenced = true;

    constructor() {
      super();
      all.push(this);
    }

    postMessage(message: unknown): void {
      this.posted.push(message);
    }

    ref(): void {
      this.isReferenced = true;
    }

    unref(): void {
      this.isReferenced = false;
    }
  }
  const all: Fake[] = [];
  return { FakeWorker: Fake, made: all };
});
vi.mock('node:worker_threads', () => ({ Worker: FakeWorker }));

beforeEach(() => made.splice(0));

function started(): { thread: WriterThread; worker: InstanceType<typeof FakeWorker> } {
  const thread = new WriterThread({ path: 'log.db', pipeline: 'orders', partitions: 2 });
  const [worker] = made;
  if (worker === undefined) throw new Error('no thread was started');
  return { thread, worker };
}

test('each request gets its own answer, and the process stays only while one is missing', async () => {
  const { thread, worker } = started();
  expect(worker.isReferenced).toBe(false);
  const first = thread.perform('remove', { consumer: 'a' });
  const second = thread.perform('remove', { consumer: 'b' });
  expect(worker.isReferenced).toBe(true);
  worker.emit('message', { tag: 'done', result: { progress: 1, letters: 0 } });
  worker.emit('message', answerOf(new CausewayError('log_damaged', 'broken')));
  expect(await first).toEqual({ progress: 1, letters: 0 });
  await expect(second).rejects.toMatchObject({ code: 'log_damaged', message: 'broken' });
  expect(worker.isReferenced).toBe(false);
});

test('whoever closes it waits for its end, although the last answer came before', async () => {
  const { thread, worker } = started();
  const waiting = thread.perform('remove', { consumer: 'a' });
  const closed = thread.close();
  worker.emit('message', { tag: 'done', result: { progress: 1, letters: 0 } });
  await waiting;
  expect(worker.isReferenced).toBe(true);
  worker.emit('exit', 0);
  await closed;
});

test('what is on its way when the thread ends is not known, and nothing is taken behind it', async () => {
  const { thread, worker } = started();
  const waiting = thread.perform('remove', { consumer: 'a' });
  const cause = new Error('out of memory');
  worker.emit('error', cause);
  worker.emit('exit', 1);
  await expect(waiting).rejects.toMatchObject({ code: 'log_unavailable', cause });
  await expect(thread.perform('remove', { consumer: 'b' })).rejects.toMatchObject({ code: 'log_unavailable' });
  expect(thread.ended).toBe(true);
  expect(worker.posted.length).toBe(1);
  await thread.close();
});

test('an error keeps on its way between threads what decides about it', () => {
  const carried = (error: unknown): Error => errorOf(structuredClone(answerOf(error)));
  expect(codeOf(carried(new CausewayError('log_full', 'no room')))).toBe('log_full');
  const full = Object.assign(new Error('database or disk is full'), { errcode: 13, errstr: 'database or disk is full' });
  expect(resultCodeOf(carried(full))).toBe(13);
  const defect = carried(new TypeError('a defect'));
  expect(codeOf(defect)).toBe('internal');
  expect(defect.message).toBe('a defect');
});
