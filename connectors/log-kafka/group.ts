import { CausewayError } from '#core/errors.ts';
import { compareProgress, type LogProgress, type LogReader, type PartitionAssignment } from '#core/log.ts';
import type { FencingToken, Offset } from '#core/position.ts';
import type { Runtime } from '#core/runtime.ts';
import { brokerErrorType } from './errors.ts';
import type { Fetcher } from './fetch.ts';
import type { Broker } from './kafkajs-internals.ts';
import { type GroupPlace, type GroupToken, leaveGroup, type Membership, type MembershipInput } from './membership.ts';
import type { KeptBrokers, TopicBrokers } from './topic-brokers.ts';

export type ReaderParts = GroupPlace & {
  /** For offsets: a join can hold its own connection for as long as the group takes. */
  readonly brokers: KeptBrokers;
  readonly fetcher: Fetcher;
  readonly membership: (onAssigned: MembershipInput['onAssigned']) => Membership;
  readonly runtime: Runtime;
  /** Closes what only this reader uses. */
  readonly close: () => Promise<void>;
};

/** How long leaving may take; otherwise the session ends by itself. */
const LEAVE_MS = 2_000;

/** Answers to the commit of a member that the group has gone on without. */
const FENCED: ReadonlySet<string> = new Set(['ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'REBALANCE_IN_PROGRESS']);

type Held = { readonly assignment: PartitionAssignment; readonly revoke: (reason: CausewayError) => void };

/** One member of the consumer group: its partitions come and go as others join and leave. */
export class GroupReader implements LogReader {
  readonly #parts: ReaderParts;
  readonly #membership: Membership;
  readonly #closing = new AbortController();
  readonly #held = new Map<number, Held>();
  readonly #coordinators: Coordinators;
  readonly #running: Promise<void>;
  #failure: { readonly error: unknown } | null = null;
  #changed = Promise.withResolvers<undefined>();

  constructor(parts: ReaderParts) {
    this.#parts = parts;
    this.#coordinators = new Coordinators(parts);
    this.#membership = parts.membership((partitions, kept) => this.#assign(partitions, kept));
    this.#running = this.#membership.run(this.#closing.signal).catch((error: unknown) => {
      this.#failure = { error };
      this.#wake();
    });
  }

  async *assignments(signal: AbortSignal): AsyncIterable<PartitionAssignment> {
    const ended = AbortSignal.any([signal, this.#closing.signal]);
    const given = new WeakSet<Held>();
    while (true) {
      const changed = this.#changed.promise;
      for (const held of [...this.#held.values()]) {
        ended.throwIfAborted();
        if (given.has(held) || held.assignment.revoked.aborted) continue;
        given.add(held);
        yield held.assignment;
      }
      ended.throwIfAborted();
      if (this.#failure !== null) throw this.#failure.error;
      await orAborted(changed, ended);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const { brokers, groupId, topic, runtime } = this.#parts;
    const closed = new CausewayError('log_unavailable', 'the reader of the log was closed');
    this.#closing.abort(closed);
    for (const held of this.#held.values()) held.revoke(closed);
    // What is on its way is given up.
    await this.#parts.close();
    await this.#running;
    const { memberId } = this.#membership.token;
    if (memberId === '') return;
    const enough = new AbortController();
    const leaving = brokers.use(enough.signal, (now) => leaveGroup(now, { groupId, topic, memberId }));
    const timer = runtime.sleep(LEAVE_MS, enough.signal);
    // A coordinator that does not answer finds out by the end of the session.
    await Promise.race([leaving, timer]).catch(() => undefined);
    enough.abort(closed);
    await Promise.allSettled([leaving, timer]);
  }

  #assign(partitions: readonly number[], kept: boolean): void {
    const lost = new CausewayError('log_unavailable', 'the partition was given to another member of the consumer group');
    for (const [partition, held] of this.#held) {
      if (kept && partitions.includes(partition)) continue;
      this.#held.delete(partition);
      held.revoke(lost);
    }
    for (const partition of partitions) {
      if (!this.#held.has(partition)) this.#held.set(partition, this.#hold(partition));
    }
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve(undefined);
    this.#changed = Promise.withResolvers<undefined>();
  }

  #hold(partition: number): Held {
    const revoked = new AbortController();
    const place = { ...this.#parts, coordinators: this.#coordinators, partition };
    const offsets = new GroupOffsets(place, () => (revoked.signal.aborted ? null : this.#membership.token));
    return {
      revoke: (reason) => revoked.abort(reason),
      assignment: {
        partition,
        revoked: revoked.signal,
        committed: (signal) => offsets.read(signal),
        batches: (from, signal) => this.#parts.fetcher.follow(partition, from, AbortSignal.any([signal, revoked.signal])),
        commit: (progress, signal) => offsets.commit(progress, signal),
        rewind: (progress, signal) => offsets.rewind(progress, signal),
      },
    };
  }
}

/** Who keeps the group, asked for once of each client: one that is refused, since it has moved, is not used again. */
class Coordinators {
  readonly #group: Pick<GroupPlace, 'groupId' | 'topic'>;
  readonly #known = new WeakMap<TopicBrokers, number>();

  constructor(group: Pick<GroupPlace, 'groupId' | 'topic'>) {
    this.#group = group;
  }

  async of(brokers: TopicBrokers): Promise<Broker> {
    const nodeId = this.#known.get(brokers);
    if (nodeId !== undefined) return brokers.cluster.findBroker({ nodeId });
    const { groupId, topic } = this.#group;
    const found = await brokers.coordinator({ name: groupId, of: 'group', topic });
    this.#known.set(brokers, found.nodeId);
    return found;
  }
}

type OffsetsPlace = Pick<ReaderParts, 'brokers' | 'groupId' | 'topic'> & {
  readonly coordinators: Coordinators;
  readonly partition: number;
};

/**
 * What the coordinator keeps of one partition. Only a member that has it stores something, and only with the generation in which it
 * was given to it; no sink relies on it: one starts from its own progress.
 */
class GroupOffsets {
  readonly #place: OffsetsPlace;
  readonly #token: () => GroupToken | null;
  /** What this member stored last, which nobody else changes while it has the partition; undefined until it was looked at. */
  #stored: LogProgress | null | undefined = undefined;

  constructor(place: OffsetsPlace, token: () => GroupToken | null) {
    this.#place = place;
    this.#token = token;
  }

  async read(signal: AbortSignal): Promise<LogProgress | null> {
    const { brokers, coordinators, groupId, topic, partition } = this.#place;
    return brokers.use(signal, async (now) => {
      const coordinator = await coordinators.of(now);
      const { responses } = await coordinator.offsetFetch({ groupId, topics: [{ topic, partitions: [{ partition }] }] });
      const stored = responses.flatMap(({ partitions }) => partitions)[0];
      if (stored === undefined || Number(stored.offset) < 0) return null;
      return { offset: Number(stored.offset) as Offset, pair: pairOf(stored.metadata) };
    });
  }

  async commit(progress: LogProgress, signal: AbortSignal): Promise<LogProgress> {
    signal.throwIfAborted();
    this.#stored ??= await this.read(signal);
    const before = this.#stored;
    if (before !== null && compareProgress(progress, before) <= 0) return before;
    return (await this.#store(progress, signal)) ? progress : (before ?? progress);
  }

  async rewind(progress: LogProgress, signal: AbortSignal): Promise<void> {
    const before = await this.read(signal);
    if (before !== null && compareProgress(progress, before) < 0) await this.#store(progress, signal);
  }

  /** False where the group has gone on without this member: what is stored then, its successor decides. */
  async #store(progress: LogProgress, signal: AbortSignal): Promise<boolean> {
    const { brokers, coordinators, groupId, topic, partition } = this.#place;
    const token = this.#token();
    if (token === null) return false;
    const metadata = progress.pair === null ? null : JSON.stringify(progress.pair);
    const topics = [{ topic, partitions: [{ partition, offset: String(progress.offset), metadata }] }];
    this.#stored = undefined;
    const isStored = await brokers.use(signal, async (now) => {
      const coordinator = await coordinators.of(now);
      try {
        await coordinator.offsetCommit({ groupId, ...token, topics });
        return true;
      } catch (error) {
        if (FENCED.has(brokerErrorType(error) ?? '')) return false;
        throw error;
      }
    });
    if (isStored) this.#stored = progress;
    return isStored;
  }
}

/** Null also where a person or another program stored the offset. */
function pairOf(metadata: string | null): LogProgress['pair'] {
  if (metadata === null || metadata === '') return null;
  let parsed: unknown;
  try {
    parsed = JSON.parse(metadata);
  } catch {
    return null;
  }
  const { generation, counter } = Object(parsed) as { readonly generation?: unknown; readonly counter?: unknown };
  if (!Number.isSafeInteger(generation) || !Number.isSafeInteger(counter)) return null;
  return { generation: generation as FencingToken, counter: counter as number };
}

function orAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', aborted, { once: true });
    work.then(() => resolve(), reject).finally(() => signal.removeEventListener('abort', aborted));
  });
}
