import { expect, it } from 'vitest';
import { Membership } from '../../../connectors/log-kafka/membership.ts';
import type { TopicBrokers } from '../../../connectors/log-kafka/topic-brokers.ts';
import { VirtualClock } from '../../support/test-runtime.ts';
import type { Logger } from '#core/runtime.ts';

it('a coordinator that is not there yet is warned of once it stays away', async () => {
  const clock = new VirtualClock();
  const warned: number[] = [];
  const logger: Logger = {
    log: (level) => {
      if (level === 'warn') warned.push(clock.runtime.monotonicMs());
    },
    with: () => logger,
  };
  // As a cluster answers that makes its topic for offsets.
  const absent = (): Promise<never> => Promise.reject(Object.assign(new Error('x'), { type: 'GROUP_COORDINATOR_NOT_AVAILABLE' }));
  const stop = new AbortController();
  const startedMs = clock.runtime.monotonicMs();
  const running = new Membership({
    brokers: { coordinator: absent } as unknown as TopicBrokers,
    ...{ groupId: 'g', topic: 't', partitions: 1, sessionTimeoutMs: 6_000 },
    runtime: clock.runtime,
    logger,
    onAssigned: () => undefined,
  }).run(stop.signal);
  running.catch(() => undefined);
  await clock.advance(4_900);
  expect(warned).toEqual([]);
  await clock.advance(10_000);
  expect(warned).toHaveLength(1);
  expect((warned[0] ?? 0) - startedMs).toBeLessThan(8_000);
  stop.abort(new Error('stopped'));
  await expect(running).rejects.toThrow('stopped');
});
