import { expect, test } from 'vitest';
import { offsetOf } from '#core/position.ts';
import type { PartitionAssignment } from '#core/log.ts';
import type { Fetcher } from '../../../connectors/log-kafka/fetch.ts';
import { GroupReader } from '../../../connectors/log-kafka/group.ts';
import type { Membership } from '../../../connectors/log-kafka/membership.ts';
import type { KeptBrokers } from '../../../connectors/log-kafka/topic-brokers.ts';
import { realRuntime } from '../../support/test-runtime.ts';

const never = new AbortController().signal;

/** A group kept by one broker of two, which `move` changes: the other one then refuses. */
function moving() {
  const asked: number[] = [];
  const committed: number[] = [];
  let keeper = 1;
  const broker = (nodeId: number) => ({
    nodeId,
    offsetFetch: () => Promise.resolve({ responses: [{ partitions: [{ partition: 0, offset: '-1', metadata: null }] }] }),
    offsetCommit: () => {
      if (nodeId !== keeper) return Promise.reject(Object.assign(new Error('moved'), { type: 'NOT_COORDINATOR_FOR_GROUP' }));
      committed.push(nodeId);
      return Promise.resolve();
    },
  });
  const client = () => ({
    coordinator: () => {
      asked.push(keeper);
      return Promise.resolve(broker(keeper));
    },
    cluster: { findBroker: ({ nodeId }: { readonly nodeId: number }) => Promise.resolve(broker(nodeId)) },
  });
  // As `KeptBrokers`: another client after a failure, and the same work again.
  let kept = client();
  const use = async (_signal: AbortSignal, work: (now: unknown) => Promise<unknown>): Promise<unknown> => {
    try {
      return await work(kept);
    } catch {
      kept = client();
      return await work(kept);
    }
  };
  return { brokers: { use } as unknown as KeptBrokers, asked, committed, move: () => void (keeper = 3 - keeper) };
}

test('the coordinator is asked for once, and again when it has moved', async () => {
  const { brokers, asked, committed, move } = moving();
  const closing = Promise.withResolvers<undefined>();
  const reader = new GroupReader({
    groupId: 'g',
    topic: 't',
    partitions: 1,
    brokers,
    fetcher: null as unknown as Fetcher,
    runtime: realRuntime(),
    membership: (onAssigned) =>
      ({
        token: { memberId: '', groupGenerationId: 1 },
        run: () => {
          queueMicrotask(() => onAssigned([0], true));
          return closing.promise;
        },
      }) as unknown as Membership,
    close: () => {
      closing.resolve(undefined);
      return Promise.resolve();
    },
  });
  const [assignment] = (await Array.fromAsync(firstOf(reader.assignments(never)))) as [PartitionAssignment];
  for (const offset of [1, 2, 3]) await assignment.commit({ offset: offsetOf(offset), pair: null }, never);
  expect(asked).toEqual([1]);
  move();
  for (const offset of [4, 5]) await assignment.commit({ offset: offsetOf(offset), pair: null }, never);
  expect(asked).toEqual([1, 2]);
  expect(committed).toEqual([1, 1, 1, 2, 2]);
  await reader[Symbol.asyncDispose]();
});

async function* firstOf<T>(all: AsyncIterable<T>): AsyncIterable<T> {
  for await (const one of all) {
    yield one;
    return;
  }
}
