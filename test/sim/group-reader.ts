// A member of a consumer group: the product's own reader of Kafka over a coordinator behind the line.
import { CausewayError } from '#core/errors.ts';
import type { LogProgress, LogReader } from '#core/log.ts';
import type { Runtime } from '#core/runtime.ts';
import { kafkaError } from '../../connectors/log-kafka/errors.ts';
import { GroupReader } from '../../connectors/log-kafka/group.ts';
import type { Fetcher } from '../../connectors/log-kafka/fetch.ts';
import type { Broker } from '../../connectors/log-kafka/kafkajs-internals.ts';
import { Membership } from '../../connectors/log-kafka/membership.ts';
import type { KeptBrokers, TopicBrokers } from '../../connectors/log-kafka/topic-brokers.ts';
import { mapIn, type MemoryLogStore } from '../support/memory-log-store.ts';
import { silentLogger } from '../support/silent-logger.ts';
import type { GroupCoordinator } from './group-coordinator.ts';
import type { Line } from './network.ts';
import { linePages, type LogWatcher } from './ports.ts';

/** Shorter than the product's own, in proportion to its heartbeat. */
const SESSION_MS = 1_500;
const TOPIC = 'causeway.orders';

type Parts = {
  readonly line: Line;
  readonly store: MemoryLogStore;
  readonly consumer: string;
  readonly coordinator: GroupCoordinator;
  readonly watcher: LogWatcher;
  readonly runtime: Runtime;
};

export function groupReader(parts: Parts): LogReader {
  const { line, store, consumer, coordinator, runtime } = parts;
  const closed = new AbortController();
  const ofMembership = brokersOf(parts, closed.signal);
  const ofOffsets = brokersOf(parts, null);
  const group = { groupId: consumer, topic: TOPIC, partitions: store.partitions.length };
  return new GroupReader({
    ...group,
    runtime,
    brokers: offsetsOver(ofOffsets) as unknown as KeptBrokers,
    fetcher: pagesOver(line, store) as unknown as Fetcher,
    membership: (onAssigned) =>
      new Membership({ ...group, brokers: ofMembership, sessionTimeoutMs: SESSION_MS, runtime, logger: silentLogger, onAssigned }),
    close: () => {
      closed.abort(new CausewayError('log_unavailable', 'the reader of the log was closed'));
      return Promise.resolve();
    },
  });

  function brokersOf({ watcher }: Parts, signal: AbortSignal | null): TopicBrokers {
    const { daemon } = line.life;
    const offsets = (): Map<number, LogProgress> => mapIn(store.progress, consumer, () => new Map<number, LogProgress>());
    const broker: Pick<Broker, 'joinGroup' | 'syncGroup' | 'heartbeat' | 'leaveGroup' | 'offsetCommit' | 'offsetFetch' | 'disconnect'> = {
      joinGroup: (request) => line.call('group.join', signal, () => coordinator.join(daemon, request)),
      syncGroup: (request) => line.call('group.sync', signal, () => coordinator.sync(daemon, request)),
      heartbeat: (request) => line.call('group.heartbeat', signal, () => coordinator.heartbeat(daemon, request)),
      leaveGroup: ({ memberId }) => line.call('group.leave', signal, () => coordinator.leave(daemon, memberId)),
      offsetCommit: (request) =>
        line.call('log.commit', signal, () =>
          coordinator.commit(daemon, request, (partition, progress) => {
            watcher.committed(consumer, partition, progress);
            offsets().set(partition, progress);
          }),
        ),
      offsetFetch: ({ topics }) =>
        line.call('group.offsets', signal, () => ({
          responses: topics.map(({ topic, partitions }) => ({
            topic,
            partitions: partitions.map(({ partition }) => {
              const stored = offsets().get(partition);
              const pair = stored?.pair ?? null;
              return { partition, offset: String(stored?.offset ?? -1), metadata: pair === null ? null : JSON.stringify(pair) };
            }),
          })),
        })),
      disconnect: () => Promise.resolve(),
    };
    return { coordinator: () => Promise.resolve(broker) } as unknown as TopicBrokers;
  }
}

function offsetsOver(brokers: TopicBrokers): Pick<KeptBrokers, 'use'> {
  return { use: (signal, work) => abortable(work(brokers), signal) };
}

function pagesOver(line: Line, store: MemoryLogStore): Pick<Fetcher, 'follow'> {
  return { follow: (partition, from, ended) => linePages(line, store, { partition, from, ended }) };
}

function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    const aborted = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', aborted, { once: true });
    const refused = (error: unknown): void => reject(kafkaError(error));
    work.then(resolve, refused).finally(() => signal.removeEventListener('abort', aborted));
  });
}
