import { expect, test } from 'vitest';
import { codeRejected } from '../../contract/log-support.ts';
import { askedLeaderships, newestLeaderships, type Leadership, type Told } from '../../../connectors/log-kafka/leadership.ts';

/** What a broker tells of partition 0, which three have copies of. */
function told(broker: number, leader: number, epoch: number, over: Partial<Leadership> = {}): Told {
  return { broker, partitions: [{ partition: 0, leader, epoch, replicas: [1, 2, 3], isr: [1, 2, 3], ...over }] };
}

function leaderOf(answers: readonly Told[], allAnswered = false): readonly (number | undefined)[] {
  const found = newestLeaderships(answers, allAnswered).get(0);
  return [found?.leader, found?.epoch];
}

test('of what more than half of the copies tell the newest counts, in whatever order', () => {
  const [stale, second, third] = [told(1, 1, 4), told(2, 2, 5), told(3, 2, 5)];
  expect(leaderOf([stale, second])).toEqual([2, 5]);
  expect(leaderOf([third, stale])).toEqual([2, 5]);
  // One that does not know the topic yet has done nothing in it.
  expect(leaderOf([told(2, 2, 0), { broker: 3, partitions: [] }])).toEqual([2, 0]);
});

test('one of three that names itself is not believed, whether or not the others have failed, unless it alone was in step', () => {
  expect(leaderOf([told(1, 1, 4)])).toEqual([-1, 4]);
  expect(leaderOf([told(1, 1, 4)], true)).toEqual([-1, 4]);
  // A broker without a copy proves nothing.
  expect(leaderOf([told(1, 1, 4), told(9, 1, 4)])).toEqual([-1, 4]);
  expect(leaderOf([told(1, 1, 4, { isr: [1] })])).toEqual([-1, 4]);
  expect(leaderOf([told(1, 1, 4, { isr: [1] })], true)).toEqual([1, 4]);
  expect(leaderOf([told(1, 1, 0, { replicas: [1], isr: [1] })])).toEqual([1, 0]);
});

test('each partition is judged by its own copies', () => {
  const [first] = told(1, 1, 4).partitions;
  const second = { partition: 1, leader: 7, epoch: 0, replicas: [7], isr: [7] };
  const newest = newestLeaderships([{ broker: 7, partitions: [first, second].filter((one) => one !== undefined) }], true);
  expect([...newest.values()].map(({ leader }) => leader)).toEqual([-1, 7]);
});

test('one that hangs is not waited for once the others prove it, and is where they do not', async () => {
  const hanging = Promise.withResolvers<Told>();
  const dead = Promise.reject<Told>(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }));
  const second = Promise.resolve(told(2, 2, 5));
  const quick = askedLeaderships([hanging.promise, second, Promise.resolve(told(3, 2, 5))]);
  const turn = new Promise<null>((resolve) => setImmediate(() => resolve(null)));
  expect((await Promise.race([quick, turn]))?.get(0)?.leader).toBe(2);
  const waits = askedLeaderships([second, hanging.promise, dead]);
  hanging.resolve(told(3, 3, 6));
  expect((await waits).get(0)).toMatchObject({ leader: 3, epoch: 6 });
  expect((await askedLeaderships([dead, second])).get(0)?.leader).toBe(-1);
});

test('where nobody answers the error is told, and a topic that nobody knows is not there', async () => {
  await expect(askedLeaderships([Promise.reject(new Error('refused'))])).rejects.toThrow('refused');
  expect(await codeRejected(askedLeaderships([]))).toBe('log_unavailable');
  expect((await askedLeaderships([Promise.resolve({ broker: 1, partitions: [] })])).size).toBe(0);
});
